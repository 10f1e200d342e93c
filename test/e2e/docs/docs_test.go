// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/test/lab"
)

// TestPages does what the documents say. Each page is a test by its path.
func TestPages(t *testing.T) {
	for _, page := range pages(t) {
		if len(page.Steps) == 0 {
			continue
		}
		t.Run(page.Path, func(t *testing.T) { play(t, page) })
	}
}

// A newcomer is to have images pinned on every node, and them gone again, before the coffee is cold.
const (
	newcomersPage = "docs/quickstart.md"
	newcomersTime = 5 * time.Minute
)

// player is one page being done.
type player struct {
	t       *testing.T
	cluster *lab.Cluster
	page    Page
	dir     string
	shell   *shell
	pushes  int
	times   []lap
}

// lap is how long what stands under a heading took.
type lap struct {
	heading string
	took    time.Duration
}

func play(t *testing.T, page Page) {
	cluster := here.Lab(t)
	ready(t, cluster, page.Lab)
	gone(t, cluster, page)
	if page.Lab == LabEmpty {
		settled(t, cluster)
	}
	if page.Lab != LabNone {
		t.Cleanup(func() {
			begun := time.Now()
			reset(t, cluster, page.Lab)
			t.Logf("putting the cluster back took %.1fs", time.Since(begun).Seconds())
		})
	}
	p := &player{t: t, cluster: cluster, page: page, dir: t.TempDir()}
	p.furnish()
	var err error
	if p.shell, err = newShell(t.Context(), p.dir, p.environment()); err != nil {
		t.Fatal(err)
	}
	defer p.shell.close()
	defer p.cleanUp()
	for _, step := range page.Steps {
		p.step(step)
	}
	p.tellTimes()
}

// furnish puts into the page's folder what a reader has, who stands in the repository after `make build manifests`.
func (p *player) furnish() {
	p.t.Helper()
	kubeconfig, err := os.ReadFile(p.cluster.Kubeconfig())
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, ".kubeconfig"), kubeconfig, 0o600)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(p.dir, "dist"), 0o755)
	}
	if err == nil {
		err = os.Symlink(manifests(p.cluster), filepath.Join(p.dir, "dist", "install.yaml"))
	}
	if err == nil {
		err = os.Symlink(filepath.Join(here.Root(), "charts"), filepath.Join(p.dir, "charts"))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *player) environment() []string {
	return []string{
		"PATH=" + path(p.t, p.cluster, p.page), "KUBECONFIG=" + filepath.Join(p.dir, ".kubeconfig"), "LANG=C.UTF-8",
		"ORLOP_IMAGE=" + registry + "/orlop-node:" + tag, "ORLOP_TOOLS_IMAGE=" + registry + "/orlop-tools:" + tag,
	}
}

func (p *player) step(step Step) {
	p.t.Helper()
	if step.File != "" {
		file := filepath.Join(p.dir, step.File)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(step.Content), 0o644); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	if step.Hidden && p.page.Lab == LabEmpty {
		defer settled(p.t, p.cluster)
	}
	failed := false
	for _, command := range step.Commands {
		begun := time.Now()
		output, code := p.do(command)
		took := time.Since(begun)
		if !step.Hidden {
			p.count(step.Heading, took)
		}
		where := fmt.Sprintf("%s:%d: $ %s (%.1fs)", p.page.Path, command.Line, command.Text, took.Seconds())
		if testing.Verbose() {
			p.t.Logf("%s\n%s", where, output)
		}
		switch {
		case code != 0 && code != step.Code:
			p.t.Fatalf("%s\nexit code %d, want %d\n%s", where, code, step.Code, output)
		case step.Hidden:
		default:
			if diff := Diff(command.Want, output); diff != "" {
				p.t.Errorf("%s\n%s", where, diff)
			}
		}
		failed = failed || code != 0
	}
	if step.Code != 0 && !failed {
		p.t.Errorf("%s:%d: no command ended with %d", p.page.Path, step.Line, step.Code)
	}
}

// do runs one command where it belongs.
func (p *player) do(command Command) (output string, code int) {
	p.t.Helper()
	words := strings.Fields(command.Text)
	switch {
	case command.Node != "":
		return p.onNode(command)
	case words[0] == "push" && len(words) == 3:
		p.push(words[1], words[2])
		return "", 0
	}
	output, code, err := p.shell.run(command.Text)
	if err != nil {
		p.t.Fatalf("%s:%d: $ %s\n%v\n%s", p.page.Path, command.Line, command.Text, err, output)
	}
	return output, code
}

func (p *player) onNode(command Command) (output string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), commandTimeout)
	defer cancel()
	cmd, err := p.cluster.Command(ctx, command.Node, "/bin/bash", "-c", "PATH=/usr/local/bin:$PATH\n"+command.Text)
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		p.t.Fatalf("%s:%d: %s# %s: %v\n%s", p.page.Path, command.Line, command.Node, command.Text, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// push makes an image of a size, such as 5MB, for the lab's registry. One that is pushed again is another image under the same name.
func (p *player) push(image, size string) {
	p.t.Helper()
	var megabytes int64
	if _, err := fmt.Sscanf(size, "%dMB", &megabytes); err != nil {
		p.t.Fatalf("%s: push %s %s: the size is written as 5MB", p.page.Path, image, size)
	}
	p.pushes++
	here.PushSpec(p.t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: megabytes * 1_000_000}}, Seed: fmt.Sprint(p.pushes)})
}

func (p *player) cleanUp() {
	for _, command := range p.page.Cleanup {
		if output, code := p.do(command); code != 0 {
			p.t.Errorf("%s:%d: cleaning up: %s: exit code %d\n%s", p.page.Path, command.Line, command.Text, code, output)
		}
	}
}

func (p *player) count(heading string, took time.Duration) {
	if n := len(p.times); n > 0 && p.times[n-1].heading == heading {
		p.times[n-1].took += took
		return
	}
	p.times = append(p.times, lap{heading, took})
}

// tellTimes is what a reader waits for, who types at once.
func (p *player) tellTimes() {
	var sum time.Duration
	var text strings.Builder
	for _, l := range p.times {
		sum += l.took
		fmt.Fprintf(&text, "%6.1fs  %s\n", l.took.Seconds(), l.heading)
	}
	p.t.Logf("%s\n%s%6.1fs  in all", p.page.Path, text.String(), sum.Seconds())
	if p.page.Path == newcomersPage && sum > newcomersTime {
		p.t.Errorf("a newcomer waits for %s, and should for less than %s", sum.Round(time.Second), newcomersTime)
	}
}

// TestManifests has the API server look at the objects that stand in pages to be read.
func TestManifests(t *testing.T) {
	cluster := here.Lab(t)
	for _, page := range pages(t) {
		for _, manifest := range page.Manifests {
			t.Run(fmt.Sprintf("%s:%d", page.Path, manifest.Line), func(t *testing.T) {
				ready(t, cluster, LabOperator)
				if seen := here.KubectlReads(t, manifest.anywhere(), "create", "--dry-run=server", "--validate=strict", "-f", "-"); seen.Code != 0 {
					t.Errorf("%s\n%s", seen, manifest.Text)
				}
			})
		}
	}
}

// TestBlocksThatDoNotRun lists them: each must have its reason.
func TestBlocksThatDoNotRun(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, left := range page.Left {
			if n++; left.Reason == "" {
				t.Errorf("%s:%d: no reason", page.Path, left.Line)
			}
			t.Logf("%s:%d: %s", page.Path, left.Line, left.Reason)
		}
	}
	t.Logf("%d blocks do not run", n)
}
