// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"slices"
	"strings"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

var (
	imageID = "sha256:" + strings.Repeat("1", 64)
	indexA  = "sha256:" + strings.Repeat("a", 64)
	indexB  = "sha256:" + strings.Repeat("b", 64)
)

func ref(t testing.TB, s string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func recordNamed(name string) *record {
	return &record{Name: name, Target: &types.Descriptor{Digest: indexA}}
}

func namesIn(records []*record) []string {
	all := []string{}
	for _, i := range records {
		all = append(all, i.Name)
	}
	return all
}

func TestSplit(t *testing.T) {
	a1, a2, b := "a.test/x:1", "a.test/x:2", "b.test/y:1"
	aDigest, bDigest := "a.test/x@"+indexA, "b.test/y@"+indexA
	for name, c := range map[string]struct {
		records, tags, want []string
	}{
		"one of two tags": {
			records: []string{a1, a2, aDigest, imageID}, tags: []string{a1}, want: []string{a1},
		},
		"the last tag of a repository takes its digest's name": {
			records: []string{a1, b, aDigest, bDigest, imageID}, tags: []string{a1}, want: []string{a1, aDigest},
		},
		"the last name takes the id's": {
			records: []string{a1, aDigest, imageID}, tags: []string{a1}, want: []string{a1, imageID, aDigest},
		},
		"a digest's name of another repository stays, and with it the id's": {
			records: []string{a1, bDigest, imageID}, tags: []string{a1}, want: []string{a1},
		},
		"all tags of two repositories": {
			records: []string{a1, b, aDigest, bDigest, imageID}, tags: []string{a1, b}, want: []string{a1, b, imageID, aDigest, bDigest},
		},
		"a name that is written in short": {
			records: []string{"nginx:1", a1, imageID}, tags: []string{"docker.io/library/nginx:1"}, want: []string{"nginx:1"},
		},
		"none that is here": {
			records: []string{a1, imageID}, tags: []string{a2}, want: []string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var records []*record
			for _, n := range c.records {
				records = append(records, recordNamed(n))
			}
			var tags []oci.Ref
			for _, n := range c.tags {
				tags = append(tags, ref(t, n))
			}
			if diff := cmp.Diff(c.want, namesIn(split(records, tags))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordsGoWithTheDigestsLast(t *testing.T) {
	records := []*record{recordNamed(imageID), recordNamed("z.test/x@" + indexA), recordNamed("z.test/x:1"), recordNamed("a.test/x@" + indexA)}
	slices.SortFunc(records, inOrder)
	want := []string{"z.test/x:1", imageID, "a.test/x@" + indexA, "z.test/x@" + indexA}
	if diff := cmp.Diff(want, namesIn(records)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOldestTrustsNoTagThatMayHaveMoved(t *testing.T) {
	long, recent := time.Unix(1_000_000, 0).UTC(), time.Unix(2_000_000, 0).UTC()
	moved := recordNamed("a.test/x:latest")
	moved.CreatedAt, moved.UpdatedAt = timestamppb.New(long), timestamppb.New(recent)
	byDigest := recordNamed("a.test/x@" + indexA)
	byDigest.CreatedAt, byDigest.UpdatedAt = timestamppb.New(recent.Add(-time.Hour)), timestamppb.New(recent)
	for name, c := range map[string]struct {
		records []*record
		want    time.Time
	}{
		"nothing":        {},
		"a moved tag":    {[]*record{moved}, recent},
		"a digest's too": {[]*record{moved, byDigest}, recent.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := oldest(c.records); !got.Equal(c.want) {
				t.Errorf("oldest = %s, want %s", got, c.want)
			}
		})
	}
}

func TestPinHome(t *testing.T) {
	tag := "a.test/x:1"
	for name, c := range map[string]struct {
		records []string
		ref     string
		want    string
	}{
		"pulled":                  {[]string{tag, "a.test/x@" + indexA, imageID}, tag, "a.test/x@" + indexA},
		"by digest":               {[]string{"a.test/x@" + indexA, imageID}, "a.test/x@" + indexA, "a.test/x@" + indexA},
		"imported":                {[]string{tag, imageID}, tag, imageID},
		"imported, and not seen":  {[]string{tag}, tag, tag},
		"of another repository":   {[]string{tag, "b.test/y@" + indexA, imageID}, tag, imageID},
		"with another digest too": {[]string{tag, "a.test/x@" + indexB, imageID}, tag, imageID},
	} {
		t.Run(name, func(t *testing.T) {
			var records []*record
			for _, n := range c.records {
				records = append(records, recordNamed(n))
			}
			home := pinHome(records, imageID, ref(t, c.ref))
			if home == nil || home.Name != c.want {
				t.Errorf("home = %v, want %s", home, c.want)
			}
		})
	}
	if home := pinHome(nil, imageID, ref(t, tag)); home != nil {
		t.Errorf("without records, home = %v", home)
	}
}

func TestUnder(t *testing.T) {
	top, base, unfinished := snapshotKey{"overlayfs", "top"}, snapshotKey{"overlayfs", "base"}, snapshotKey{"overlayfs", "unfinished"}
	s := &store{
		blobs: map[string]blob{
			"index":    {size: 1, children: []string{"manifest", "of another platform"}},
			"manifest": {size: 2, children: []string{"config", "layer", "layer"}},
			"config":   {size: 3, snapshots: []snapshotKey{top, unfinished}},
			"layer":    {size: 4, children: []string{"index"}}, // Nothing stops content from pointing in circles.
			"lazy":     {size: 5, snapshots: []snapshotKey{{"stargz", "x"}}},
		},
		parents:   map[snapshotKey]string{top: "base", base: "", unfinished: "base"},
		committed: map[snapshotKey]bool{top: true, base: true, unfinished: false},
		used:      map[snapshotKey]int64{top: 100, base: 1000},
		unknown:   map[string]bool{"stargz": true},
	}
	layers, bytes := s.under([]string{"index", "manifest"})
	want := []engine.Layer{{ID: "index", Bytes: 1}, {ID: "manifest", Bytes: 2}, {ID: "config", Bytes: 3},
		{ID: "overlayfs/top", Bytes: 100}, {ID: "overlayfs/base", Bytes: 1000}, {ID: "layer", Bytes: 4}}
	byID := func(a, b engine.Layer) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(layers, byID)
	slices.SortFunc(want, byID)
	if diff := cmp.Diff(want, layers); diff != "" || bytes != 1110 {
		t.Errorf("%d bytes, want 1110; layers (-want +got):\n%s", bytes, diff)
	}
	if layers, bytes := s.under([]string{"lazy"}); len(layers) != 0 || bytes != 0 {
		t.Errorf("%d bytes in %v, where the snapshotter does not tell", bytes, layers)
	}
	if layers, bytes := s.under([]string{"gone"}); len(layers) != 0 || bytes != 0 {
		t.Errorf("%d bytes in %v, of what is not here", bytes, layers)
	}
}

func TestBlobOf(t *testing.T) {
	got := blobOf(&contentapi.Info{Size: 7, Labels: map[string]string{
		"containerd.io/gc.ref.content.config":           "c",
		"containerd.io/gc.ref.content.l.0":              "l",
		"containerd.io/gc.ref.snapshot.overlayfs":       "top",
		"containerd.io/distribution.source.docker.io":   "library/nginx",
		"containerd.io/uncompressed":                    "d",
		"containerd.io/gc.ref.content.referrer.sha256.": "r",
	}})
	if got.size != 7 || !slices.Equal(got.children, []string{"c", "l", "r"}) || !slices.Equal(got.snapshots, []snapshotKey{{"overlayfs", "top"}}) {
		t.Errorf("got %+v", got)
	}
}

func TestProgressNeverGoesBack(t *testing.T) {
	var seen []engine.Progress
	w := &watcher{req: engine.PullRequest{Progress: func(p engine.Progress) { seen = append(seen, p) }}}
	for _, p := range []engine.Progress{
		{Phase: engine.PhaseResolving}, {Phase: engine.PhaseResolving},
		{Phase: engine.PhaseDownloading, Done: 50, Total: 100},
		{Phase: engine.PhaseDownloading, Done: 10, Total: 100}, // An ingest that began anew.
		{Phase: engine.PhaseDownloading, Done: 120, Total: 100},
	} {
		w.report(p)
	}
	want := []engine.Progress{{Phase: engine.PhaseResolving}, {Phase: engine.PhaseDownloading, Done: 50, Total: 100},
		{Phase: engine.PhaseDownloading, Done: 100, Total: 100}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
