// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var (
	now     = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	longAgo = now.Add(-30 * 24 * time.Hour)
)

func ref(s string) oci.Ref {
	r, err := oci.Parse(s)
	if err != nil {
		panic(err)
	}
	return r
}

func targets(texts ...string) []oci.Target {
	var all []oci.Target
	for _, text := range texts {
		target, err := oci.ParseTarget(text)
		if err != nil {
			panic(err)
		}
		all = append(all, target)
	}
	return all
}

// img makes an image that came long ago, with an id made of n and a digest for each repository of its tags.
func img(n int, tags ...string) engine.Image {
	image := engine.Image{ID: fmt.Sprintf("sha256:%064x", n), FirstSeen: longAgo, PullBytes: 10, DiskBytes: 100}
	for _, tag := range tags {
		r := ref(tag)
		image.Tags = append(image.Tags, r)
		digest := ref(fmt.Sprintf("%s@sha256:%064x", r.Repository(), n+0xd0000))
		if !slices.Contains(image.Digests, digest) {
			image.Digests = append(image.Digests, digest)
		}
	}
	return image
}

func with(image engine.Image, change func(*engine.Image)) engine.Image {
	change(&image)
	return image
}

// going and staying describe a plan by what a person would look at.
func going(p Plan) []string {
	lines := []string{}
	for _, r := range p.Remove {
		line := Title(r.Image)
		if len(r.Tags) > 0 {
			line = "only " + strings.Join(r.Names(), " ")
		}
		lines = append(lines, line)
	}
	return lines
}

func staying(p Plan) map[string]Reason {
	reasons := map[string]Reason{}
	for _, k := range p.Keep {
		reasons[Title(k.Image)] = k.Reason
	}
	return reasons
}

const (
	web   = "ghcr.io/acme/web:1"
	other = "ghcr.io/acme/other:1"
)

// needsOf are those of a pod that names images so.
func needsOf(names ...string) Needs {
	return Needs{Known: true, AsOf: now, Items: NeedsOf("shop/web-1", names, false)}
}

