// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// bare is a fixture for an in-memory runtime, as it is.
func bare(rt engine.Interface, core *Runtime) Fixture {
	login := engine.Credentials{Username: "orlop", Password: "pass"}
	core.Registry.Protect("private.test", login)
	k := core.kind
	f := Fixture{
		Runtime: rt, Repository: "registry.test", Patience: 6 * time.Second, Private: "private.test", Credentials: login,
		Push: func(_ testing.TB, ref oci.Ref, content Content) digest.Digest {
			return core.Registry.Push(ref, content)
		},
		Start: func(_ testing.TB, image oci.Ref, state State) func() {
			core.Start(image.String(), Container{Name: "one", State: state})
			return func() { core.Forget("one") }
		},
		Mount: func(_ testing.TB, by, volume oci.Ref) func() {
			core.Start(by.String(), Container{Name: "one"})
			core.Start(volume.String(), Container{Name: "two", Kind: engine.UseVolume})
			return func() { core.Forget("one"); core.Forget("two") }
		},
		Stall: func(_ testing.TB, repository string) { core.Registry.Stall(repository, true) },
		Can: Abilities{OneTag: k.oneTag, MoveTag: k.movesTags, RefuseUse: k.refusesUse,
			ForceExited: k.forceLiftsExited, Progress: k.progress, Layers: k.layers},
	}
	f.HasContent = func(_ testing.TB, layer string) bool { return core.HasContent(layer) }
	return f
}

var runtimes = map[string]func(*Registry) (engine.Interface, *Runtime){
	"containerd":        func(r *Registry) (engine.Interface, *Runtime) { c := NewContainerd(r); return c, c.Runtime },
	"cri-o":             func(r *Registry) (engine.Interface, *Runtime) { c := NewCRIO(r); return c, c },
	"docker":            func(r *Registry) (engine.Interface, *Runtime) { c := NewDocker(r); return c, c },
	"docker-containerd": func(r *Registry) (engine.Interface, *Runtime) { c := NewDockerContainerd(r); return c, c },
	"cri-dockerd":       func(r *Registry) (engine.Interface, *Runtime) { c := NewCRIDockerd(r); return c, c },
}

func TestConformance(t *testing.T) {
	for name, create := range runtimes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Run(t, func(*testing.T) Fixture { return bare(create(NewRegistry())) })
		})
		t.Run(name+" verified", func(t *testing.T) {
			t.Parallel()
			Run(t, func(*testing.T) Fixture {
				rt, core := create(NewRegistry())
				return bare(engine.Verify(rt), core)
			})
		})
		t.Run(name+" whose list lags", func(t *testing.T) {
			t.Parallel()
			Run(t, func(*testing.T) Fixture {
				rt, core := create(NewRegistry())
				core.Traps.ListLags = 2
				return bare(engine.Verify(rt), core)
			})
		})
	}
}

// trapped says for each trap which runtime falls into it, and which promise must notice.
var trapped = map[string]struct {
	runtime string
	set     func(*Traps)
	notices string
}{
	"ListFails":            {"cri-o", func(t *Traps) { t.ListFails = true }, "list gives an image with all its names"},
	"ListShort":            {"containerd", func(t *Traps) { t.ListShort = true }, "list gives an image with all its names"},
	"UsesRunningOnly":      {"docker", func(t *Traps) { t.UsesRunningOnly = true }, "a created container uses its image"},
	"PullNoEffect":         {"docker", func(t *Traps) { t.PullNoEffect = true }, "pull returns the image as listed"},
	"PullDropsTag":         {"containerd", func(t *Traps) { t.PullDropsTag = true }, "pull by tag and digest names that digest"},
	"PullIgnoresDigest":    {"docker", func(t *Traps) { t.PullIgnoresDigest = true }, "pull by tag and digest sets a moved tag"},
	"PullForgetsOld":       {"containerd", func(t *Traps) { t.PullForgetsOld = true }, "pull of a moved tag leaves the old image untagged"},
	"RemoveNoEffect":       {"cri-o", func(t *Traps) { t.RemoveNoEffect = true }, "remove of an image removes all its names"},
	"RemoveTakesAll":       {"containerd", func(t *Traps) { t.RemoveTakesAll = true }, "remove of one of two tags leaves the other"},
	"RemoveLeavesUntagged": {"docker-containerd", func(t *Traps) { t.RemoveLeavesUntagged = true }, "force passes over exited containers alone"},
	"RemoveHalfWay":        {"cri-dockerd", func(t *Traps) { t.RemoveHalfWay = true }, "remove of an image removes all its names"},
	"RemoveGoneFails":      {"docker", func(t *Traps) { t.RemoveGoneFails = true }, "remove of what is gone succeeds"},
	"RemoveIgnoresUse":     {"docker", func(t *Traps) { t.RemoveIgnoresUse = true }, "a running container uses its image"},
	"PinDropped":           {"containerd", func(t *Traps) { t.PinDropped = true }, "pin survives a second pull"},
	"RestoreLosesPin":      {"containerd", func(t *Traps) { t.RestoreLosesPin = true }, "batch gives back what it removed"},
	"CloseKeepsContent":    {"containerd", func(t *Traps) { t.CloseKeepsContent = true }, "batch frees the content when it is closed"},
}

// trapVariable makes TestTrapped hold a trapped runtime to the promises, in a process that is expected to fail.
const trapVariable = "ENGINETEST_TRAP"

// TestTrapped proves the suite: a runtime with a trap does not pass.
func TestTrapped(t *testing.T) {
	if name := os.Getenv(trapVariable); name != "" {
		trap := trapped[name]
		rt, core := runtimes[trap.runtime](NewRegistry())
		trap.set(&core.Traps)
		Run(t, func(*testing.T) Fixture { return bare(rt, core) })
		return
	}
	for name, trap := range trapped {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pattern := "^TestTrapped$/^" + strings.ReplaceAll(trap.notices, " ", "_") + "$"
			run := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+pattern, "-test.timeout=60s")
			run.Env = append(os.Environ(), trapVariable+"="+name)
			out, err := run.CombinedOutput()
			if err == nil {
				t.Errorf("with the trap, the suite passes:\n%s", out)
			}
			if !strings.Contains(string(out), "--- FAIL: TestTrapped/") {
				t.Errorf("the promise did not fail by itself:\n%s", out)
			}
		})
	}
}

func TestFailNext(t *testing.T) {
	rt := NewDocker(NewRegistry())
	boom := engine.Because(engine.RuntimeUnavailable, errors.New("the socket is closed"))
	rt.FailNext(OpList, boom, nil, boom)
	for i, want := range []engine.Reason{engine.RuntimeUnavailable, "", engine.RuntimeUnavailable, ""} {
		if _, err := rt.List(t.Context()); engine.ReasonOf(err) != want {
			t.Errorf("call %d: error = %v, want reason %q", i+1, err, want)
		}
	}
	if rt.Calls(OpList) != 4 {
		t.Errorf("calls = %d, want 4", rt.Calls(OpList))
	}
}
