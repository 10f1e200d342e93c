// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// digestOf is a whole digest of one repeated hex digit.
func digestOf(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }

// image makes an image of an id and names; a name with @ and a letter is a digest.
func image(t *testing.T, id string, names ...string) session.ImageInfo {
	t.Helper()
	info := session.ImageInfo{Image: engine.Image{ID: id, DiskBytes: 100}}
	for _, name := range names {
		repository, letter, isDigest := strings.Cut(name, "@")
		if isDigest {
			name = repository + "@" + digestOf(letter)
		}
		ref, err := oci.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if isDigest {
			info.Digests = append(info.Digests, ref)
		} else {
			info.Tags = append(info.Tags, ref)
		}
	}
	return info
}

func usedBy(info session.ImageInfo, pods ...string) session.ImageInfo {
	for _, pod := range pods {
		info.Uses = append(info.Uses, engine.Use{Kind: engine.UseContainer, Pod: pod})
	}
	return info
}

func node(name, platform string, images ...session.ImageInfo) Answer {
	return Answer{Node: name, Inventory: session.Inventory{Platform: platform, Images: images}}
}

func TestList(t *testing.T) {
	answers := []Answer{
		node("b", "linux/amd64", usedBy(image(t, "1", "nginx:1", "nginx:stable", "nginx@a"), "shop/web"), image(t, "9")),
		node("a", "linux/amd64", usedBy(image(t, "1", "nginx:1", "nginx@a"), "shop/web", "shop/api"), image(t, "2", "nginx:stable", "nginx@b"), image(t, "3", "ghcr.io/x/y@c")),
	}
	rows, _ := List(answers, Choice{Now: now})
	var got []string
	for _, row := range rows {
		line := row.Image + " " + row.ID + " " + row.Flags() + " on"
		for _, c := range row.Nodes {
			line += " " + c.Node
		}
		got = append(got, line)
	}
	want := []string{
		"docker.io/library/nginx:1 1 U on a b",
		"docker.io/library/nginx:stable 1 UD on b",
		"docker.io/library/nginx:stable 2 D on a",
		"ghcr.io/x/y@" + digestOf("c") + " 3  on a",
		" 9  on b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if pods := rows[0].Pods(); len(pods) != 2 {
		t.Errorf("pods: %q", pods)
	}
}

