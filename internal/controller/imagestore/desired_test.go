// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var (
	one = digest.FromString("one").String()
	two = digest.FromString("two").String()
)

const (
	web   = "ghcr.io/acme/web:1"
	other = "ghcr.io/acme/other:1"
)

func byOne() string { return "ghcr.io/acme/web@" + one }

// cacheOf is a cache of namespace a with these images.
func cacheOf(name string, images ...string) *v1alpha1.ImageCache {
	c := &v1alpha1.ImageCache{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Generation: 1}}
	for _, image := range images {
		c.Spec.Images = append(c.Spec.Images, v1alpha1.CachedImage{Image: image})
	}
	return c
}

func with(c *v1alpha1.ImageCache, change func(*v1alpha1.ImageCacheSpec)) *v1alpha1.ImageCache {
	change(&c.Spec)
	return c
}

func nodeOf(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-node"},
		Spec:       corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			NodeInfo:   corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "containerd://2.4.2"},
		},
	}
}

// facts are what is known of names: a digest, or a refusal where it is empty.
func known(t testing.TB, digests map[string]string) func(oci.Ref) (catalog.Entry, bool) {
	t.Helper()
	table := map[oci.Ref]catalog.Entry{}
	for name, d := range digests {
		ref, err := oci.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		entry := catalog.Entry{Digest: digest.Digest(d), Sizes: map[string]int64{"linux/amd64": 7}}
		if d == "" {
			entry = catalog.Entry{Refusal: &catalog.Refusal{Reason: engine.Unauthorized, Message: "denied"}}
		}
		table[ref] = entry
	}
	return func(ref oci.Ref) (catalog.Entry, bool) { entry, ok := table[ref]; return entry, ok }
}

// place is a table's row: what is seen of a node, and what its entries become.
type row struct {
	caches []*v1alpha1.ImageCache
	node   *corev1.Node
	away   bool // the node or its agent is not ready
	facts  map[string]string
	spec   []v1alpha1.StoreImage
	status []v1alpha1.StoreImageStatus
	// behind: the agent has not seen the spec that stands.
	behind bool
	full   bool // there are no turns left
	// recheck is the token for which some node is to look what web stands for.
	recheck string
	fresh   bool // the caches were made just now
	want    []string
}

func (r row) view(t testing.TB) *view {
	t.Helper()
	in := input{node: r.node, ready: !r.away, facts: known(t, r.facts), store: &v1alpha1.ImageStore{}, settling: map[types.NamespacedName]bool{}}
	if in.node == nil {
		in.node = nodeOf("n1")
	}
	for _, c := range r.caches {
		read, err := demand.Of(c)
		if err != nil {
			t.Fatal(err)
		}
		in.caches = append(in.caches, read)
		in.settling[read.Key] = r.fresh
	}
	in.keepers = keepersOf(in.caches)
	if r.recheck != "" {
		in.facts = asking(in.facts, r.recheck)
	}
	in.store.Spec.Revision, in.store.Status.ObservedRevision = 3, 3
	if r.behind {
		in.store.Status.ObservedRevision = 2
	}
	in.store.Spec.Images, in.store.Status.Images = r.spec, r.status
	return look(in)
}

func (r row) entries(t testing.TB) ([]v1alpha1.StoreImage, int) {
	v := r.view(t)
	granted := map[string]bool{}
	for _, a := range v.asks() {
		granted[a.slot] = a.need == hasTurn || a.need == failsInTurn || a.need == needsTurn && !r.full
	}
	return v.images(granted), len(v.left) + len(v.waiting)
}

// short is an entry as one line: what differs from entry to entry.
func short(e v1alpha1.StoreImage) string {
	if e.Released {
		e.Caches = nil // They are told of in a test of its own.
	}
	text := strings.NewReplacer(one, "ONE", two, "TWO", "ghcr.io/acme/", "").Replace(e.Image + " =" + e.Digest)
	if e.Hold != "" {
		text += " hold:" + string(e.Hold)
	}
	if e.Pin {
		text += " pin"
	}
	if e.RemovalPolicy == v1alpha1.RemovalPolicyKeep {
		text += " keep"
	}
	if e.Released {
		text += " released"
	}
	if e.Recheck != "" {
		text += " recheck:" + e.Recheck
	}
	return strings.TrimSpace(text + " " + strings.Join(e.Caches, ","))
}

