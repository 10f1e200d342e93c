// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"orlop.dev/orlop/internal/engine"
)

// open is a batch that holds images.
func open(ctx context.Context, r *Runtime, images ...engine.Image) (engine.Batch, error) {
	batch, err := r.Batch(ctx)
	if err != nil {
		return nil, err
	}
	if err := batch.Hold(ctx, images...); err != nil {
		return nil, errors.Join(err, batch.Close(ctx))
	}
	return batch, nil
}

// containerd 1.7 deletes a name whatever it means by then, and 2.0 compares: see server.
func TestRemovalSparesANameThatHasMoved(t *testing.T) {
	old, other, tag := "a.test/x@"+indexA, "a.test/y:1", "a.test/x:latest"
	for name, version := range map[string]string{"1.7": "v1.7.35", "2.0": "v2.0.0", "a build that does not tell": "1.7.unknown"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(version, at(tag, indexA), at(other, indexA), at(old, indexA), at(imageID, indexA))
			r := s.connected(t)
			image := listed(t, imageID, tag)
			batch, err := open(t.Context(), r, image)
			if err != nil {
				t.Fatal(err)
			}
			s.set(at(tag, indexB), at(other, indexB))
			if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: image}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tag, other}, s.names()); diff != "" {
				t.Errorf("names that are left (-want +got):\n%s", diff)
			}
			if err := batch.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where the record of an image's id and another agree, content need not be read to know what they mean.
func TestABatchReadsContentOnlyForWhatRecordsDoNotTell(t *testing.T) {
	tag := "a.test/x:1"
	for name, c := range map[string]struct {
		records []*record
		reads   bool
		left    []string
	}{
		"pulled":              {[]*record{at(tag, indexA), at(imageID, indexA)}, false, nil},
		"without its id":      {[]*record{at(tag, indexA)}, true, nil},
		"the id is elsewhere": {[]*record{at(tag, indexA), at(imageID, indexB)}, true, []string{imageID}},
		"the name is":         {[]*record{at(tag, indexB), at(imageID, indexA)}, true, []string{tag}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2", c.records...)
			image := listed(t, imageID, tag)
			batch, err := open(t.Context(), s.connected(t), image)
			if err != nil {
				t.Fatal(err)
			}
			if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: image}); err != nil {
				t.Fatal(err)
			}
			if err := batch.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.left, s.names(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("names that are left (-want +got):\n%s", diff)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if reads := slices.Contains(s.called, "Content/Info"); reads != c.reads {
				t.Errorf("content was read: %t, want %t; called: %v", reads, c.reads, s.called)
			}
		})
	}
}

func TestOnlyTheCallerBoundsTheCollectionOfABatch(t *testing.T) {
	s := newServer("2.4.2")
	batch, err := s.connected(t).Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"RuntimeService/Version": true, "Images/List": true, "Leases/List": true, "Leases/Create": true, "Leases/Delete": false}
	if diff := cmp.Diff(want, s.deadline); diff != "" {
		t.Errorf("calls with a deadline (-want +got):\n%s", diff)
	}
}

// The space of what went is back when a batch has closed. One in which nothing was to go waits for nobody's garbage.
func TestABatchWaitsForTheCollectionOfWhatWent(t *testing.T) {
	tag := "a.test/x:1"
	for name, removes := range map[string]bool{"something went": true, "nothing was to go": false} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2", at(tag, indexA))
			image := listed(t, imageID, tag)
			batch, err := open(t.Context(), s.connected(t), image)
			if err != nil {
				t.Fatal(err)
			}
			if removes {
				err = batch.Remove(t.Context(), engine.RemoveRequest{Image: image})
			}
			if err := errors.Join(err, batch.Close(t.Context())); err != nil {
				t.Fatal(err)
			}
			if len(s.leases) > 0 || len(s.waited) > 0 != removes {
				t.Errorf("leases are left: %v; waited for: %v", s.leases, s.waited)
			}
		})
	}
}

// A batch takes its lease while it looks: one that cannot look leaves none behind.
func TestBatchThatCannotLookLeavesNoLease(t *testing.T) {
	for _, method := range []string{"Images/List", "RuntimeService/Version"} {
		t.Run(method, func(t *testing.T) {
			s := newServer("2.4.2")
			s.fails[method] = status.Error(codes.Internal, "ill")
			if _, err := s.connected(t).Batch(t.Context()); err == nil {
				t.Error("the batch began")
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.leases) > 0 || !slices.Contains(s.called, "Leases/Create") {
				t.Errorf("leases are left: %v; called: %v", s.leases, s.called)
			}
		})
	}
}

func TestBatchEndsTheLeasesOfThoseWhoWereKilled(t *testing.T) {
	ours := map[string]string{labelBatch: "true"}
	s := newServer("2.4.2")
	for _, l := range []*leasesapi.Lease{
		agedLease("an orphan", leaseLife+time.Second, ours),
		agedLease("one that may be alive", leaseLife-time.Second, ours),
		agedLease("somebody else's", 24*time.Hour, nil),
		{ID: "one whose age is unknown", Labels: ours},
	} {
		s.leases[l.ID] = l
	}
	batch, err := s.connected(t).Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"one that may be alive", "one whose age is unknown", "somebody else's"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(s.leases))); diff != "" {
		t.Errorf("leases that are left (-want +got):\n%s", diff)
	}
}

