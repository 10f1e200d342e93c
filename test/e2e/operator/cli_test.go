// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"slices"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
)

// TestListReadsTheInventory: no pod is made, and the answer is crictl's.
func TestListReadsTheInventory(t *testing.T) {
	name := at("listed/a:1")
	here.Push(t, name)
	kept(t, "listed", map[string]any{"images": images(name)})
	ready(t, "listed")
	mark, err := here.Lab(t).AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		stage.Eventually(t, "the inventory of "+node+" is what crictl lists", func() (bool, string) {
			var listed, want []string
			store := get[struct {
				Status struct {
					Images []struct {
						ID     string
						Tags   []string
						Pinned bool
					}
				}
			}](t, "imageinventory", "", node)
			for _, img := range store.Status.Images {
				listed = append(listed, img.ID+" "+strings.Join(slices.Sorted(slices.Values(img.Tags)), ",")+pin(img.Pinned))
			}
			for _, img := range here.Images(t, node) {
				want = append(want, img.ID+" "+strings.Join(slices.Sorted(slices.Values(img.RepoTags)), ",")+pin(img.Pinned))
			}
			slices.Sort(listed)
			slices.Sort(want)
			return slices.Equal(listed, want), strings.Join(listed, "\n") + "\nand crictl:\n" + strings.Join(want, "\n")
		})
	}
	got := here.Orlop(t, "list").Want(t, 0)
	if !strings.Contains(got.Out, "listed/a") || !strings.Contains(got.Out, "3/3") {
		t.Errorf("the list does not show the image on three nodes: %s", got)
	}
	here.Orlop(t, "df").Want(t, 0)
	writes, err := here.Lab(t).Writes(mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if w.Object.Resource == "pods" && w.Verb == "create" && w.Object.Subresource == "" {
			t.Errorf("a pod was made: %s", w)
		}
	}
}

func pin(pinned bool) string {
	if pinned {
		return " pinned"
	}
	return ""
}

// TestCacheCommands is the life of a cache from the command line.
func TestCacheCommands(t *testing.T) {
	name := at("commands/a:1")
	here.Push(t, name)
	t.Cleanup(func() { gone(t, "commands") })
	here.Orlop(t, "cache", "create", "commands", "--image", name, "--wait").Want(t, 0)
	onNodes(t, name, nodes...)
	got := here.Orlop(t, "status", "imagecache/commands", "--wait").Want(t, 0)
	if !strings.Contains(got.Out+got.Err, "3/3") {
		t.Errorf("status: %s", got)
	}
	here.Orlop(t, "cache", "refresh", "commands", "--wait").Want(t, 0)
	here.Orlop(t, "rm", name, "--yes").Want(t, 0)
	onNodes(t, name, nodes...)
	here.Orlop(t, "cache", "purge", "commands", "--yes", "--wait").Want(t, 0)
	onNodes(t, name)
	here.Orlop(t, "status").Want(t, 0)
	here.Orlop(t, "check").Want(t, 0)
}