func entry(image, digest string, change ...func(*v1alpha1.StoreImage)) v1alpha1.StoreImage {
	e := v1alpha1.StoreImage{Image: image, Digest: digest, Pin: true, RemovalPolicy: v1alpha1.RemovalPolicyRemove, Caches: []string{"a/x"}}
	for _, c := range change {
		c(&e)
	}
	return e
}

func release(e *v1alpha1.StoreImage) { e.Released, e.Pin, e.Caches = true, false, nil }
func held(h v1alpha1.HoldReason) func(*v1alpha1.StoreImage) {
	return func(e *v1alpha1.StoreImage) { e.Hold = h }
}

func record(image, digest string, state v1alpha1.ImageState) v1alpha1.StoreImageStatus {
	return v1alpha1.StoreImageStatus{Image: image, Digest: digest, State: state, Pulled: true}
}

func TestEntries(t *testing.T) {
	present, pulling, failed, waiting := v1alpha1.ImagePresent, v1alpha1.ImagePulling, v1alpha1.ImageFailed, v1alpha1.ImageWaiting
	x := []*v1alpha1.ImageCache{cacheOf("x", web)}
	resolved := map[string]string{web: one}
	cordoned := nodeOf("n1")
	cordoned.Spec.Unschedulable = true
	gpu := nodeOf("n1", corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule})
	unreachable := nodeOf("n1", corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
	for name, r := range map[string]row{
		"new":                               {caches: x, facts: resolved, want: []string{"web:1 =ONE pin a/x"}},
		"not asked yet":                     {caches: x, want: nil},
		"not asked yet, and there":          {caches: x, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE pin a/x"}},
		"not asked yet, turn kept":          {caches: x, full: true, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, "", pulling)}, want: []string{"web:1 =ONE pin a/x"}},
		"not asked yet, a record alone":     {caches: x, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: nil},
		"fresh, and another is not known":   {caches: []*v1alpha1.ImageCache{cacheOf("x", web, other)}, fresh: true, facts: resolved, want: nil},
		"fresh, and all are known":          {caches: []*v1alpha1.ImageCache{cacheOf("x", web, other)}, fresh: true, facts: map[string]string{web: one, other: ""}, want: []string{"other:1 = pin a/x", "web:1 =ONE pin a/x"}},
		"fresh, and there already":          {caches: []*v1alpha1.ImageCache{cacheOf("x", web, other)}, fresh: true, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE pin a/x"}},
		"fresh, and wanted by an older one": {caches: []*v1alpha1.ImageCache{cacheOf("x", web, other), cacheOf("y", web)}, fresh: true, facts: resolved, want: []string{"web:1 =ONE pin a/x,a/y"}},
		"no longer fresh":                   {caches: []*v1alpha1.ImageCache{cacheOf("x", web, other)}, facts: resolved, want: []string{"web:1 =ONE pin a/x"}},
		"refused, this is the scout":        {caches: x, facts: map[string]string{web: ""}, want: []string{"web:1 = pin a/x"}},
		"refused, another is":               {caches: x, facts: map[string]string{web: ""}, full: true, want: []string{"web:1 = hold:Scout pin a/x"}},
		"refused, known before":             {caches: x, facts: map[string]string{web: ""}, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE pin a/x"}},
		"the scout has it":                  {caches: x, facts: map[string]string{web: ""}, full: true, spec: []v1alpha1.StoreImage{entry(web, "")}, status: []v1alpha1.StoreImageStatus{record(web, two, present)}, want: []string{"web:1 = pin a/x"}},
		"the scout's answer is known":       {caches: x, facts: map[string]string{web: two}, full: true, spec: []v1alpha1.StoreImage{entry(web, "")}, status: []v1alpha1.StoreImageStatus{record(web, two, present)}, want: []string{"web:1 =TWO pin a/x"}},
		"no turn":                           {caches: x, facts: resolved, full: true, want: []string{"web:1 =ONE hold:Turn pin a/x"}},
		"no turn, but there":                {caches: x, facts: resolved, full: true, spec: []v1alpha1.StoreImage{entry(web, one, held(v1alpha1.HoldTurn))}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE pin a/x"}},
		"no turn, but at it":                {caches: x, facts: resolved, full: true, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, "", pulling)}, want: []string{"web:1 =ONE pin a/x"}},
		"moved, and no turn":                {caches: x, facts: map[string]string{web: two}, full: true, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =TWO hold:Turn pin a/x", "web@ONE =ONE released"}},

		"cordoned":                 {caches: x, node: cordoned, facts: resolved, want: []string{"web:1 =ONE hold:Node pin a/x"}},
		"cordoned, and there":      {caches: x, node: cordoned, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE hold:Node pin a/x"}},
		"cordoned while at it":     {caches: x, node: cordoned, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, "", pulling)}, want: []string{"web:1 =ONE hold:Node pin a/x"}},
		"agent away":               {caches: x, away: true, facts: resolved, want: []string{"web:1 =ONE hold:Node pin a/x"}},
		"agent away, and there":    {caches: x, away: true, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE pin a/x"}},
		"unreachable, and there":   {caches: x, away: true, node: unreachable, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE pin a/x"}},
		"tainted":                  {caches: x, node: gpu, facts: resolved, want: nil},
		"tainted, and has it":      {caches: x, node: gpu, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE hold:Node pin a/x"}},
		"tainted, another's":       {caches: x, node: gpu, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one, func(e *v1alpha1.StoreImage) { e.Caches = []string{"a/y"} })}, want: []string{"web:1 =ONE released"}},
		"tainted, and let go":      {caches: x, node: gpu, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE released"}},
		"suspended":                {caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), suspend)}, facts: resolved, want: []string{"web:1 =ONE hold:Suspended pin a/x"}},
		"one of two is suspended":  {caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), suspend), cacheOf("y", web)}, facts: resolved, want: []string{"web:1 =ONE pin a/x,a/y"}},
		"one pins, the other says": {caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), noPin), with(cacheOf("y", web), keep)}, facts: resolved, want: []string{"web:1 =ONE pin keep a/x,a/y"}},
		"nobody pins":              {caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), noPin)}, facts: resolved, want: []string{"web:1 =ONE a/x"}},
		"tag and digest":           {caches: []*v1alpha1.ImageCache{cacheOf("x", web+"@"+two)}, want: []string{"web:1 =TWO pin a/x"}},
		"by digest":                {caches: []*v1alpha1.ImageCache{cacheOf("x", byOne())}, want: []string{"web@ONE =ONE pin a/x"}},
		"two digests of one tag":   {caches: []*v1alpha1.ImageCache{cacheOf("x", web), cacheOf("y", web+"@"+two)}, facts: resolved, want: []string{"web:1 =TWO pin a/x,a/y"}},

		"let go":                               {spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE released"}},
		"let go, to be kept":                   {spec: []v1alpha1.StoreImage{entry(web, one, func(e *v1alpha1.StoreImage) { e.RemovalPolicy = v1alpha1.RemovalPolicyKeep })}, want: []string{"web:1 =ONE keep released"}},
		"let go, and kept as of this edit":     {caches: []*v1alpha1.ImageCache{with(cacheOf("x"), keep)}, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE keep released"}},
		"let go, another is to be kept":        {caches: []*v1alpha1.ImageCache{with(cacheOf("y"), keep)}, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE released"}},
		"moved, and kept as of this edit":      {caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), keep)}, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =TWO pin keep a/x", "web@ONE =ONE keep released"}},
		"let go, never seen":                   {spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE released"}},
		"let go, still there":                  {spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImageReleasing)}, want: []string{"web:1 =ONE released"}},
		"let go, the agent away":               {spec: []v1alpha1.StoreImage{entry(web, one, release)}, behind: true, want: []string{"web:1 =ONE released"}},
		"let go and answered":                  {spec: []v1alpha1.StoreImage{entry(web, one, release)}, want: nil},
		"let go, and wanted again":             {caches: x, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE pin a/x"}},
		"let go, and wanted again, not asked":  {caches: x, spec: []v1alpha1.StoreImage{entry(web, one, release)}, want: []string{"web:1 =ONE pin a/x"}},
		"let go, and wanted again, another":    {caches: x, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =TWO pin a/x", "web@ONE =ONE released"}},
		"moved, not carried over yet":          {caches: x, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, two), entry(byOne(), one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, waiting)}, want: []string{"web:1 =TWO pin a/x", "web@ONE =ONE released"}},
		"moved, carried over":                  {caches: x, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, two), entry(byOne(), one, release)}, status: []v1alpha1.StoreImageStatus{record(web, "", pulling), record(byOne(), one, v1alpha1.ImageReleasing)}, want: []string{"web:1 =TWO pin a/x", "web@ONE =ONE released"}},
		"moved, and done":                      {caches: x, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, two), entry(byOne(), one, release)}, status: []v1alpha1.StoreImageStatus{record(web, two, present)}, want: []string{"web:1 =TWO pin a/x"}},
		"moved, another tag is that digest's":  {caches: []*v1alpha1.ImageCache{cacheOf("x", web, "ghcr.io/acme/web:old")}, facts: map[string]string{web: two, "ghcr.io/acme/web:old": one}, spec: []v1alpha1.StoreImage{entry(web, two), entry("ghcr.io/acme/web:old", one), entry(byOne(), one, release)}, status: []v1alpha1.StoreImageStatus{record(web, two, present), record("ghcr.io/acme/web:old", one, present)}, want: []string{"web:1 =TWO pin a/x", "web:old =ONE pin a/x"}},
		"moved, and the digest is wanted":      {caches: []*v1alpha1.ImageCache{cacheOf("x", web, byOne())}, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =TWO pin a/x", "web@ONE =ONE pin a/x"}},
		"moved and back":                       {caches: x, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, two), entry(byOne(), one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =ONE pin a/x", "web@TWO =TWO released"}},
		"what the scout had is another":        {caches: x, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, "")}, status: []v1alpha1.StoreImageStatus{record(web, one, present)}, want: []string{"web:1 =TWO pin a/x", "web@ONE =ONE released"}},
		"a record without an entry":            {status: []v1alpha1.StoreImageStatus{record(other, two, present)}, want: []string{"other:1 =TWO keep released"}},
		"what was found and has no entry":      {status: []v1alpha1.StoreImageStatus{{Image: other, Digest: two, State: present}}, want: nil},
		"failed, and a turn":                   {caches: x, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, "", failed)}, want: []string{"web:1 =ONE pin a/x"}},
		"purged":                               {caches: []*v1alpha1.ImageCache{purged(cacheOf("x", web))}, facts: resolved, spec: []v1alpha1.StoreImage{entry(web, one)}, want: []string{"web:1 =ONE released"}},
		"nine caches":                          {caches: many(9), facts: resolved, want: []string{"web:1 =ONE pin a/c0,a/c1,a/c2,a/c3,a/c4,a/c5,a/c6,a/c7"}},
		"tainted, and the list of caches full": {caches: x, node: gpu, spec: []v1alpha1.StoreImage{entry(web, one, func(e *v1alpha1.StoreImage) { e.Caches = make([]string, maxCaches) })}, want: []string{"web:1 =ONE hold:Node pin a/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			entries, left := r.entries(t)
			var got []string
			for _, e := range entries {
				got = append(got, short(e))
			}
			if diff := gocmp.Diff(r.want, got); diff != "" || left != 0 {
				t.Errorf("left out %d, want 0; -want +got\n%s", left, diff)
			}
		})
	}
}

