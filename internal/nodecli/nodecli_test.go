// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/term"
)

// machine is a node with an in-memory runtime, and what a command on it writes.
type machine struct {
	*enginetest.Containerd
	in, out, err bytes.Buffer
}

func newMachine(t *testing.T, images ...string) *machine {
	t.Helper()
	registry := enginetest.NewRegistry()
	m := &machine{Containerd: enginetest.NewContainerd(registry)}
	for _, image := range images {
		content := enginetest.Content{Layers: []enginetest.Blob{{Seed: image, Size: 1e6}}}
		m.Load(content, image)
		ref, err := oci.Parse(image)
		if err != nil {
			t.Fatal(err)
		}
		registry.Push(ref, content)
	}
	return m
}

// run executes a command line, and fails the test unless it ends with the code.
func (m *machine) run(t *testing.T, code int, args ...string) {
	t.Helper()
	m.out.Reset()
	m.err.Reset()
	m.runUntil(t.Context(), t, code, args...)
}

// runUntil is run for somebody who may go.
func (m *machine) runUntil(ctx context.Context, t *testing.T, code int, args ...string) {
	t.Helper()
	got := Run(ctx, Config{
		Streams: term.Streams{In: &m.in, Out: &m.out, Err: &m.err}, Version: "v0.0.1",
		Open: func(context.Context, string, string) (engine.Interface, error) {
			return engine.Verify(m.Containerd), nil
		},
	}, args)
	if got != code {
		t.Fatalf("%v ended with %d, want %d\n%s%s", args, got, code, &m.out, &m.err)
	}
}

func (m *machine) left(t *testing.T) int {
	t.Helper()
	images, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(images)
}

const (
	nginx = "docker.io/library/nginx:1"
	app   = "ghcr.io/acme/app:1"
)

// A pin that a person sets does not go with a cache's; a person lifts both.
func TestPinIsByHand(t *testing.T) {
	m := newMachine(t, nginx)
	m.run(t, 0, "pin", nginx)
	ref, err := oci.Parse(nginx)
	if err != nil {
		t.Fatal(err)
	}
	pinned := func(want bool) {
		t.Helper()
		images, err := m.List(t.Context())
		if err != nil || len(images) != 1 || images[0].Pinned != want {
			t.Errorf("images %+v, error %v, want pinned %t", images, err, want)
		}
	}
	if err := m.Pin(t.Context(), ref, false); err != nil { // As an agent does whose cache lets go.
		t.Fatal(err)
	}
	pinned(true)
	m.run(t, 0, "rm", "--yes", "--force", nginx)
	pinned(true)
	m.run(t, 0, "unpin", nginx)
	pinned(false)
	if err := m.Pin(t.Context(), ref, true); err != nil { // By an agent that is no more.
		t.Fatal(err)
	}
	m.run(t, 0, "unpin", nginx)
	pinned(false)
}

func TestUnpinSaysWhatStaysPinned(t *testing.T) {
	m := newMachine(t, nginx)
	m.Configure(nginx, false)
	m.run(t, 1, "unpin", nginx)
	if !strings.Contains(m.err.String(), nginx+" is still pinned") || strings.Contains(m.err.String(), "unpinned") {
		t.Errorf("it says %s", &m.err)
	}
}

func TestListIsATable(t *testing.T) {
	m := newMachine(t, nginx, app)
	m.Start(nginx, enginetest.Container{Name: "c", Pod: "shop/web"})
	m.run(t, 0, "list")
	lines := strings.Split(strings.TrimSpace(m.out.String()), "\n")
	if len(lines) != 3 || strings.Join(strings.Fields(lines[0]), " ") != "IMAGE TAG ID PULL USED BY FLAGS" {
		t.Fatalf("list:\n%s", &m.out)
	}
	if got := strings.Fields(lines[1]); got[0] != "docker.io/library/nginx" || got[1] != "1" || got[3] != "1MB" || got[4] != "1" || got[6] != "U" {
		t.Errorf("nginx is shown as %q", lines[1])
	}
	if strings.Contains(m.out.String(), "images") || !strings.Contains(m.err.String(), "2 images") {
		t.Errorf("the summary belongs on standard error:\n%s\n%s", &m.out, &m.err)
	}
}

func TestListChooses(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"all":         {nil, 2},
		"a name":      {[]string{"nginx:1"}, 1},
		"any tag":     {[]string{"nginx"}, 1},
		"a pattern":   {[]string{"ghcr.io/acme/*"}, 1},
		"a filter":    {[]string{"--filter", "in-use=true"}, 1},
		"both":        {[]string{"--filter", "in-use=true", "ghcr.io/acme/*"}, 0},
		"ids are few": {[]string{"--filter", "size>10MB"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, nginx, app)
			m.Start(nginx, enginetest.Container{Name: "c", Pod: "shop/web"})
			m.run(t, 0, append([]string{"list", "-q"}, tt.args...)...)
			if got := strings.Count(m.out.String(), "\n"); got != tt.want {
				t.Errorf("%d ids, want %d:\n%s", got, tt.want, &m.out)
			}
		})
	}
}

