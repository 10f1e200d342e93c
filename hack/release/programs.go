// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"orlop.dev/orlop/hack/release/pack"
)

// completer is what kubectl runs to complete the arguments of a plugin that is on the PATH.
const completer = "#!/bin/sh\nexec kubectl-orlop __complete \"$@\"\n"

// completions are the plugin's, by shell; each has the name by which that shell finds it.
var completions = map[string]string{
	"bash": "kubectl-orlop.bash", "zsh": "_kubectl-orlop", "fish": "kubectl-orlop.fish", "powershell": "kubectl-orlop.ps1",
}

// complete lets the plugin write its completions. They are the same on every platform.
func (r *release) complete(ctx context.Context) error {
	folder := filepath.Join(r.work, "completions")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	for shell, name := range completions {
		text, err := exec.CommandContext(ctx, r.built(plugin, here), "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("asking the plugin for that of %s: %w", shell, err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// archiveOf is the name of a program's archive.
func (r *release) archiveOf(program string, p platform) string {
	kind := ".tar.gz"
	if p.os == "windows" {
		kind = ".zip"
	}
	return program + "_" + r.version + "_" + p.file() + kind
}

// archivePrograms packs each program that people get by itself.
func (r *release) archivePrograms(context.Context) error {
	for _, p := range r.platforms {
		for _, name := range []string{plugin, node, controller} {
			if name != plugin && !p.node() {
				continue
			}
			files := append(r.texts(), pack.File{Name: name + p.exe(), From: r.built(name, p), Program: true})
			if name == plugin {
				files = append(files, r.completionFiles(p)...)
			}
			if err := pack.Write(r.path(r.archiveOf(name, p)), r.time, files); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *release) completionFiles(p platform) []pack.File {
	var files []pack.File
	for _, name := range completions {
		files = append(files, pack.File{Name: "completions/" + name, From: filepath.Join(r.work, "completions", name)})
	}
	if p.os != "windows" {
		files = append(files, pack.File{Name: "kubectl_complete-orlop", Text: completer, Program: true})
	}
	return files
}
