// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/maphash"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
)

const (
	// useInterval is the least time between two writes that tell of nothing but the use of images.
	useInterval = 10 * time.Minute
	// watchGap is how long nobody may have watched without a use being missed that matters.
	watchGap = 2 * time.Minute
	// firstStockRetry and maxStockRetry are the pauses after an inventory that could not be read or written.
	firstStockRetry = 5 * time.Second
	maxStockRetry   = 5 * time.Minute
	// measureTimeout bounds one measuring of all images.
	measureTimeout = 2 * time.Minute
)

// stock is what the inventory is made of, and what of it the API has.
type stock struct {
	uid    types.UID // of the store beside it
	loaded bool      // what earlier agents knew was read
	object types.UID // of the inventory
	busy   bool      // a read, a measuring or a write is under way

	watched   time.Time // since when
	looks     int
	firstSeen map[string]time.Time
	lastUsed  map[string]time.Time
	published map[string]v1alpha1.InventoryImage // as written

	measures map[string]measure
	measured uint64 // the mark of the images that were measured

	images, uses uint64    // the marks of this moment
	shownImages  uint64    // the mark of the images that were written
	shownUses    uint64    // and of the uses
	changed      time.Time // since when the images are others than those written
	latest       time.Time // when they changed as last
	written      []byte
	last         time.Time
	failures     int
	retry        time.Time
}

// measure is what one image takes, and what else is found out with it.
type measure struct {
	bytes          int64
	layers         []engine.Layer
	firstSeen      time.Time
	pinnedByOthers bool
}

// uidMayChange starts over with another store: its inventory is another too.
func (s *stock) uidMayChange(store *v1alpha1.ImageStore) {
	if s.uid == store.UID {
		return
	}
	s.uid, s.loaded, s.object, s.written, s.shownImages = store.UID, false, "", nil, 0
	s.retry = time.Time{}
}

var seed = maphash.MakeSeed()

// look notes what a look has seen: arrivals, uses, and whether anything differs from what is written.
//
//nolint:gocognit // The cases of one thing, one after the other: apart they would be harder to compare.
func (s *stock) look(v *view, now time.Time) {
	if s.firstSeen == nil {
		s.firstSeen, s.lastUsed, s.measures, s.watched = map[string]time.Time{}, map[string]time.Time{}, map[string]measure{}, now
	}
	var images, uses maphash.Hash
	images.SetSeed(seed)
	uses.SetSeed(seed)
	here := make(map[string]bool, len(v.images))
	for i := range v.images {
		img := &v.images[i]
		here[img.ID] = true
		if _, known := s.firstSeen[img.ID]; !known {
			s.firstSeen[img.ID] = time.Time{} // It was here before: since when the runtime may know.
			if s.looks > 0 {
				s.firstSeen[img.ID] = now
			}
		}
		images.WriteString(img.ID)
		for _, tag := range img.Tags {
			images.WriteString(tag.String())
		}
		for _, digest := range img.Digests {
			images.WriteString(digest.String())
		}
		if img.Pinned {
			images.WriteString("pinned")
		}
		images.WriteByte(0)
	}
	for id := range s.firstSeen {
		if !here[id] {
			delete(s.firstSeen, id)
			delete(s.lastUsed, id)
			delete(s.measures, id)
		}
	}
	for id := range plan.UsesOf(plan.State{Images: v.images, Uses: v.uses}) {
		s.lastUsed[id] = now
	}
	for _, use := range v.uses {
		uses.WriteString(use.ImageID)
		uses.WriteString(use.Ref.String())
		uses.WriteString(use.Pod)
		uses.WriteString(use.Container)
		uses.WriteByte(0)
	}
	s.looks++
	if images.Sum64() != s.images {
		s.latest = now
	}
	s.images, s.uses = images.Sum64(), uses.Sum64()
	if s.images == s.shownImages {
		s.changed = time.Time{}
	} else if s.changed.IsZero() {
		s.changed = now
	}
}