// Each row is one rule of "nothing that is needed is ever removed", tried with every way of asking for the image.
func TestWhatIsNeededStays(t *testing.T) {
	image := img(1, web)
	for name, tt := range map[string]struct {
		state  State
		reason Reason
		says   string
		forced bool // --force passes over it
		exact  bool // naming it exactly does
	}{
		"a running container":       {State{Uses: []engine.Use{{ImageID: image.ID, Kind: engine.UseContainer, Pod: "shop/web-1", Container: "app"}}}, ReasonInUse, "in use by shop/web-1 (app)", false, false},
		"one by bare id":            {State{Uses: []engine.Use{{ImageID: strings.TrimPrefix(image.ID, "sha256:"), Kind: engine.UseContainer, Container: "x"}}}, ReasonInUse, "in use by container x", false, false},
		"an exited container":       {State{Uses: []engine.Use{{ImageID: image.ID, Kind: engine.UseContainer, Exited: true, Pod: "shop/job-1", Container: "app"}}}, ReasonInUse, "in use by shop/job-1 (exited app)", true, false},
		"exited and running":        {State{Uses: []engine.Use{{ImageID: image.ID, Exited: true, Pod: "a/b"}, {ImageID: image.ID, Pod: "c/d"}}}, ReasonInUse, "", false, false},
		"a sandbox":                 {State{Uses: []engine.Use{{ImageID: image.ID, Kind: engine.UseSandbox, Pod: "a/b"}}}, ReasonInUse, "in use by the sandbox of a/b", false, false},
		"a volume by name":          {State{Uses: []engine.Use{{Ref: ref(web), Kind: engine.UseVolume, Pod: "a/b", Container: "c"}}}, ReasonInUse, "in use by a/b (volume of c)", false, false},
		"a volume by digest":        {State{Uses: []engine.Use{{Ref: image.Digests[0], Kind: engine.UseVolume, Pod: "a/b"}}}, ReasonInUse, "", false, false},
		"many containers":           {State{Uses: []engine.Use{{ImageID: image.ID, Pod: "b/b"}, {ImageID: image.ID, Pod: "a/a"}, {ImageID: image.ID, Pod: "c/c"}}}, ReasonInUse, "in use by a/a and 2 more", false, false},
		"a pod by tag":              {State{Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref(web), By: "shop/web-1"}}}}, ReasonNeeded, "named by pod shop/web-1", false, false},
		"a pod by digest":           {State{Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: image.Digests[0], By: "shop/web-1"}}}}, ReasonNeeded, "", false, false},
		"a pod by tag and digest":   {State{Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref(web).WithDigest(image.Digests[0].Digest()), By: "shop/web-1"}}}}, ReasonNeeded, "", false, false},
		"a pod by id":               {State{Needs: needsOf(image.ID)}, ReasonNeeded, "named by pod shop/web-1", false, false},
		"a pod by part of an id":    {State{Needs: needsOf(image.ID[:68])}, ReasonNeeded, "", false, false},
		"a cache":                   {State{Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref(web), By: "shop/web", Cache: true}}}}, ReasonCached, "kept by ImageCache shop/web", true, false},
		"a cache's own pin":         {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.Pinned = true })}, Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref(web), By: "shop/web", Cache: true, Pinned: true}}}}, ReasonCached, "kept by ImageCache shop/web", true, false},
		"someone's pin of a cached": {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.Pinned = true })}, Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref(web), By: "shop/web", Cache: true}}}}, ReasonPinned, "pinned", false, false},
		"its pin, and someone's":    {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.Pinned, i.PinnedByOthers = true, true })}, Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref(web), By: "shop/web", Cache: true, Pinned: true}}}}, ReasonPinned, "pinned", false, false},
		"a pin":                     {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.Pinned = true })}}, ReasonPinned, "pinned", false, false},
		"the sandbox image":         {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.Sandbox = true })}}, ReasonSandbox, "the runtime starts every pod with it", false, false},
		"it came just now":          {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.FirstSeen = now.Add(-3 * time.Minute) })}}, ReasonRecent, "arrived within the last 10m", true, true},
		"nobody knows when it came": {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.FirstSeen = time.Time{} })}}, ReasonRecent, "may have arrived within the last 10m: the runtime does not say", true, true},
		"a short name of a pod":     {State{Needs: Needs{Known: true, AsOf: now, Items: []Need{{Ref: ref("web:1"), Short: "web:1", By: "shop/web-1"}}}}, ReasonNeeded, "named by pod shop/web-1", false, false},
		"a clock that runs ahead":   {State{Images: []engine.Image{with(image, func(i *engine.Image) { i.FirstSeen = now.Add(time.Hour) })}}, ReasonRecent, "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			state := tt.state
			state.Now = now
			if len(state.Images) == 0 {
				state.Images = []engine.Image{image}
			}
			for how, ask := range map[string]struct {
				plan  func(Options) Plan
				exact bool
			}{
				"prune":      {func(o Options) Plan { return Prune(state, PruneRequest{Options: o}) }, false},
				"rm pattern": {func(o Options) Plan { return Remove(state, RemoveRequest{targets("ghcr.io/acme/*"), o}) }, false},
				"rm tag":     {func(o Options) Plan { return Remove(state, RemoveRequest{targets(web), o}) }, true},
				"rm id":      {func(o Options) Plan { return Remove(state, RemoveRequest{targets(image.ID), o}) }, true},
			} {
				for _, force := range []bool{false, true} {
					goes := (force && tt.forced) || (ask.exact && tt.exact)
					p := ask.plan(Options{Force: force})
					if len(p.Remove)+len(p.Keep) != 1 || (len(p.Remove) == 1) != goes {
						t.Fatalf("%s, force %v: goes %v, stays %v; want it to go: %v", how, force, going(p), staying(p), goes)
					}
					if !goes && p.Keep[0].Reason != tt.reason {
						t.Errorf("%s, force %v: kept for %s, want %s", how, force, p.Keep[0].Reason, tt.reason)
					}
					if !goes && tt.says != "" && p.Keep[0].Message != tt.says {
						t.Errorf("%s, force %v: says %q, want %q", how, force, p.Keep[0].Message, tt.says)
					}
					removal := Removal{Image: state.Images[0], Exact: ask.exact}
					if _, hold, gone := Recheck(state, removal, Options{Force: force}); hold == goes || gone {
						t.Errorf("%s, force %v: the look before the removal holds it: %v, want %v", how, force, hold, !goes)
					}
				}
			}
		})
	}
}

