// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package demand_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/demand"
)

func read(t *testing.T, spec v1alpha1.ImageCacheSpec) demand.Cache {
	t.Helper()
	cache, err := demand.Of(&v1alpha1.ImageCache{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestImagesAreNormalisedAndMerged(t *testing.T) {
	cache := read(t, v1alpha1.ImageCacheSpec{Images: []v1alpha1.CachedImage{
		{Image: "nginx"},
		{Image: "docker.io/library/nginx:latest", ImagePullPolicy: corev1.PullIfNotPresent},
		{Image: "ghcr.io/acme/web:1"},
		{Image: "ghcr.io/acme/api:1", ImagePullPolicy: corev1.PullAlways},
		{Image: "ghcr.io/acme/api@sha256:" + strings.Repeat("a", 64), ImagePullPolicy: corev1.PullAlways},
	}})
	type image struct {
		Ref    string
		Always bool
	}
	got := []image{}
	for _, i := range cache.Images {
		got = append(got, image{i.Ref.String(), i.Always})
	}
	want := []image{
		{"docker.io/library/nginx:latest", true},
		{"ghcr.io/acme/web:1", false},
		{"ghcr.io/acme/api:1", true},
		{"ghcr.io/acme/api@sha256:" + strings.Repeat("a", 64), false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"docker.io/library/nginx:latest"}, cache.Merged); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoReferenceIsToldAndTheRestGoesOn(t *testing.T) {
	cache, err := demand.Of(&v1alpha1.ImageCache{Spec: v1alpha1.ImageCacheSpec{Images: []v1alpha1.CachedImage{{Image: "No Such"}, {Image: "nginx"}}}})
	if err == nil || !strings.Contains(err.Error(), "No Such") {
		t.Errorf("error %v does not name the text", err)
	}
	if len(cache.Images) != 1 {
		t.Errorf("%d images are left, want the one that is right", len(cache.Images))
	}
}

func TestDefaults(t *testing.T) {
	cache := read(t, v1alpha1.ImageCacheSpec{RefreshInterval: "1h30m"})
	if !cache.Pin || cache.Policy != v1alpha1.RemovalPolicyRemove || cache.Refresh != 90*time.Minute || cache.MaxParallel(1000) != 50 {
		t.Errorf("read %+v", cache)
	}
}

func TestAPurgedCacheAsksForNothingUntilItIsEdited(t *testing.T) {
	object := &v1alpha1.ImageCache{
		ObjectMeta: metav1.ObjectMeta{Generation: 3},
		Spec:       v1alpha1.ImageCacheSpec{Images: []v1alpha1.CachedImage{{Image: "nginx"}}},
		Status:     v1alpha1.ImageCacheStatus{PurgedGeneration: 3},
	}
	if cache, err := demand.Of(object); err != nil || !cache.Purged || len(cache.Images) != 0 {
		t.Errorf("a purged cache asks for %v (%v)", cache.Images, err)
	}
	object.Generation = 4
	if cache, err := demand.Of(object); err != nil || cache.Purged || len(cache.Images) != 1 {
		t.Errorf("an edited cache asks for %v (%v)", cache.Images, err)
	}
}

func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"pool": "web", "zone": "a"}}}
	if change != nil {
		change(n)
	}
	return n
}

func TestLabelsAloneSelect(t *testing.T) {
	in := func(key string, values ...string) *v1alpha1.Affinity {
		return &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}}}},
		}}}
	}
	for name, c := range map[string]struct {
		spec v1alpha1.ImageCacheSpec
		want bool
	}{
		"nothing is asked":               {v1alpha1.ImageCacheSpec{}, true},
		"the selector fits":              {v1alpha1.ImageCacheSpec{NodeSelector: map[string]string{"pool": "web"}}, true},
		"the selector does not fit":      {v1alpha1.ImageCacheSpec{NodeSelector: map[string]string{"pool": "gpu"}}, false},
		"the affinity fits":              {v1alpha1.ImageCacheSpec{Affinity: in("zone", "a", "b")}, true},
		"the affinity does not fit":      {v1alpha1.ImageCacheSpec{Affinity: in("zone", "b")}, false},
		"both must fit":                  {v1alpha1.ImageCacheSpec{NodeSelector: map[string]string{"pool": "web"}, Affinity: in("zone", "b")}, false},
		"an empty affinity asks nothing": {v1alpha1.ImageCacheSpec{Affinity: &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(t, c.spec).Selects(node(nil)); got != c.want {
				t.Errorf("selects: %v", got)
			}
		})
	}
	tainted := node(func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
	})
	if !read(t, v1alpha1.ImageCacheSpec{}).Selects(tainted) {
		t.Error("a taint or a cordon let a node go")
	}
}

