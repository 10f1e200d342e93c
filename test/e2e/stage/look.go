// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Image is an image as crictl images -o json has it.
type Image struct {
	ID          string   `json:"id"`
	RepoTags    []string `json:"repoTags"`
	RepoDigests []string `json:"repoDigests"`
	Size        string   `json:"size"`
	Pinned      bool     `json:"pinned"`
}

// Images is what crictl, which is none of ours, says of a node. It answers after a test's end too.
func (s *Stage) Images(t testing.TB, node string) []Image {
	t.Helper()
	out, err := s.Lab(t).Crictl(context.WithoutCancel(t.Context()), node, "images", "-o", "json")
	var list struct {
		Images []Image `json:"images"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		t.Errorf("asking crictl on %s: %v", node, err)
	}
	return list.Images
}

// Image finds an image of a node by a name with a tag; ok is false where there is none.
func (s *Stage) Image(t testing.TB, node, tag string) (img Image, ok bool) {
	t.Helper()
	images := s.Images(t, node)
	i := slices.IndexFunc(images, func(img Image) bool { return slices.Contains(img.RepoTags, tag) })
	if i < 0 {
		return Image{}, false
	}
	return images[i], true
}

// Tags are all names with a tag on a node, as crictl has them, sorted.
func (s *Stage) Tags(t testing.TB, node string) []string {
	t.Helper()
	var all []string
	for _, img := range s.Images(t, node) {
		all = append(all, img.RepoTags...)
	}
	slices.Sort(all)
	return all
}

// Names are all names on a node, by tag and by digest, as crictl has them, sorted.
func (s *Stage) Names(t testing.TB, node string) []string {
	t.Helper()
	var all []string
	for _, img := range s.Images(t, node) {
		all = slices.Concat(all, img.RepoTags, img.RepoDigests)
	}
	slices.Sort(all)
	return all
}

// HasTag reports whether crictl knows a name on a node.
func (s *Stage) HasTag(t testing.TB, node, tag string) bool {
	t.Helper()
	return slices.Contains(s.Tags(t, node), tag)
}

// Emptied removes what a test brought to a node, when it ends.
func (s *Stage) Emptied(t testing.TB, node, prefix string) {
	t.Cleanup(func() {
		for _, img := range s.Images(t, node) {
			if !slices.ContainsFunc(slices.Concat(img.RepoTags, img.RepoDigests), func(name string) bool { return strings.HasPrefix(name, prefix) }) {
				continue
			}
			if _, err := s.Lab(t).Crictl(context.WithoutCancel(t.Context()), node, "rmi", img.ID); err != nil {
				t.Errorf("cleaning up %s: %v", node, err)
			}
		}
	})
}