// size is what an image takes on disk, or will when it is unpacked, as far as is known.
func (s *stock) size(img engine.Image) int64 {
	if known := s.measures[img.ID].bytes; known > 0 {
		return known
	}
	if img.DiskBytes > 0 {
		return img.DiskBytes
	}
	return need(img.PullBytes)
}

// stillFor is how long images must have stayed as they are for the inventory to be written early: a pull that begins right
// after another, or a pin, would be one write more.
const stillFor = time.Second

// due is when the inventory is to be written; zero: nothing is to be.
func (a *Agent) stockDue() time.Time {
	s := &a.stock
	switch {
	case s.written == nil:
		return s.retry
	case !s.changed.IsZero():
		at := s.changed.Add(a.cfg.InventoryDelay)
		switch still := s.latest.Add(stillFor); {
		case a.idle() && still.Before(at):
			at = still
		case a.fetching(): // What comes is told by the store's status meanwhile, and a row of pulls is to be one write.
			at = s.changed.Add(a.cfg.BusyDelay)
		}
		return later(at, s.retry)
	case s.uses != s.shownUses:
		return later(s.last.Add(useInterval), s.retry)
	}
	return time.Time{}
}

// takeStock brings the inventory up to date: it reads what earlier agents knew, measures what is new, and writes.
func (a *Agent) takeStock(ctx context.Context, now time.Time, next *earliest) {
	s := &a.stock
	if a.store == nil || !a.view.fresh || s.busy {
		return
	}
	switch due := a.stockDue(); {
	case due.IsZero() && !s.retry.IsZero():
		return
	case due.IsZero() && s.written != nil:
		return
	case now.Before(due):
		next.or(due)
		return
	}
	s.busy = true
	if !s.loaded {
		a.jobs.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, writeTimeout)
			defer cancel()
			inventory, err := a.cfg.API.Inventory(ctx, a.cfg.Node)
			a.post(func() { a.loaded(inventory, err) })
		})
		return
	}
	if measurer, ok := engine.As[engine.Measurer](a.rt.current); ok && s.measured != s.images {
		images := append([]engine.Image(nil), a.view.images...)
		mark := s.images
		a.jobs.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, measureTimeout)
			defer cancel()
			err := measurer.Measure(ctx, images)
			a.post(func() { a.weighed(images, mark, err) })
		})
		return
	}
	a.writeStock(ctx, now)
}

// idle reports whether no pull and no removal is under way.
func (a *Agent) idle() bool { return !a.fetching() && !a.removal && !a.pinning }

func (a *Agent) fetching() bool { return len(a.pulls)+len(a.work.fetches) > 0 }

// loaded takes in what earlier agents knew.
func (a *Agent) loaded(inventory *v1alpha1.ImageInventory, err error) {
	s, now := &a.stock, time.Now()
	s.busy = false
	if err != nil {
		s.wait(now)
		return
	}
	s.loaded, s.failures, s.retry = true, 0, time.Time{}
	s.object = inventory.UID
	old := &inventory.Status
	goesOn := !old.WatchedSince.IsZero() && now.Sub(old.ObservedTime.Time) < watchGap
	if goesOn {
		s.watched = old.WatchedSince.Time
	}
	s.published = map[string]v1alpha1.InventoryImage{}
	for _, image := range old.Images {
		s.published[image.ID] = image
		if _, here := s.firstSeen[image.ID]; !here {
			continue
		}
		if image.FirstSeen != nil {
			s.firstSeen[image.ID] = image.FirstSeen.Time
		}
		if _, used := s.lastUsed[image.ID]; used {
			continue
		}
		if image.UserCount > 0 { // It was used until some time since: rather too late than too early.
			s.lastUsed[image.ID] = now
		} else if image.LastUsed != nil {
			s.lastUsed[image.ID] = image.LastUsed.Time
		}
	}
	for id, at := range s.firstSeen {
		// It came while nobody watched for a moment, and must not be taken for one that was here all the time.
		if _, known := s.published[id]; goesOn && !known && at.IsZero() && old.OmittedImages == 0 {
			s.firstSeen[id] = now
		}
	}
	if !old.ObservedTime.IsZero() {
		s.written = essence(old)
		s.last = old.ObservedTime.Time
		s.shownImages, s.shownUses = 0, 0 // To be found out by comparing.
		s.changed = now.Add(-a.cfg.BusyDelay)
	}
}

