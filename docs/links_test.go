// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// knownHosts are those that pages may point to. What is there is not looked at: tests need no network.
var knownHosts = []string{
	"github.com", "kubernetes.io", "kubernetes-csi.github.io", "helm.sh", "krew.sigs.k8s.io", "prometheus.io", "grafana.com", "spdx.dev", "opencontainers.org",
	"argo-cd.readthedocs.io", "fluxcd.io", "docs.openshift.com", "docs.redhat.com", "containerd.io", "cri-o.io", "orlop.dev",
}

// document is a page with where it points to, and where one can point to in it.
type document struct {
	links   []link
	anchors map[string]bool
}

type link struct {
	line   int
	target string
}

var (
	fenced     = regexp.MustCompile("^ *(```+|~~~+)")
	titled     = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *#*$`)
	code       = regexp.MustCompile("`[^`\n]+`")
	linked     = regexp.MustCompile(`\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s<>]+)>?(?: "[^"]*")?\)`)
	referenced = regexp.MustCompile(`(?m)^\[[^\]]+\]: +(\S+)`)
	named      = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	markup     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)|[*\\]`)
	unslugged  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slug is what a heading is pointed to by, as GitHub makes it.
func slug(heading string) string {
	heading = strings.ToLower(markup.ReplaceAllString(heading, "$1"))
	return strings.ReplaceAll(unslugged.ReplaceAllString(heading, ""), " ", "-")
}

// readDocument finds links and headings, which are none within code.
func readDocument(text string) document {
	text = withoutCode(text)
	words := code.ReplaceAllString(text, "code")
	d, seen := document{anchors: map[string]bool{}}, map[string]int{}
	for _, found := range titled.FindAllStringSubmatch(text, -1) {
		anchor := slug(found[1])
		if n := seen[anchor]; n > 0 {
			anchor = fmt.Sprintf("%s-%d", anchor, n)
		}
		d.anchors[anchor] = true
		seen[slug(found[1])]++
	}
	for _, found := range named.FindAllStringSubmatch(text, -1) {
		d.anchors[found[1]] = true
	}
	for _, kind := range []*regexp.Regexp{linked, referenced} {
		for _, at := range kind.FindAllStringSubmatchIndex(words, -1) {
			d.links = append(d.links, link{strings.Count(words[:at[2]], "\n") + 1, words[at[2]:at[3]]})
		}
	}
	return d
}

// withoutCode leaves blocks out, but not their lines.
func withoutCode(text string) string {
	lines, end := strings.Split(text, "\n"), ""
	for i, line := range lines {
		found := fenced.FindStringSubmatch(line)
		switch {
		case found != nil && end == "":
			end = found[1]
		case found != nil && strings.HasPrefix(found[1], end):
			end = ""
		case end == "":
			continue
		}
		lines[i] = ""
	}
	return strings.Join(lines, "\n")
}

// repository is the folder with all documents.
const repository = ".."

// documents are those of the repository by their path, and not what is built or fetched.
func documents(t *testing.T) map[string]document {
	t.Helper()
	all := map[string]document{}
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains([]string{"bin", "dist", "testdata"}, name) || strings.HasPrefix(name, ".") && name != repository):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".md"):
			all[path] = readDocument(read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLinks(t *testing.T) {
	all := documents(t)
	for path, d := range all {
		for _, l := range d.links {
			if problem := broken(all, path, l.target); problem != "" {
				t.Errorf("%s:%d: (%s): %s", path, l.line, l.target, problem)
			}
		}
	}
}

// broken says what is wrong with a link of a page.
func broken(all map[string]document, from, target string) string {
	address, err := url.Parse(target)
	switch {
	case err != nil:
		return err.Error()
	case address.Scheme == "mailto":
		return ""
	case address.Scheme == "https" && slices.Contains(knownHosts, address.Host):
		return ""
	case address.Scheme != "" || address.Host != "":
		return "it is not https, or to a host that is not known here"
	}
	to := from
	if address.Path != "" {
		to = filepath.Join(filepath.Dir(from), address.Path)
	}
	if _, err := os.Stat(to); err != nil {
		return "no such file"
	}
	if d, ok := all[to]; address.Fragment != "" && (!ok || !d.anchors[address.Fragment]) {
		return "no such heading"
	}
	return ""
}

// TestEveryPageIsFound goes from the README by links alone, as a reader does.
func TestEveryPageIsFound(t *testing.T) {
	all := documents(t)
	found, next := map[string]bool{}, []string{filepath.Join(repository, "README.md")}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if found[path] {
			continue
		}
		found[path] = true
		for _, l := range all[path].links {
			target, _, _ := strings.Cut(l.target, "#")
			to := filepath.Join(filepath.Dir(path), target)
			if _, ok := all[to]; ok {
				next = append(next, to)
			}
		}
	}
	for path := range all {
		if strings.HasPrefix(path, filepath.Join(repository, "docs")) && !found[path] {
			t.Errorf("no way of links leads from README.md to %s: docs/README.md is the list of all pages", path)
		}
	}
}

func TestReadDocument(t *testing.T) {
	got := readDocument(strings.ReplaceAll(`# What it's for: ~list~ & more
[one
of two lines](a.md#b) and [~two~](https://kubernetes.io/x "title"), ~[no](link)~
~~~sh
# no heading
[no](link)
~~~
## Again
## Again
<a id="own"></a>![picture](p.svg)
[ref]: ../c.md
`, "~", "`"))
	want := document{
		links:   []link{{3, "a.md#b"}, {3, "https://kubernetes.io/x"}, {10, "p.svg"}, {11, "../c.md"}},
		anchors: map[string]bool{"what-its-for-list--more": true, "again": true, "again-1": true, "own": true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(document{}, link{})); diff != "" {
		t.Error(diff)
	}
}
