// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/util"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

const installFile = "install.yaml"

// packChart writes the chart of this version, and what it renders to for those without Helm.
func (r *release) packChart(context.Context) error {
	c, err := chart.Load(r.of("charts/orlop"), r.version)
	if err != nil {
		return err
	}
	c.Metadata.Version = r.chartVersion()
	if err := r.annotate(c); err != nil {
		return err
	}
	c.StampModTimes(r.time)
	path, err := util.Save(c, r.out)
	if err != nil {
		return fmt.Errorf("packing the chart: %w", err)
	}
	r.chartFile = filepath.Base(path)
	text, err := chart.InstallYAML(c, nil)
	if err != nil {
		return err
	}
	return os.WriteFile(r.path(installFile), text, 0o644)
}

// listed is an image as Artifact Hub wants it.
type listed struct {
	Name      string   `json:"name"`
	Image     string   `json:"image"`
	Platforms []string `json:"platforms"`
}

// kind is a CustomResourceDefinition as Artifact Hub wants it.
type kind struct {
	Kind        string `json:"kind"`
	Version     string `json:"version"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Description string `json:"description"`
}

// annotate tells Artifact Hub what only a release knows.
func (r *release) annotate(c *v2.Chart) error {
	var images []listed
	for _, img := range r.images {
		entry := listed{Name: img.name, Image: registry + "/" + img.name + ":" + r.version}
		for _, p := range r.nodes() {
			entry.Platforms = append(entry.Platforms, p.String())
		}
		images = append(images, entry)
	}
	kinds, err := kindsOf(c)
	if err != nil {
		return err
	}
	if c.Metadata.Annotations == nil {
		c.Metadata.Annotations = map[string]string{}
	}
	c.Metadata.Annotations["artifacthub.io/prerelease"] = strconv.FormatBool(semver.Prerelease(r.version) != "")
	for name, list := range map[string]any{"images": images, "crds": kinds} {
		text, err := yaml.Marshal(list)
		if err != nil {
			return err
		}
		c.Metadata.Annotations["artifacthub.io/"+name] = string(text)
	}
	return nil
}

func kindsOf(c *v2.Chart) ([]kind, error) {
	var kinds []kind
	for _, file := range c.Files {
		if !strings.HasPrefix(file.Name, "files/crds/orlop.dev_") {
			continue
		}
		var crd struct {
			Metadata struct{ Name string }
			Spec     struct {
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema struct{ Description string } }
				}
			}
		}
		if err := yaml.Unmarshal(file.Data, &crd); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file.Name, err)
		}
		for _, version := range crd.Spec.Versions {
			words, _, _ := strings.Cut(strings.ReplaceAll(version.Schema.OpenAPIV3Schema.Description, "\n", " "), ". ")
			kinds = append(kinds, kind{crd.Spec.Names.Kind, version.Name, crd.Metadata.Name, crd.Spec.Names.Kind, strings.TrimSuffix(words, ".") + "."})
		}
	}
	return kinds, nil
}