// TestNearNames: of a name that is not here, the tags of the same repository that are, or else of one that may be meant.
func TestNearNames(t *testing.T) {
	state := State{Now: now, Images: []engine.Image{
		img(1, "redis:8"), img(2, "redis:7"), img(3, "ghcr.io/acme/redis:9"), img(4, "ghcr.io/acme/web:1"), img(5, "ghcr.io/acme/backend:1"), img(6, "ghcr.io/acme/backend:2"),
	}}
	for asked, want := range map[string][]string{
		"redis": {"redis:7", "redis:8"}, "redis:9": {"redis:7", "redis:8"}, "rediss": {"redis:7", "redis:8"}, "erdis:8": {"redis:7", "redis:8"},
		"web:1": {"ghcr.io/acme/web:1"}, "ghcr.io/acme/bakend": {"ghcr.io/acme/backend:1", "ghcr.io/acme/backend:2"}, "librry/redis": {"ghcr.io/acme/redis:9", "redis:7", "redis:8"},
		"postgres": nil, "ghcr.io/acme/app": nil, "ghcr.io/acme/backstage": nil, "red*s:1": nil,
	} {
		p := Remove(state, RemoveRequest{targets(asked, "redis:7"), Options{}})
		if diff := cmp.Diff(want, p.Near[asked]); diff != "" || len(p.Absent) != 1 {
			t.Errorf("%s, absent %v: %s", asked, p.Absent, diff)
		}
	}
}

func TestUseOfAnotherImageHoldsNothing(t *testing.T) {
	state := State{Now: now, Images: []engine.Image{img(1, web), img(2, other)},
		Uses: []engine.Use{{ImageID: img(2).ID, Pod: "a/b"}}, Needs: needsOf(other, img(2).ID, "sha256:latest")}
	if diff := cmp.Diff([]string{web}, going(Prune(state, PruneRequest{}))); diff != "" {
		t.Error(diff)
	}
}

func TestRemove(t *testing.T) {
	two := img(1, "docker.io/minchou/a:1", "docker.io/minchou/a:2")
	apart := img(2, "docker.io/minchou/b:1", "ghcr.io/acme/b:1")
	dangling := with(img(3), func(i *engine.Image) { i.Digests = []oci.Ref{ref("docker.io/minchou/c@" + i.ID)} })
	nameless := img(4)
	state := State{Now: now, Images: []engine.Image{two, apart, dangling, nameless}}
	for name, tt := range map[string]struct {
		ask    []string
		want   []string
		absent []string
		stay   map[string]Reason
	}{
		"one tag of two":              {ask: []string{"minchou/a:1"}, want: []string{"only docker.io/minchou/a:1"}},
		"both tags":                   {ask: []string{"minchou/a:1", "minchou/a:2"}, want: []string{"docker.io/minchou/a:1"}},
		"a tag twice":                 {ask: []string{"minchou/a:1", "docker.io/minchou/a:1"}, want: []string{"only docker.io/minchou/a:1"}},
		"one repository of two":       {ask: []string{"minchou/b"}, absent: []string{"minchou/b"}},
		"… by pattern":                {ask: []string{"minchou/b*"}, want: []string{"only docker.io/minchou/b:1"}},
		"… by its digest":             {ask: []string{apart.Digests[0].String()}, want: []string{"only docker.io/minchou/b:1"}},
		"an account":                  {ask: []string{"minchou/*"}, want: []string{"docker.io/minchou/a:1", "only docker.io/minchou/b:1", Title(dangling)}},
		"an id":                       {ask: []string{apart.ID}, want: []string{"docker.io/minchou/b:1"}},
		"a digest that no tag is on":  {ask: []string{Title(dangling)}, want: []string{Title(dangling)}},
		"an image without any name":   {ask: []string{nameless.ID}, want: []string{nameless.ID}},
		"an id that begins all":       {ask: []string{"sha256:0000"}, stay: map[string]Reason{Title(two): ReasonAmbiguous, Title(apart): ReasonAmbiguous, Title(dangling): ReasonAmbiguous, Title(nameless): ReasonAmbiguous}},
		"what is not there":           {ask: []string{"nginx", "minchou/a:1"}, want: []string{"only docker.io/minchou/a:1"}, absent: []string{"nginx"}},
		"a manifest's digest by hand": {ask: []string{"sha256:" + apart.Digests[0].Digest().Encoded()}, want: []string{"docker.io/minchou/b:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Remove(state, RemoveRequest{Targets: targets(tt.ask...)})
			want := tt.want
			if want == nil {
				want = []string{}
			}
			stay := tt.stay
			if stay == nil {
				stay = map[string]Reason{}
			}
			if diff := cmp.Diff(want, going(p)); diff != "" {
				t.Errorf("goes: %s", diff)
			}
			if diff := cmp.Diff(tt.absent, p.Absent); diff != "" {
				t.Errorf("absent: %s", diff)
			}
			if diff := cmp.Diff(stay, staying(p)); diff != "" {
				t.Errorf("stays: %s", diff)
			}
		})
	}
}

