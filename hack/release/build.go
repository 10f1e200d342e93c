// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// program is something to be built.
type program struct {
	name, pkg string
	// module is the folder of its module.
	module string
	// everywhere: also for people's machines, not only for nodes.
	everywhere bool
	// version is the variable that has the release's version, dependency the module whose version it has instead.
	version, dependency string
}

const (
	plugin     = "kubectl-orlop"
	node       = "orlop-node"
	controller = "orlop-controller"
	push       = "orlop-push"
	crictl     = "crictl"
)

var programs = []program{
	{name: plugin, pkg: "./cmd/kubectl-orlop", everywhere: true, version: "main.version"},
	{name: node, pkg: "./cmd/orlop-node", version: "main.version"},
	{name: controller, pkg: "./cmd/orlop-controller", version: "main.version"},
	{name: push, pkg: "./hack/push", everywhere: true},
	{name: crictl, pkg: "sigs.k8s.io/cri-tools/cmd/crictl", module: "test/lab/tools/crictl",
		version: "sigs.k8s.io/cri-tools/pkg/version.Version", dependency: "sigs.k8s.io/cri-tools"},
}

func (r *release) build(ctx context.Context) error {
	for _, p := range r.platforms {
		for _, prog := range programs {
			if !prog.everywhere && !p.node() {
				continue
			}
			if err := r.buildOne(ctx, prog, p); err != nil {
				return err
			}
		}
		if err := r.forget(p); err != nil {
			return err
		}
		r.say("release %s: built for %s", r.version, p)
	}
	if slices.Contains(r.platforms, here) {
		return nil
	}
	return r.buildOne(ctx, programs[0], here) // The plugin writes its own completions.
}

// cache is where the go command keeps what it has compiled for a platform; empty: where it always does.
func (r *release) cache(p platform) string {
	if !r.lean || p == here {
		return ""
	}
	return filepath.Join(r.work, "cache", p.file())
}

// forget removes what was compiled for a platform, where that is wanted.
func (r *release) forget(p platform) error {
	if r.cache(p) == "" {
		return nil
	}
	return os.RemoveAll(r.cache(p))
}

func (r *release) buildOne(ctx context.Context, prog program, p platform) error {
	flags := "-s -w"
	if prog.version != "" {
		version := r.version
		if prog.dependency != "" {
			out, err := r.goTool(ctx, prog, p, "list", "-m", "-f", "{{.Version}}", prog.dependency)
			if err != nil {
				return err
			}
			version = strings.TrimSpace(out)
		}
		flags += " -X " + prog.version + "=" + version
	}
	_, err := r.goTool(ctx, prog, p, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", r.built(prog.name, p), prog.pkg)
	return err
}

// goTool runs the go command with nothing of the caller's settings that would change what comes out.
func (r *release) goTool(ctx context.Context, prog program, p platform, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(r.root, filepath.FromSlash(prog.module))
	cmd.Env = append(os.Environ(), "GOOS="+p.os, "GOARCH="+p.arch, "GOARM="+armVersion, "GOAMD64=v1", "GOARM64=v8.0", "GOPPC64=power8",
		"CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off")
	if cache := r.cache(p); cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+cache)
	}
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running go %s for %s: %w\n%s", args[0]+" "+prog.pkg, p, err, problems.String())
	}
	return string(out), nil
}
