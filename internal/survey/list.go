// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package survey puts the answers of many nodes together: which image is where, how often and how large, and which
// tag means different images. It is made of functions of values, without a cluster and without a clock.
package survey

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// Answer is what one node has said of its images.
type Answer struct {
	Node      string
	Inventory session.Inventory
	// Kept are the ImageCaches that want an image on this node, by its name and by its digest.
	Kept map[oci.Ref][]string
}

// caches are those that keep an image: as with all that protects, under whichever of its names.
func (a Answer) caches(info session.ImageInfo) []string {
	var found []string
	for _, name := range slices.Concat(info.Tags, info.Digests) {
		found = append(found, a.Kept[name]...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Image is one name of one image, on all nodes that have it so.
type Image struct {
	// Image is the whole name; empty for an image without one.
	Image      string   `json:"image,omitempty"`
	Repository string   `json:"repository,omitempty"`
	Tag        string   `json:"tag,omitempty"`
	ID         string   `json:"id"`
	Digests    []string `json:"repoDigests,omitempty"`
	Platforms  []string `json:"platforms,omitempty"`
	// DiskBytes and PullBytes are those of the largest copy; 0 is unknown.
	DiskBytes int64 `json:"diskBytes,omitempty"`
	PullBytes int64 `json:"pullBytes,omitempty"`
	InUse     bool  `json:"inUse,omitempty"`
	Pinned    bool  `json:"pinned,omitempty"`
	// Cached: an ImageCache keeps it on some node.
	Cached bool `json:"cached,omitempty"`
	// Drift: the same tag is another image on some node.
	Drift bool   `json:"drift,omitempty"`
	Nodes []Copy `json:"nodes"`
}

// Copy is an image on one node.
type Copy struct {
	Node      string    `json:"name"`
	Platform  string    `json:"platform,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	DiskBytes int64     `json:"diskBytes,omitempty"`
	PullBytes int64     `json:"pullBytes,omitempty"`
	FirstSeen time.Time `json:"firstSeen,omitzero"`
	LastUsed  time.Time `json:"lastUsed,omitzero"`
	InUse     bool      `json:"inUse,omitempty"`
	Pinned    bool      `json:"pinned,omitempty"`
	Sandbox   bool      `json:"sandbox,omitempty"`
	// Pods are namespace/name; Containers counts those of no pod, MoreUsers those of which only the number is known.
	Pods       []string `json:"pods,omitempty"`
	Containers int      `json:"containers,omitempty"`
	MoreUsers  int      `json:"moreUsers,omitempty"`
	// Caches are namespace/name of the ImageCaches that keep it here.
	Caches []string `json:"caches,omitempty"`
}

// Choice narrows a list. Its zero value takes everything.
type Choice struct {
	Targets []oci.Target
	Filter  plan.Filter
	Now     time.Time
}

// takes finds whether the image is meant, and which of its names are.
func (c Choice) takes(info session.ImageInfo) (names []oci.Ref, taken plan.Answer) {
	facts := plan.Facts{Image: info.Image, InUse: inUse(info), Now: c.Now}
	if taken = c.Filter.Match(facts); taken != plan.Yes {
		return nil, taken
	}
	all := plan.Names(info.Image)
	if len(c.Targets) == 0 {
		return all, plan.Yes
	}
	for _, target := range c.Targets {
		if target.MatchID(info.ID, info.Digests) {
			return all, plan.Yes
		}
		for _, name := range all {
			if target.MatchRef(name, info.Digests) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return nil, plan.No
	}
	return names, plan.Yes
}

func inUse(info session.ImageInfo) bool {
	return len(info.Uses) > 0 || info.MoreUsers > 0 || info.Sandbox
}

// key is what makes a row of a list.
type key struct {
	name oci.Ref
	id   string
}

// List has a row for each name and id, in the order of the names, those without a name last. unknown counts the copies
// that a filter asks something of which nothing is known; they are left out.
func List(answers []Answer, choice Choice) (rows []Image, unknown int) {
	byKey := map[key]*Image{}
	for _, answer := range answers {
		for _, info := range answer.Inventory.Images {
			names, taken := choice.takes(info)
			switch {
			case taken == plan.NotKnown:
				unknown++
				continue
			case taken == plan.No:
				continue
			case len(names) == 0:
				names = []oci.Ref{{}}
			}
			for _, name := range names {
				add(byKey, key{name, info.ID}, answer, info)
			}
		}
	}
	moved := drifting(answers)
	for k, row := range byKey {
		row.Drift = moved[k.name]
		slices.Sort(row.Digests)
		slices.Sort(row.Platforms)
		slices.SortFunc(row.Nodes, func(a, b Copy) int { return cmp.Compare(a.Node, b.Node) })
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, compareImages)
	return rows, unknown
}

func compareImages(a, b Image) int {
	if (a.Image == "") != (b.Image == "") {
		return len(b.Image) - len(a.Image)
	}
	return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Image, b.Image), cmp.Compare(a.ID, b.ID))
}

func add(rows map[key]*Image, k key, answer Answer, info session.ImageInfo) {
	row := rows[k]
	if row == nil {
		row = &Image{Image: k.name.String(), Repository: k.name.Repository(), Tag: k.name.Tag(), ID: k.id}
		rows[k] = row
	}
	c := copyOf(answer, info)
	for _, d := range info.Digests {
		if k.name.IsZero() || d.Repository() == k.name.Repository() {
			c.Digest = cmp.Or(c.Digest, d.Digest().String())
			if !slices.Contains(row.Digests, d.String()) {
				row.Digests = append(row.Digests, d.String())
			}
		}
	}
	if c.Platform != "" && !slices.Contains(row.Platforms, c.Platform) {
		row.Platforms = append(row.Platforms, c.Platform)
	}
	row.DiskBytes, row.PullBytes = max(row.DiskBytes, c.DiskBytes), max(row.PullBytes, c.PullBytes)
	row.InUse, row.Pinned, row.Cached = row.InUse || c.InUse, row.Pinned || c.Pinned, row.Cached || len(c.Caches) > 0
	row.Nodes = append(row.Nodes, c)
}

func copyOf(answer Answer, info session.ImageInfo) Copy {
	c := Copy{
		Node: answer.Node, Platform: answer.Inventory.Platform, DiskBytes: info.DiskBytes, PullBytes: info.PullBytes,
		FirstSeen: info.FirstSeen, LastUsed: info.LastUsed, InUse: inUse(info), Pinned: info.Pinned, Sandbox: info.Sandbox,
		MoreUsers: info.MoreUsers, Caches: answer.caches(info),
	}
	c.Pods, c.Containers = Users(info.Uses)
	return c
}

// Users are the pods that use an image, sorted, and how many containers of no pod do.
func Users(uses []engine.Use) (pods []string, containers int) {
	named := map[string]bool{}
	for _, use := range uses {
		if use.Pod == "" {
			containers++
		} else {
			named[use.Pod] = true
		}
	}
	return slices.Sorted(maps.Keys(named)), containers
}

// Flags are the letters of a copy: U in use, P pinned, C kept by a cache.
func (c Copy) Flags() string { return letters(c.InUse, c.Pinned, len(c.Caches) > 0, false) }

// Flags are the letters of a row: U in use, P pinned, C kept by a cache, D drift.
func (i Image) Flags() string { return letters(i.InUse, i.Pinned, i.Cached, i.Drift) }

func letters(inUse, pinned, cached, drift bool) string {
	var s strings.Builder
	for _, letter := range []struct {
		on   bool
		text string
	}{{inUse, "U"}, {pinned, "P"}, {cached, "C"}, {drift, "D"}} {
		if letter.on {
			s.WriteString(letter.text)
		}
	}
	return s.String()
}

// Pods are all pods that use a row's image.
func (i Image) Pods() []string {
	named := map[string]bool{}
	for _, c := range i.Nodes {
		for _, pod := range c.Pods {
			named[pod] = true
		}
	}
	return slices.Sorted(maps.Keys(named))
}

// LastUsed is when any node last used the image; zero is unknown.
func (i Image) LastUsed() time.Time {
	var last time.Time
	for _, c := range i.Nodes {
		if c.LastUsed.After(last) {
			last = c.LastUsed
		}
	}
	return last
}