// A misspelt operator must not be read as "no node".
func TestAnAffinityThatCannotBeReadLetsNothingGo(t *testing.T) {
	term := func(r corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{r}}
	}
	fits := term(corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}})
	for name, c := range map[string]struct {
		terms []corev1.NodeSelectorTerm
		pool  string
		want  bool
		place demand.Place
	}{
		"a misspelt operator":     {terms: []corev1.NodeSelectorTerm{term(corev1.NodeSelectorRequirement{Key: "zone", Operator: "in", Values: []string{"a"}})}, want: true, place: demand.Tainted},
		"no number":               {terms: []corev1.NodeSelectorTerm{term(corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpGt, Values: []string{"a"}})}, want: true, place: demand.Tainted},
		"another term fits":       {terms: []corev1.NodeSelectorTerm{term(corev1.NodeSelectorRequirement{Key: "zone", Operator: "in"}), fits}, want: true, place: demand.Usable},
		"nodeSelector tells more": {terms: []corev1.NodeSelectorTerm{term(corev1.NodeSelectorRequirement{Key: "zone", Operator: "in"})}, pool: "gpu"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.ImageCacheSpec{Affinity: &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: c.terms},
			}}}
			if c.pool != "" {
				spec.NodeSelector = map[string]string{"pool": c.pool}
			}
			cache, err := demand.Of(&v1alpha1.ImageCache{Spec: spec})
			if !errors.Is(err, demand.ErrAffinity) {
				t.Errorf("error %v", err)
			}
			if got := cache.Selects(node(nil)); got != c.want {
				t.Errorf("selects: %v", got)
			}
			if place, why := cache.Place(node(nil), true); c.want && place != c.place {
				t.Errorf("place %v (%s), want %v", place, why, c.place)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
	}
	cordoned := func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)(n)
	}
	everything := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	for name, c := range map[string]struct {
		node        func(*corev1.Node)
		tolerations []corev1.Toleration
		away        bool
		want        demand.Place
	}{
		"a plain node":                           {want: demand.Usable},
		"without an agent":                       {away: true, want: demand.Unavailable},
		"cordoned":                               {node: cordoned, want: demand.Unavailable},
		"cordoned and tolerated":                 {node: cordoned, tolerations: everything, want: demand.Usable},
		"under disk pressure":                    {node: taint(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule), want: demand.Unavailable},
		"drained by cluster-autoscaler":          {node: taint("ToBeDeletedByClusterAutoscaler", corev1.TaintEffectNoSchedule), want: demand.Unavailable},
		"drained by Karpenter":                   {node: taint("karpenter.sh/disrupted", corev1.TaintEffectNoSchedule), want: demand.Unavailable},
		"a control plane":                        {node: taint("node-role.kubernetes.io/control-plane", corev1.TaintEffectNoSchedule), want: demand.Tainted},
		"a control plane that is tolerated":      {node: taint("node-role.kubernetes.io/control-plane", corev1.TaintEffectNoSchedule), tolerations: everything, want: demand.Usable},
		"a GPU pool, cordoned":                   {node: func(n *corev1.Node) { cordoned(n); taint("gpu", corev1.TaintEffectNoExecute)(n) }, want: demand.Tainted},
		"a preference keeps nothing away":        {node: taint("gpu", corev1.TaintEffectPreferNoSchedule), want: demand.Usable},
		"another key is tolerated":               {node: taint("gpu", corev1.TaintEffectNoSchedule), tolerations: []corev1.Toleration{{Key: "tpu", Operator: corev1.TolerationOpExists}}, want: demand.Tainted},
		"tolerated, but the agent is away":       {node: cordoned, tolerations: everything, away: true, want: demand.Unavailable},
		"the value of the toleration is another": {node: taint("gpu", corev1.TaintEffectNoSchedule), tolerations: []corev1.Toleration{{Key: "gpu", Value: "a100"}}, want: demand.Tainted},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := read(t, v1alpha1.ImageCacheSpec{Tolerations: c.tolerations}).Place(node(c.node), !c.away)
			if got != c.want {
				t.Errorf("place %v (%s), want %v", got, why, c.want)
			}
			if (why == "") != (got == demand.Usable) {
				t.Errorf("place %v is explained by %q", got, why)
			}
		})
	}
}

func TestTurns(t *testing.T) {
	for name, c := range map[string]struct {
		parallel intstr.IntOrString
		nodes    int
		want     int
	}{
		"a number":               {intstr.FromInt32(3), 10, 3},
		"a share":                {intstr.FromString("25%"), 10, 3},
		"a share of few nodes":   {intstr.FromString("1%"), 3, 1},
		"no nodes":               {intstr.FromString("50%"), 0, 1},
		"a number of many nodes": {intstr.FromInt32(50), 5000, 50},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(t, v1alpha1.ImageCacheSpec{MaxParallelNodes: &c.parallel}).MaxParallel(c.nodes); got != c.want {
				t.Errorf("%d at once, want %d", got, c.want)
			}
		})
	}
}
