// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/hack/release/pack"
)

const (
	home     = "https://github.com/orlop-dev/orlop"
	registry = "ghcr.io/orlop-dev"
)

type options struct {
	root, version, out string
	platforms          []platform
	lean               bool
	say                func(format string, args ...any)
}

// release is one that is being made.
type release struct {
	source
	version   string
	platforms []platform
	// lean: what was compiled for another platform than this machine's is not kept, since all of it takes gigabytes.
	lean bool
	// out is where files of the release are written, work is for what lies in them.
	out, work string
	images    []image
	chartFile string
	say       func(format string, args ...any)
}

// run makes a release. What is there of it at the end is complete: checksums.txt is written last.
func run(ctx context.Context, o options) error {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	from, err := sourceAt(ctx, root)
	if err != nil {
		return err
	}
	version, err := versionOf(o.version, from)
	if err != nil {
		return err
	}
	if err := empty(o.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "orlop-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r := &release{source: from, version: version, platforms: o.platforms, lean: o.lean, out: o.out, work: work, say: o.say}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"programs", r.build}, {"completions", r.complete}, {"archives of programs", r.archivePrograms}, {"images", r.makeImages},
		{"chart and install.yaml", r.packChart}, {"bills of materials", r.bill}, {"krew's manifest", r.writeKrew},
		{"air-gap packages", r.packAirGap}, {"checksums", r.sum},
	} {
		begin := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("making the %s: %w", step.what, err)
		}
		r.say("release %s: %s (%s)", version, step.what, time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

// empty makes the folder for a release, or removes an earlier one from it. A folder that holds anything else is left alone.
func empty(out string) error {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(out, 0o755)
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() || !ours(entry.Name()) {
			return fmt.Errorf("%s holds %s, which is of no release: name another folder", out, entry.Name())
		}
	}
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(out, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func ours(name string) bool {
	return name == sumsFile || name == installFile || strings.HasPrefix(name, "orlop") || strings.HasPrefix(name, "kubectl-orlop")
}

// built is where a program of a platform lies once it is built.
func (r *release) built(name string, p platform) string {
	return filepath.Join(r.work, "bin", p.file(), name+p.exe())
}

// path is that of a file of the release.
func (r *release) path(name string) string { return filepath.Join(r.out, name) }

// of is a file of the repository.
func (r *release) of(name string) string { return filepath.Join(r.root, filepath.FromSlash(name)) }

// nodes are the platforms of the release that nodes have.
func (r *release) nodes() []platform {
	return slices.DeleteFunc(slices.Clone(r.platforms), func(p platform) bool { return !p.node() })
}

// chartVersion is the version as charts have it.
func (r *release) chartVersion() string { return strings.TrimPrefix(r.version, "v") }

// texts go with everything that is handed out.
func (r *release) texts() []pack.File {
	return []pack.File{{Name: "LICENSE", From: r.of("LICENSE")}, {Name: "README.md", From: r.of("README.md")}}
}
