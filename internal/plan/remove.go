// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"path"
	"slices"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/suggest"
)

// choice is one image with the names that were asked for.
type choice struct {
	img   engine.Image
	names []oci.Ref
	exact bool
}

// Remove plans the removal of what the targets name. Images that nobody named are not in the plan.
func Remove(s State, req RemoveRequest) Plan {
	p := Plan{Remove: []Removal{}, Keep: []Kept{}, NeedsKnown: s.Needs.Known, Options: req.Options}
	choices := map[string]*choice{}
	for _, target := range req.Targets {
		if !choose(s.Images, target, choices, &p) {
			p.Absent = append(p.Absent, target.String())
			if tags := Near(s.Images, target); len(tags) > 0 {
				if p.Near == nil {
					p.Near = map[string][]string{}
				}
				p.Near[target.String()] = tags
			}
		}
	}
	protector := newProtector(s)
	for _, img := range s.Images {
		c := choices[img.ID]
		if c == nil {
			continue
		}
		if kept, ok := protector.protects(img, req.Options, c.exact); ok {
			p.Keep = append(p.Keep, kept)
			continue
		}
		p.decideNames(*c)
	}
	p.count(s.Images)
	return p
}

// maxNear is how many names are told that may be meant by one that is not here.
const maxNear = 3

// Near are the first tags that are here of the repository of a reference; of none, those of one that ends like it, or that it
// may be by a slip of the finger.
func Near(images []engine.Image, target oci.Target) []string {
	ref, ok := target.Ref()
	if !ok {
		return nil
	}
	tags := map[string][]string{} // by repository
	for _, img := range images {
		for _, tag := range img.Tags {
			tags[tag.Repository()] = append(tags[tag.Repository()], tag.Familiar())
		}
	}
	asked := ref.Repository()
	found := tags[asked]
	if found == nil {
		for repository, all := range tags {
			if path.Base(repository) == path.Base(asked) {
				found = append(found, all...)
			}
		}
	}
	if found == nil {
		folder, base := path.Split(asked)
		found = tags[folder+suggest.Nearest(base, within(folder, tags))]
	}
	slices.Sort(found)
	found = slices.Compact(found)
	return found[:min(len(found), maxNear)]
}

// within are the names of the repositories that are right in a folder. Whole names would be alike by their folders alone.
func within(folder string, tags map[string][]string) (names []string) {
	for repository := range tags {
		if in, base := path.Split(repository); in == folder {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return names
}

// choose adds what the target means to the choices; names come before ids. It reports whether it found anything.
func choose(images []engine.Image, target oci.Target, choices map[string]*choice, p *Plan) bool {
	found := false
	for _, img := range images {
		if meant := namesMeant(target, img); len(meant) > 0 {
			add(choices, img, meant, target.Exact())
			found = true
		}
	}
	if found {
		return true
	}
	var byID []engine.Image
	for _, img := range images {
		if target.MatchID(img.ID, img.Digests) {
			byID = append(byID, img)
		}
	}
	if len(byID) == 1 {
		add(choices, byID[0], Names(byID[0]), true)
	}
	if len(byID) > 1 {
		for _, img := range byID {
			p.Keep = append(p.Keep, Kept{Image: img, Reason: ReasonAmbiguous,
				Message: fmt.Sprintf("%s is the beginning of %d ids: type more of it", target, len(byID))})
		}
	}
	return len(byID) > 0
}

func add(choices map[string]*choice, img engine.Image, meant []oci.Ref, exact bool) {
	c := choices[img.ID]
	if c == nil {
		c = &choice{img: img}
		choices[img.ID] = c
	}
	c.exact = c.exact || exact
	for _, name := range meant {
		if !slices.Contains(c.names, name) {
			c.names = append(c.names, name)
		}
	}
}

// decideNames turns a choice into a removal of the image, or of those of its names that were chosen.
func (p *Plan) decideNames(c choice) {
	if len(c.names) == len(Names(c.img)) {
		p.Remove = append(p.Remove, Removal{Image: c.img, Exact: c.exact})
		return
	}
	for _, name := range c.names {
		if name.Tag() == "" {
			p.Keep = append(p.Keep, Kept{Image: c.img, Reason: ReasonOtherNames,
				Message: "the digest " + name.String() + " cannot go without the image's other names"})
			return
		}
	}
	p.Remove = append(p.Remove, Removal{Image: c.img, Tags: c.names, Exact: c.exact})
}

// Sized is a plan with the sizes of what it removes, if it was made without. images are all that were there then, with their layers.
func Sized(p Plan, images []engine.Image) Plan {
	sized := make(map[string]engine.Image, len(images))
	for _, img := range images {
		sized[img.ID] = img
	}
	p.Remove = slices.Clone(p.Remove)
	for i := range p.Remove {
		p.Remove[i].Image = sized[p.Remove[i].Image.ID]
	}
	p.count(images)
	return p
}

// count fills in the bytes: a layer counts with the removal that takes its last image.
func (p *Plan) count(images []engine.Image) {
	holders := map[string]int{}
	for _, img := range images {
		for _, layer := range img.Layers {
			holders[layer.ID]++
		}
	}
	p.FreesBytes, p.Shared = 0, true
	for i := range p.Remove {
		r := &p.Remove[i]
		if len(r.Tags) > 0 {
			continue
		}
		r.FreesBytes = frees(r.Image, holders)
		p.FreesBytes += r.FreesBytes
		p.Shared = p.Shared && len(r.Image.Layers) > 0
	}
}

func frees(img engine.Image, holders map[string]int) int64 {
	if len(img.Layers) == 0 {
		return Size(img)
	}
	var bytes int64
	for _, layer := range img.Layers {
		holders[layer.ID]--
		if holders[layer.ID] == 0 {
			bytes += layer.Bytes
		}
	}
	return bytes
}
