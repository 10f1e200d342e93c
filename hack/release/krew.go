// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

const (
	krewFile = "orlop.yaml"
	// noKrew is a platform that krew's own check of manifests does not know.
	noKrew = "s390x"
)

// krewPlugin is a manifest of krew's index.
type krewPlugin struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       krewSpec          `json:"spec"`
}

type krewSpec struct {
	Version          string         `json:"version"`
	Homepage         string         `json:"homepage"`
	ShortDescription string         `json:"shortDescription"`
	Description      string         `json:"description"`
	Caveats          string         `json:"caveats"`
	Platforms        []krewPlatform `json:"platforms"`
}

type krewPlatform struct {
	Selector map[string]map[string]string `json:"selector"`
	URI      string                       `json:"uri"`
	SHA256   string                       `json:"sha256"`
	Bin      string                       `json:"bin"`
	Files    []map[string]string          `json:"files"`
}

// writeKrew writes the manifest for krew's index, which names the plugin's archives with their checksums.
func (r *release) writeKrew(context.Context) error {
	manifest := krewPlugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: map[string]string{"name": "orlop"},
		Spec: krewSpec{
			Version: r.version, Homepage: home, ShortDescription: "See, fetch and remove the images on every node",
			Description: "Lists, pulls, removes and prunes the container images on every node of a cluster, with nothing\ninstalled in it. " +
				"With Orlop's operator installed it also keeps declared images on chosen nodes,\nand works by schedules.\n",
			Caveats: "The nodes fetch " + registry + "/" + node + ":" + r.version + ",\nor what the variable ORLOP_IMAGE names.\n" +
				"For completion by kubectl: kubectl orlop completion install\n",
		},
	}
	for _, p := range r.platforms {
		if p.arch == noKrew {
			continue
		}
		archive := r.archiveOf(plugin, p)
		sum, err := sumOf(r.path(archive))
		if err != nil {
			return err
		}
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, krewPlatform{
			Selector: map[string]map[string]string{"matchLabels": {"os": p.os, "arch": p.arch}},
			URI:      fmt.Sprintf("%s/releases/download/%s/%s", home, r.version, archive),
			SHA256:   sum, Bin: plugin + p.exe(),
			Files: []map[string]string{{"from": plugin + p.exe(), "to": "."}, {"from": "LICENSE", "to": "."}},
		})
	}
	text, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return os.WriteFile(r.path(krewFile), text, 0o644)
}
