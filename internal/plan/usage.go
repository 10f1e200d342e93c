// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import "orlop.dev/orlop/internal/engine"

// Reclaimable is what would be freed if every image went that nothing needs, recent arrivals included.
func Reclaimable(s State) int64 {
	protector := newProtector(s)
	var p Plan
	for _, img := range s.Images {
		if _, ok := protector.protects(img, Options{}, true); !ok {
			p.Remove = append(p.Remove, Removal{Image: img})
		}
	}
	p.count(s.Images)
	return p.FreesBytes
}

// UsesOf gives each image's uses, by the image's id.
func UsesOf(s State) map[string][]engine.Use {
	protector := newProtector(s)
	uses := map[string][]engine.Use{}
	for _, img := range s.Images {
		if using := protector.using(img, false); len(using) > 0 {
			uses[img.ID] = using
		}
	}
	return uses
}

// Unique is what would be freed by removing each image alone, by the image's id. Images whose layers are not known
// are left out.
func Unique(images []engine.Image) map[string]int64 {
	holders := map[string]int{}
	for _, img := range images {
		for _, layer := range img.Layers {
			holders[layer.ID]++
		}
	}
	unique := map[string]int64{}
	for _, img := range images {
		for _, layer := range img.Layers {
			if holders[layer.ID] == 1 {
				unique[img.ID] += layer.Bytes
			}
		}
	}
	return unique
}
