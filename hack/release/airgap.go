// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"orlop.dev/orlop/hack/release/pack"
)

//go:embed airgap.md
var airGapText string

// allPlatforms names the package that has everything.
const allPlatforms = "all"

// packAirGap writes, for each platform of nodes and where there are several for all of them together, one archive that is enough
// where there is no network.
func (r *release) packAirGap(ctx context.Context) error {
	for _, p := range r.nodes() {
		if err := r.airGap(ctx, p.file(), []platform{p}, []platform{p}); err != nil {
			return err
		}
	}
	if len(r.nodes()) == 1 {
		return nil
	}
	return r.airGap(ctx, allPlatforms, r.platforms, r.nodes())
}

func (r *release) airGap(_ context.Context, name string, platforms, nodes []platform) error {
	folder := filepath.Join(r.work, "airgap", name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	files := []pack.File{
		{Name: "LICENSE", From: r.of("LICENSE")},
		{Name: installFile, From: r.path(installFile)},
		{Name: "chart/" + r.chartFile, From: r.path(r.chartFile)},
	}
	for _, p := range platforms {
		files = append(files, r.airGapPrograms(p, len(platforms) > 1)...)
	}
	for _, img := range r.images {
		path := r.path(r.imageFile(img))
		if len(nodes) < len(r.nodes()) || len(nodes) == 1 {
			var err error
			if path, err = r.imageOf(img, nodes, folder); err != nil {
				return err
			}
		}
		files = append(files, pack.File{Name: "images/" + img.name + ".tar", From: path})
	}
	readme, err := r.airGapReadme(platforms, nodes)
	if err != nil {
		return err
	}
	files = append(files, pack.File{Name: "README.md", Text: readme})
	sums, err := sumsOf(files)
	if err != nil {
		return err
	}
	files = append(files, pack.File{Name: "SHA256SUMS", Text: sums})
	top := "orlop-" + r.version + "-airgap/"
	for i := range files {
		files[i].Name = top + files[i].Name
	}
	defer os.RemoveAll(folder)
	return pack.Write(r.path("orlop-"+r.version+"-airgap_"+name+".tar.gz"), r.time, files)
}

// airGapPrograms are what a person's machine and a node need; each platform has a folder where there are several.
func (r *release) airGapPrograms(p platform, several bool) []pack.File {
	folder := "bin/"
	if several {
		folder += p.file() + "/"
	}
	names := []string{plugin, push}
	if p.node() {
		names = append(names, node)
	}
	var files []pack.File
	for _, name := range names {
		files = append(files, pack.File{Name: folder + name + p.exe(), From: r.built(name, p), Program: true})
	}
	if p.os != "windows" {
		files = append(files, pack.File{Name: folder + "kubectl_complete-orlop", Text: completer, Program: true})
	}
	return files
}

func (r *release) airGapReadme(platforms, nodes []platform) (string, error) {
	t, err := template.New("airgap.md").Parse(airGapText)
	if err != nil {
		return "", err
	}
	bin := "bin"
	if len(platforms) > 1 {
		bin += "/" + nodes[0].file()
	}
	var names []string
	for _, p := range nodes {
		names = append(names, p.String())
	}
	var text strings.Builder
	err = t.Execute(&text, map[string]any{
		"Version": r.version, "Chart": r.chartFile, "Registry": registry, "Bin": bin, "Nodes": strings.Join(names, ", "), "Several": len(platforms) > 1,
	})
	return text.String(), err
}

// sumsOf are the checksums of what is to be packed.
func sumsOf(files []pack.File) (string, error) {
	var text strings.Builder
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b pack.File) int { return cmp.Compare(a.Name, b.Name) }) {
		sum, err := sumOfFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, f.Name)
	}
	return text.String(), nil
}