// TestListKept: an image that a cache keeps by one of its names, or by its digest, is kept under all of them.
func TestListKept(t *testing.T) {
	a := node("a", "linux/amd64", image(t, "1", "nginx:1", "nginx:stable", "nginx@a"), image(t, "2", "redis:8"))
	b := node("b", "linux/amd64", image(t, "1", "nginx:1", "nginx@a"))
	a.Kept = map[oci.Ref][]string{a.Inventory.Images[0].Digests[0]: {"shop/web"}, a.Inventory.Images[0].Tags[0]: {"shop/web", "a/b"}}
	rows, _ := List([]Answer{a, b}, Choice{Now: now})
	var got []string
	for _, row := range rows {
		for _, c := range row.Nodes {
			got = append(got, strings.TrimSpace(c.Node+" "+row.Image+" "+row.Flags()+" "+strings.Join(c.Caches, ",")))
		}
	}
	want := []string{"a docker.io/library/nginx:1 C a/b,shop/web", "b docker.io/library/nginx:1 C", "a docker.io/library/nginx:stable C a/b,shop/web", "a docker.io/library/redis:8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestListChoice(t *testing.T) {
	answers := []Answer{node("a", "linux/amd64", usedBy(image(t, "1aaa", "nginx:1", "ghcr.io/acme/web:2"), "p"), image(t, "2bbb", "redis:7"))}
	cases := map[string]struct {
		targets []string
		filters []string
		want    []string
		unknown int
	}{
		"everything":            {nil, nil, []string{"docker.io/library/nginx:1", "docker.io/library/redis:7", "ghcr.io/acme/web:2"}, 0},
		"one name of two":       {[]string{"nginx:1"}, nil, []string{"docker.io/library/nginx:1"}, 0},
		"pattern":               {[]string{"ghcr.io/**"}, nil, []string{"ghcr.io/acme/web:2"}, 0},
		"id takes all names":    {[]string{"sha256:1aaa"}, nil, []string{"docker.io/library/nginx:1", "ghcr.io/acme/web:2"}, 0},
		"nothing of that name":  {[]string{"busybox:1"}, nil, nil, 0},
		"filter":                {nil, []string{"in-use=false"}, []string{"docker.io/library/redis:7"}, 0},
		"age that is not known": {nil, []string{"unused-for=1h"}, nil, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			filter, err := plan.ParseFilter(c.filters)
			if err != nil {
				t.Fatal(err)
			}
			choice := Choice{Filter: filter, Now: now}
			for _, text := range c.targets {
				target, err := oci.ParseTarget(text)
				if err != nil {
					t.Fatal(err)
				}
				choice.Targets = append(choice.Targets, target)
			}
			rows, unknown := List(answers, choice)
			var got []string
			for _, row := range rows {
				got = append(got, row.Image)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || unknown != c.unknown {
				t.Errorf("unknown %d, %s", unknown, diff)
			}
		})
	}
}

func TestTags(t *testing.T) {
	amd, arm := "linux/amd64", "linux/arm64"
	web := "ghcr.io/acme/web:latest"
	cases := map[string]struct {
		answers  []Answer
		registry string
		refused  string
		verdict  Verdict
		versions int
		behind   int
	}{
		"the same": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a")), node("b", amd, image(t, "1", web, "ghcr.io/acme/web@a"))}, "", "", VerdictSame, 1, 0},
		"amd64 beside arm64 is no drift": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a")), node("b", arm, image(t, "2", web, "ghcr.io/acme/web@a"))},
			digestOf("a"), "", VerdictSame, 1, 0},
		"nodes differ": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a")), node("b", amd, image(t, "2", web, "ghcr.io/acme/web@b"))}, digestOf("a"), "", VerdictDrift, 2, 1},
		"one id under two digests is compared by digest": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a")), node("b", amd, image(t, "1", web, "ghcr.io/acme/web@b"))},
			"", "", VerdictDrift, 2, 0},
		"a second digest joins": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a")), node("b", amd, image(t, "1", web, "ghcr.io/acme/web@b")),
			node("c", amd, image(t, "1", web, "ghcr.io/acme/web@a", "ghcr.io/acme/web@b"))}, "", "", VerdictSame, 1, 0},
		"digests of other repositories do not count": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a", "docker.io/x/y@c")),
			node("b", amd, image(t, "2", web, "ghcr.io/acme/web@b", "docker.io/x/y@c"))}, "", "", VerdictDrift, 2, 0},
		"all are behind":         {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a"))}, digestOf("f"), "", VerdictBehind, 1, 1},
		"the registry refuses":   {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a"))}, "", "401", VerdictUnknown, 1, 0},
		"built, and not pulled":  {[]Answer{node("a", amd, image(t, "1", web))}, digestOf("f"), "", VerdictUnknown, 1, 1},
		"built here, not there":  {[]Answer{node("a", amd, image(t, "1", web)), node("b", amd, image(t, "2", web, "ghcr.io/acme/web@a"))}, "", "", VerdictUnknown, 2, 0},
		"differ, no registry":    {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a")), node("b", amd, image(t, "2", web, "ghcr.io/acme/web@b"))}, "", "401", VerdictDrift, 2, 0},
		"digest without a tag":   {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web@a"), image(t, "2", "ghcr.io/acme/web@b"))}, "", "", VerdictSame, 1, 0},
		"several tags at a time": {[]Answer{node("a", amd, image(t, "1", web, "ghcr.io/acme/web:stable", "ghcr.io/acme/web@a"))}, "", "", VerdictSame, 1, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tags := Tags(c.answers, func(ref oci.Ref) bool { return ref.String() == web })
			if len(tags) != 1 {
				t.Fatalf("%d tags", len(tags))
			}
			tag := tags[0]
			tag.Registry, tag.RegistryError = c.registry, c.refused
			tag.Judge()
			behind, known := tag.Behind()
			if tag.Verdict != c.verdict || len(tag.Versions) != c.versions || known && behind != c.behind {
				t.Errorf("%s, %d versions, %d behind; want %s, %d, %d", tag.Verdict, len(tag.Versions), behind, c.verdict, c.versions, c.behind)
			}
		})
	}
}

func TestMutable(t *testing.T) {
	for text, want := range map[string]bool{"nginx": true, "nginx:stable": true, "nginx:1.29": false, "nginx:v2": false, "nginx@" + digestOf("a"): false} {
		ref, err := oci.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Mutable(ref); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