func TestFreedBytesCountLayersThatReallyGo(t *testing.T) {
	layers := func(ids ...string) func(*engine.Image) {
		return func(i *engine.Image) {
			for _, id := range ids {
				i.Layers = append(i.Layers, engine.Layer{ID: id, Bytes: 10})
			}
		}
	}
	a, b, c := with(img(1, "a:1"), layers("base", "a")), with(img(2, "b:1"), layers("base", "b")), with(img(3, "c:1", "c:2"), layers("base", "c"))
	state := State{Now: now, Images: []engine.Image{a, b, c}}
	for name, tt := range map[string]struct {
		ask   []string
		bytes int64
	}{
		"a shared base stays":       {[]string{"a:1"}, 10},
		"also when two go":          {[]string{"a:1", "b:1"}, 20},
		"it goes with the last":     {[]string{"a:1", "b:1", "c:*"}, 40},
		"a tag alone frees nothing": {[]string{"c:1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := Remove(state, RemoveRequest{Targets: targets(tt.ask...)})
			if p.FreesBytes != tt.bytes || !p.Shared {
				t.Errorf("frees %d, layers counted %v; want %d, true", p.FreesBytes, p.Shared, tt.bytes)
			}
		})
	}
	state.Images[0].Layers = nil
	if p := Remove(state, RemoveRequest{Targets: targets("a:1")}); p.FreesBytes != 100 || p.Shared {
		t.Errorf("without layers: frees %d, layers counted %v; want the size, 100, and false", p.FreesBytes, p.Shared)
	}
	if got := Unique(state.Images); got[b.ID] != 10 || got[c.ID] != 10 {
		t.Errorf("Unique = %v; want 10 for b and c", got)
	}
}

func TestRecheckSeesWhatChanged(t *testing.T) {
	planned := img(1, web)
	renamed := img(1, web, "ghcr.io/acme/web:stable")
	for name, tt := range map[string]struct {
		state  State
		tags   []oci.Ref
		reason Reason
		gone   bool
	}{
		"stale word, and in use":   {state: State{Images: []engine.Image{planned}, Uses: []engine.Use{{ImageID: planned.ID, Pod: "a/b"}}, Needs: Needs{Known: true, AsOf: now.Add(-2 * time.Minute)}}, reason: ReasonInUse},
		"its other name is gone":   {state: State{Images: []engine.Image{planned}}, tags: []oci.Ref{ref(web)}, reason: ReasonChanged},
		"its tag has moved":        {state: State{Images: []engine.Image{img(1, "ghcr.io/acme/web:stable")}}, tags: []oci.Ref{ref(web)}, gone: true},
		"nothing":                  {state: State{Images: []engine.Image{planned}}},
		"it is gone":               {state: State{}, gone: true},
		"a new name":               {state: State{Images: []engine.Image{renamed}}, reason: ReasonChanged},
		"… when one tag was to go": {state: State{Images: []engine.Image{renamed}}, tags: []oci.Ref{ref(web)}},
		"stale word about pods":    {state: State{Images: []engine.Image{planned}, Needs: Needs{Known: true, AsOf: now.Add(-2 * time.Minute)}}, reason: ReasonStaleNeeds},
		"fresh word about pods":    {state: State{Images: []engine.Image{planned}, Needs: Needs{Known: true, AsOf: now.Add(-50 * time.Second)}}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.state.Now = now
			kept, hold, gone := Recheck(tt.state, Removal{Image: planned, Tags: tt.tags}, Options{})
			if gone != tt.gone || hold != (tt.reason != "") || kept.Reason != tt.reason {
				t.Errorf("Recheck = %v %v gone %v; want %q, gone %v", kept.Reason, hold, gone, tt.reason, tt.gone)
			}
		})
	}
}