func suspend(s *v1alpha1.ImageCacheSpec) { s.Suspend = true }
func noPin(s *v1alpha1.ImageCacheSpec)   { s.Pin = new(false) }
func keep(s *v1alpha1.ImageCacheSpec)    { s.RemovalPolicy = v1alpha1.RemovalPolicyKeep }

func purged(c *v1alpha1.ImageCache) *v1alpha1.ImageCache {
	c.Status.PurgedGeneration = c.Generation
	return c
}

func many(n int) (caches []*v1alpha1.ImageCache) {
	for i := range n {
		caches = append(caches, cacheOf(fmt.Sprintf("c%d", i), web))
	}
	return caches
}

func TestSizesAreKeptWhereTheyAreNotKnownAnew(t *testing.T) {
	had := entry(web, one)
	had.Size = 42
	for name, tc := range map[string]struct {
		facts map[string]string
		want  int64
	}{
		"not known": {nil, 42}, "known": {map[string]string{web: one}, 7}, "moved": {map[string]string{web: two}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			entries, _ := row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}, facts: tc.facts, spec: []v1alpha1.StoreImage{had}}.entries(t)
			if entries[0].Size != tc.want {
				t.Errorf("size %d; want %d", entries[0].Size, tc.want)
			}
		})
	}
}