func TestBatchRemovesNothingThatItsLeaseMayNotHold(t *testing.T) {
	tag := "a.test/x:1"
	s := newServer("2.4.2", at(tag, indexA))
	image := listed(t, imageID, tag)
	opened, err := open(t.Context(), s.connected(t), image)
	if err != nil {
		t.Fatal(err)
	}
	opened.(*batch).lease.expires = time.Now().Add(leaseMargin - time.Second)
	if err := opened.Remove(t.Context(), engine.RemoveRequest{Image: image}); !errors.Is(err, engine.Timeout) {
		t.Errorf("error %v, want Timeout", err)
	}
	if diff := cmp.Diff([]string{tag}, s.names()); diff != "" {
		t.Errorf("names that are left (-want +got):\n%s", diff)
	}
	if err := opened.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBatchOnAFullDisk(t *testing.T) {
	full := status.Error(codes.Unknown, "failed to prepare: no space left on device")
	tag := "a.test/x:1"
	for name, c := range map[string]struct {
		fails []string
		want  engine.Reason
	}{
		"room in the database alone":  {fails: []string{"Content/Write"}},
		"no room":                     {fails: []string{"Content/Write", "Leases/AddResource"}, want: engine.Unsupported},
		"no room, not even to end it": {fails: []string{"Content/Write", "Leases/AddResource", "Leases/Delete"}, want: engine.Unsupported},
		"no room for a lease":         {fails: []string{"Leases/Create"}, want: engine.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2", at(tag, indexA))
			for _, method := range c.fails {
				s.fails[method] = full
			}
			image := listed(t, imageID, tag)
			batch, err := open(t.Context(), s.connected(t), image)
			if engine.ReasonOf(err) != c.want {
				t.Fatalf("error %v, want %s", err, c.want)
			}
			if c.want != "" {
				if len(s.leases) > 0 && s.fails["Leases/Delete"] == nil {
					t.Errorf("leases are left: %v", s.leases)
				}
				return
			}
			if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: image}); err != nil {
				t.Fatal(err)
			}
			for lease, held := range s.held {
				if !slices.Equal(held, []string{indexA}) || s.leases[lease] == nil {
					t.Errorf("lease %s holds %v", lease, held)
				}
			}
			if len(s.held) != 1 || len(s.names()) > 0 {
				t.Errorf("%d leases hold something, and %v is left", len(s.held), s.names())
			}
			if err := batch.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// One record that cannot be made again keeps no other of the image's names away.
func TestRestoreGoesOnAfterAFailure(t *testing.T) {
	tag, second, digest := "a.test/x:1", "a.test/x:2", "a.test/x@"+indexA
	s := newServer("2.4.2", at(tag, indexA), at(second, indexA), at(digest, indexA), at(imageID, indexA))
	image := listed(t, imageID, tag, second)
	batch, err := open(t.Context(), s.connected(t), image)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Remove(t.Context(), engine.RemoveRequest{Image: image}); err != nil {
		t.Fatal(err)
	}
	s.refused = tag
	if err := batch.Restore(t.Context(), imageID); err == nil {
		t.Error("no error though a name is not back")
	}
	if diff := cmp.Diff([]string{second, digest, imageID}, s.names()); diff != "" {
		t.Errorf("names that are back (-want +got):\n%s", diff)
	}
}

// A removal is broken off while containerd deletes a name: in the end that name is back too.
func TestWhatWentAsTheRemovalWasBrokenOffIsPutBack(t *testing.T) {
	tag, digest := "a.test/x:1", "a.test/x@"+indexA
	for name, broken := range map[string]func(cancel func()) error{
		"by whoever asked for it":      func(cancel func()) error { cancel(); return nil },
		"by the end of the connection": func(func()) error { return status.Error(codes.Unavailable, "the transport is closing") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer("2.4.2", at(tag, indexA), at(digest, indexA), at(imageID, indexA))
			image := listed(t, imageID, tag)
			image.Digests = append(image.Digests, ref(t, digest))
			s.shown = []engine.Image{image}
			batch, err := open(t.Context(), s.connected(t), image)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var gone []string
			s.deleting = func(name string) error { gone = append(gone, name); return broken(cancel) }
			if err := batch.Remove(ctx, engine.RemoveRequest{Image: image}); err == nil {
				t.Error("a removal that was broken off is no error")
			}
			if len(gone) != 1 {
				t.Errorf("deleted: %v, want one name", gone)
			}
			if err := batch.Restore(t.Context(), imageID); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{tag, digest, imageID}, s.names()); diff != "" {
				t.Errorf("names that are there (-want +got):\n%s", diff)
			}
		})
	}
}

func TestComparing(t *testing.T) {
	for version, want := range map[string]bool{
		"v1.7.35": false, "1.6.20~ds1": false, "2.4.2": true, "v2.0.5-k3s1": true, "10.0.0": true, "unknown": false, "": false, "2a3b4c5": false,
	} {
		if got := comparing.MatchString(version); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}

func TestOnlyTheCodeSaysThatSomethingIsGone(t *testing.T) {
	misleading := status.Error(codes.Unknown, "rotating the log: file not found")
	tag := "a.test/x:1"
	for _, method := range []string{"Images/Get", "Images/Delete", "Content/Info"} {
		t.Run(method, func(t *testing.T) {
			s := newServer("2.4.2", at(tag, indexA))
			r := s.connected(t)
			s.fails[method] = misleading
			if err := r.Remove(t.Context(), engine.RemoveRequest{Image: listed(t, imageID, tag)}); err == nil {
				t.Error("the removal says OK")
			}
			if s.records[tag] == nil {
				t.Error("the name is gone")
			}
		})
	}
}