// weighed takes in what images take on disk.
func (a *Agent) weighed(images []engine.Image, mark uint64, err error) {
	s := &a.stock
	s.busy = false
	if err != nil {
		a.cfg.Log.Warn("measuring the images", "node", a.cfg.Node, "error", err)
		s.wait(time.Now())
		return
	}
	s.measured = mark
	clear(s.measures)
	for i := range images {
		s.measures[images[i].ID] = measure{images[i].DiskBytes, images[i].Layers, images[i].FirstSeen, images[i].PinnedByOthers}
	}
}

func (s *stock) wait(now time.Time) {
	s.retry = now.Add(min(firstStockRetry<<min(s.failures, 10), maxStockRetry))
	s.failures++
}

// writeStock writes the inventory, unless it says what the API has already.
func (a *Agent) writeStock(ctx context.Context, now time.Time) {
	s := &a.stock
	status := a.inventory(now)
	written := essence(&status)
	images, uses := s.images, s.uses
	if bytes.Equal(written, s.written) {
		s.busy, s.shownImages, s.shownUses, s.changed, s.retry = false, images, uses, time.Time{}, time.Time{}
		return
	}
	object := &v1alpha1.ImageInventory{Status: status}
	object.Name, object.UID = a.cfg.Node, s.object
	a.jobs.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		err := a.cfg.API.ApplyInventory(ctx, object)
		a.post(func() {
			a.stocked(object, written, images, uses, err)
			a.cfg.Tidy()
		})
	})
}

func (a *Agent) stocked(object *v1alpha1.ImageInventory, written []byte, images, uses uint64, err error) {
	s, now := &a.stock, time.Now()
	s.busy = false
	if err != nil {
		a.cfg.Log.Warn("writing the ImageInventory's status", "node", a.cfg.Node, "error", err)
		s.wait(now)
		s.loaded = s.loaded && s.object != "" // It may have been made anew.
		return
	}
	s.written, s.last, s.failures, s.retry = written, now, 0, time.Time{}
	s.shownImages, s.shownUses, s.changed = images, uses, time.Time{}
	if s.images != images {
		s.changed = now
	}
	s.published = make(map[string]v1alpha1.InventoryImage, len(object.Status.Images))
	for _, image := range object.Status.Images {
		s.published[image.ID] = v1alpha1.InventoryImage{ID: image.ID, LastUsed: image.LastUsed}
	}
}

// essence is what must differ for a write to be worth it: not the time of the look, nor how full the disk is.
func essence(status *v1alpha1.ImageInventoryStatus) []byte {
	bare := *status
	bare.ObservedTime = metav1.Time{}
	bare.ImageFS = v1alpha1.ImageFS{}
	bare.DiskUse = ""
	text, err := json.Marshal(bare)
	if err != nil {
		return nil
	}
	// Only compared: its hash would do, and takes no room.
	var hash maphash.Hash
	hash.SetSeed(seed)
	hash.Write(text)
	return hash.Sum(nil)
}

// lastStock says once more that the node was watched until now, so that the next agent knows of how long a gap.
func (a *Agent) lastStock(ctx context.Context) {
	s := &a.stock
	if s.written == nil || !a.view.fresh || s.object == "" && !s.loaded {
		return
	}
	object := &v1alpha1.ImageInventory{Status: a.inventory(time.Now())}
	object.Name, object.UID = a.cfg.Node, s.object
	if err := a.cfg.API.ApplyInventory(ctx, object); err != nil {
		a.cfg.Log.Warn("writing the ImageInventory's status", "node", a.cfg.Node, "error", err)
	}
}