// Of more images than one node can be told, those that stand stay.
func TestWhatFindsNoRoom(t *testing.T) {
	facts := map[string]string{}
	var caches []*v1alpha1.ImageCache
	for c := range 3 {
		var images []string
		for i := range 500 {
			image := fmt.Sprintf("r.io/c%d/i%03d:1", c, i)
			images = append(images, image)
			facts[image] = one
		}
		caches = append(caches, cacheOf(fmt.Sprint(c), images...))
	}
	last := "r.io/c2/i499:1"
	entries, left := row{caches: caches, facts: facts, spec: []v1alpha1.StoreImage{entry(last, one), entry(web, one)}}.entries(t)
	if len(entries)+left != 1501 || len(entries) > maxImages {
		t.Errorf("%d entries, %d left out", len(entries), left)
	}
	stand := 0
	for _, e := range entries {
		if e.Image == last && !e.Released || e.Image == web && e.Released {
			stand++
		}
	}
	if stand != 2 {
		t.Errorf("%d of the 2 that stood are there", stand)
	}
}

// A store with 500 images of which each fails with as many words as an agent passes on stays below 400 KB, and what the controller
// writes leaves the agent room whatever else there is to say.
func TestAStoreStaysSmall(t *testing.T) {
	var store v1alpha1.ImageStore
	facts := map[string]string{}
	var images []string
	words := strings.Repeat("failed to resolve reference: unexpected status from HEAD request; ", 4)[:256]
	for i := range 500 {
		image := fmt.Sprintf("registry.internal.example.com:5000/platform/team-%03d/services/backend-%03d:v2026.11.20-%07x", i, i, i*7919)
		images = append(images, image)
		facts[image] = digest.FromString(image).String()
		store.Status.Images = append(store.Status.Images, v1alpha1.StoreImageStatus{
			Image: image, State: v1alpha1.ImageFailed, Pulled: true, Pinned: true, Reason: "RegistryUnavailable", Message: words, Attempts: 12, LastAttemptTime: new(metav1.Now()),
		})
	}
	entries, left := row{caches: []*v1alpha1.ImageCache{cacheOf("x", images...)}, facts: facts, full: true}.entries(t)
	for i := range entries {
		entries[i].Credentials = []string{"0123456789abcdef"}
	}
	store.Spec.Images = entries
	store.Spec.Credentials = []v1alpha1.SealedCredentials{{Sealed: make([]byte, 400)}}
	whole, spec := len(encoded(t, store)), len(encoded(t, entries))
	if left != 0 || whole > 400<<10 {
		t.Errorf("%d bytes, %d left out", whole, left)
	}
	if estimated := len(entries) * weight(&entries[0]); estimated < spec || estimated > maxImageBytes {
		t.Errorf("estimated %d, takes %d, may take %d", estimated, spec, maxImageBytes)
	}
	if all := maxImageBytes + maxNeedBytes + maxSealedBytes; all > 220<<10 {
		t.Errorf("the spec may take %d bytes", all)
	}
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAsks(t *testing.T) {
	x := []*v1alpha1.ImageCache{cacheOf("x", web, other)}
	both := map[string]string{web: one, other: two}
	scout := map[string]string{web: "", other: two}
	slow := func(reason string) v1alpha1.StoreImageStatus {
		return v1alpha1.StoreImageStatus{Image: web, State: v1alpha1.ImageFailed, Reason: reason}
	}
	cordoned := nodeOf("n1")
	cordoned.Spec.Unschedulable = true
	for name, tc := range map[string]struct {
		row
		want map[string]need
	}{
		"nothing known":          {row{caches: x}, map[string]need{"cache a/x": needsNone}},
		"new":                    {row{caches: x, facts: both}, map[string]need{"cache a/x": needsTurn}},
		"at it":                  {row{caches: x, facts: both, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, "", v1alpha1.ImagePulling)}}, map[string]need{"cache a/x": hasTurn}},
		"one fails, one waits":   {row{caches: x, facts: both, spec: []v1alpha1.StoreImage{entry(web, one), entry(other, two)}, status: []v1alpha1.StoreImageStatus{slow("NotFound")}}, map[string]need{"cache a/x": hasTurn}},
		"all fail":               {row{caches: x, facts: both, spec: []v1alpha1.StoreImage{entry(web, one), entry(other, two)}, status: []v1alpha1.StoreImageStatus{slow("NotFound"), record(other, two, v1alpha1.ImagePresent)}}, map[string]need{"cache a/x": failsInTurn}},
		"no room on its disk":    {row{caches: x, facts: both, spec: []v1alpha1.StoreImage{entry(web, one), entry(other, two)}, status: []v1alpha1.StoreImageStatus{{Image: web, State: v1alpha1.ImageWaiting, Reason: "InsufficientDisk"}, record(other, two, v1alpha1.ImagePresent)}}, map[string]need{"cache a/x": failsInTurn}},
		"done":                   {row{caches: x, facts: both, spec: []v1alpha1.StoreImage{entry(web, one), entry(other, two)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent), record(other, two, v1alpha1.ImagePresent)}}, map[string]need{"cache a/x": needsNone}},
		"unavailable":            {row{caches: x, facts: both, away: true, spec: []v1alpha1.StoreImage{entry(web, one)}}, map[string]need{"cache a/x": needsNone}},
		"cordoned scout":         {row{caches: x, facts: scout, node: cordoned, spec: []v1alpha1.StoreImage{entry(web, "")}}, map[string]need{"cache a/x": needsNone}},
		"a scout is needed":      {row{caches: x, facts: scout}, map[string]need{"cache a/x": needsTurn, "scout " + web: needsTurn}},
		"the scout":              {row{caches: x, facts: scout, spec: []v1alpha1.StoreImage{entry(web, "")}}, map[string]need{"cache a/x": needsTurn, "scout " + web: hasTurn}},
		"the scout, restarted":   {row{caches: x, spec: []v1alpha1.StoreImage{entry(web, "")}}, map[string]need{"cache a/x": needsNone, "scout " + web: hasTurn}},
		"the scout is refused":   {row{caches: x, facts: scout, spec: []v1alpha1.StoreImage{entry(web, "")}, status: []v1alpha1.StoreImageStatus{slow("Unauthorized")}}, map[string]need{"cache a/x": needsTurn, "scout " + web: hasTurn}},
		"the scout has no room":  {row{caches: x, facts: scout, spec: []v1alpha1.StoreImage{entry(web, "")}, status: []v1alpha1.StoreImageStatus{slow("InsufficientDisk")}}, map[string]need{"cache a/x": needsTurn, "scout " + web: failsInTurn}},
		"not the scout":          {row{caches: x, spec: []v1alpha1.StoreImage{entry(web, "", held(v1alpha1.HoldScout))}}, map[string]need{"cache a/x": needsNone}},
		"fails as it did before": {row{caches: x, behind: true, facts: both, spec: []v1alpha1.StoreImage{entry(web, one), entry(other, two)}, status: []v1alpha1.StoreImageStatus{slow("NotFound"), record(other, two, v1alpha1.ImagePresent)}}, map[string]need{"cache a/x": hasTurn}},
		"held until now":         {row{caches: x, facts: both, spec: []v1alpha1.StoreImage{entry(web, one), entry(other, two)}, status: []v1alpha1.StoreImageStatus{{Image: web, State: v1alpha1.ImageWaiting, Reason: "Turn"}, record(other, two, v1alpha1.ImagePresent)}}, map[string]need{"cache a/x": hasTurn}},
		"suspended":              {row{caches: []*v1alpha1.ImageCache{with(cacheOf("x", web), suspend)}, facts: both}, map[string]need{"cache a/x": needsNone}},
		"tainted":                {row{caches: x, facts: both, node: nodeOf("n1", corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule})}, map[string]need{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]need{}
			for _, a := range tc.view(t).asks() {
				got[a.slot] = a.need
			}
			if diff := gocmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNeedsAfter(t *testing.T) {
	stands := &v1alpha1.PodNeeds{Answers: "q1"}
	for name, tc := range map[string]struct {
		row
		needs *v1alpha1.PodNeeds
		asked string
		stay  bool
		list  bool
	}{
		"nothing released":          {row: row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}, facts: map[string]string{web: one}}, needs: stands},
		"just released":             {row: row{spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}}, list: true},
		"just released, found":      {row: row{spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{{Image: web, Digest: one, State: v1alpha1.ImagePresent, Pinned: true}}}},
		"just released, to be kept": {row: row{spec: []v1alpha1.StoreImage{entry(web, one, func(e *v1alpha1.StoreImage) { e.RemovalPolicy = v1alpha1.RemovalPolicyKeep })}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}}},
		"told":                      {row: row{spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImageReleasing)}}, needs: stands, stay: true},
		"told, and answered":        {row: row{spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImageReleasing)}}, needs: stands, asked: "q1", stay: true},
		"asked again":               {row: row{spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImageReleasing)}}, needs: stands, asked: "q2", list: true},
		"one more released":         {row: row{spec: []v1alpha1.StoreImage{entry(other, two), entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(other, two, v1alpha1.ImagePresent), record(web, one, v1alpha1.ImageReleasing)}}, needs: stands, list: true},
		"wanted, not resolved":      {row: row{caches: []*v1alpha1.ImageCache{cacheOf("x", other)}, spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImageReleasing)}}, needs: stands, stay: true, list: true},
		"not resolved, and told": {row: row{caches: []*v1alpha1.ImageCache{cacheOf("x", other)}, spec: []v1alpha1.StoreImage{entry(web, one, release)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImageReleasing)}},
			needs: &v1alpha1.PodNeeds{Images: []v1alpha1.NeededImage{{Image: other, Cache: "a/x"}}}, stay: true},
		"not resolved, nothing released": {row: row{caches: []*v1alpha1.ImageCache{cacheOf("x", other)}}, needs: stands},
		"a tag that moves":               {row: row{caches: []*v1alpha1.ImageCache{cacheOf("x", web)}, facts: map[string]string{web: two}, spec: []v1alpha1.StoreImage{entry(web, one)}, status: []v1alpha1.StoreImageStatus{record(web, one, v1alpha1.ImagePresent)}}, list: true},
	} {
		t.Run(name, func(t *testing.T) {
			v := tc.view(t)
			v.store.Spec.Needs, v.store.Status.NeedsAsked = tc.needs, tc.asked
			entries := v.images(nil)
			stay, list := v.needsAfter(entries)
			if (stay != nil) != tc.stay || list != tc.list {
				t.Errorf("stay %v, list %v; want %v, %v", stay != nil, list, tc.stay, tc.list)
			}
		})
	}
}

func TestByDigest(t *testing.T) {
	for image, want := range map[string]string{
		"host:5000/a/b:1": "host:5000/a/b@d", "host:5000/a/b": "host:5000/a/b@d", "docker.io/library/nginx:1": "docker.io/library/nginx@d", "r.io/a@sha256:x": "r.io/a@d",
	} {
		if got := byDigest(image, "d"); cmp.Compare(got, want) != 0 {
			t.Errorf("%s: %s; want %s", image, got, want)
		}
	}
}