func TestAnswersForPrograms(t *testing.T) {
	for name, args := range map[string][]string{
		"ImageList":     {"list"},
		"DiskUsage":     {"df"},
		"RemovalPlan":   {"prune", "--all", "--dry-run"},
		"RemovalResult": {"rm", "--yes", "nginx:1"},
		"PullResult":    {"pull", "nginx:1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, nginx, app)
			m.run(t, 0, append(args, "-o", "json")...)
			var got map[string]any
			if err := json.Unmarshal(m.out.Bytes(), &got); err != nil {
				t.Fatalf("%v\n%s", err, &m.out)
			}
			if got["kind"] != name || got["apiVersion"] != "orlop.dev/v1alpha1" {
				t.Errorf("it is %v of %v", got["kind"], got["apiVersion"])
			}
			m.run(t, 0, append(args, "-o", "yaml")...)
			if !strings.Contains(m.out.String(), "kind: "+name) {
				t.Errorf("as YAML:\n%s", &m.out)
			}
		})
	}
}

func TestWithoutATerminalARemovalNeedsAYes(t *testing.T) {
	m := newMachine(t, nginx)
	m.in.WriteString("y\n")
	m.run(t, 1, "rm", "nginx:1", "--force")
	if !strings.Contains(m.err.String(), "run: orlop-node rm nginx:1 --force --yes") {
		t.Errorf("it does not say what to run:\n%s", &m.err)
	}
	if m.left(t) != 1 {
		t.Error("it was removed")
	}
	m.run(t, 0, "rm", "nginx:1", "--yes")
	if m.left(t) != 0 {
		t.Error("it was not removed")
	}
}

// TestArgumentsAreNotPassedOver: prune nginx would take far more than nginx.
func TestArgumentsAreNotPassedOver(t *testing.T) {
	m := newMachine(t, nginx, app)
	for _, line := range []string{"prune nginx --all --force --yes", "df nginx", "version now", "--yes prune --all", "df --filter in-use=true"} {
		m.run(t, term.ExitError, strings.Fields(line)...)
		if m.left(t) != 2 {
			t.Fatalf("%s removed something", line)
		}
	}
}

func TestThePlanIsShownBeforeTheAct(t *testing.T) {
	m := newMachine(t, nginx, app)
	m.Start(app, enginetest.Container{Name: "c", Pod: "shop/web"})
	m.run(t, 0, "prune", "--all", "--force", "--dry-run")
	for _, want := range []string{"NAMES THAT GO", nginx, "SPARED", app, "in use by shop/web (c)"} {
		if !strings.Contains(m.out.String(), want) {
			t.Errorf("the plan does not say %q:\n%s", want, &m.out)
		}
	}
	for _, want := range []string{"Nothing was removed (dry run)", "cannot be seen from here"} {
		if !strings.Contains(m.err.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &m.err)
		}
	}
	if m.left(t) != 2 {
		t.Error("a dry run removed something")
	}
}

func TestPartialFailureIsExitCode3(t *testing.T) {
	m := newMachine(t, nginx, app)
	m.FailNext(enginetest.OpRemove, errors.New("the disk is read-only"))
	m.run(t, 3, "rm", "--yes", "nginx:1", app)
	if m.left(t) != 1 || !strings.Contains(m.err.String(), "the disk is read-only") {
		t.Errorf("%d images left\n%s", m.left(t), &m.err)
	}
	m.run(t, 3, "pull", "nothing:1", "nginx:1", app)
	if !strings.Contains(m.err.String(), "NotFound") || m.left(t) != 2 {
		t.Errorf("%d images left\n%s", m.left(t), &m.err)
	}
}

func TestInterrupted(t *testing.T) {
	m := newMachine(t, nginx)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	m.runUntil(ctx, t, term.ExitInterrupted, "rm", "--yes", nginx)
	if told := m.err.String(); !strings.Contains(told, "interrupted; nothing was done") || strings.Contains(told, context.Canceled.Error()) || m.left(t) != 1 {
		t.Errorf("%d images are left, and it said:\n%s", m.left(t), told)
	}
}

func TestPullSaysTheDigest(t *testing.T) {
	m := newMachine(t, nginx)
	m.run(t, 0, "pull", "-q", "--policy", "Always", "nginx:1")
	if got := m.out.String(); !strings.HasPrefix(got, "docker.io/library/nginx@sha256:") || strings.Count(got, "\n") != 1 {
		t.Errorf("it printed %q", got)
	}
}

func TestPinWhereThereIsNone(t *testing.T) {
	var errs bytes.Buffer
	code := Run(t.Context(), Config{
		Streams: term.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &errs},
		Open: func(context.Context, string, string) (engine.Interface, error) {
			return engine.Verify(enginetest.NewCRIO(enginetest.NewRegistry())), nil
		},
	}, []string{"pin", "nginx"})
	if code != 1 || !strings.Contains(errs.String(), "cri-o cannot pin") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

func TestHelp(t *testing.T) {
	m := newMachine(t)
	m.run(t, 0, "--help")
	for _, c := range commands() {
		if strings.Contains(m.out.String(), "  "+c.name+" ") == c.hidden {
			t.Errorf("%s: hidden %v, and the help is\n%s", c.name, c.hidden, &m.out)
		}
	}
	for _, c := range commands() {
		m.run(t, 0, c.name, "--help")
		if !strings.Contains(m.out.String(), "Usage: orlop-node "+c.name) {
			t.Errorf("%s --help:\n%s", c.name, &m.out)
		}
	}
}
