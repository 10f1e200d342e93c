// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart renders charts/orlop without a cluster.
package chart

import (
	"fmt"
	"maps"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1/util"
	"sigs.k8s.io/yaml"
)

// The release that install.yaml stands for: what a later `helm install` must be called to take it over.
const (
	Release   = "orlop"
	Namespace = "orlop-system"
)

// Load reads the chart and gives it a version, if one is named.
func Load(folder, version string) (*v2.Chart, error) {
	c, err := loader.LoadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("loading the chart: %w", err)
	}
	if version != "" {
		c.Metadata.AppVersion = version
	}
	return c, nil
}

// Object is a rendered object.
type Object = map[string]any

// Rendered is what a chart gives.
type Rendered struct {
	Objects []Object
	Hooks   []Object
	Notes   string
}

// Render gives the chart's objects in the order in which they are to be made.
func Render(c *v2.Chart, values map[string]any, capabilities *common.Capabilities) (Rendered, error) {
	options := common.ReleaseOptions{Name: Release, Namespace: Namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c, values, options, capabilities)
	if err != nil {
		return Rendered{}, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return Rendered{}, fmt.Errorf("rendering: %w", err)
	}
	const notes = "orlop/templates/NOTES.txt"
	out := Rendered{Notes: files[notes]}
	delete(files, notes)
	hooks, manifests, err := release.SortManifests(files, nil, release.InstallOrder)
	if err != nil {
		return Rendered{}, fmt.Errorf("sorting what was rendered: %w", err)
	}
	for _, m := range manifests {
		if out.Objects, err = appendParsed(out.Objects, m.Name, m.Content); err != nil {
			return Rendered{}, err
		}
	}
	for _, h := range hooks {
		if out.Hooks, err = appendParsed(out.Hooks, h.Path, h.Manifest); err != nil {
			return Rendered{}, err
		}
	}
	return out, nil
}

func appendParsed(to []Object, path, text string) ([]Object, error) {
	var object Object
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if object == nil {
		return to, nil
	}
	return append(to, object), nil
}

// InstallYAML is the chart for those without Helm. values are the user's own; nil: the chart's.
func InstallYAML(c *v2.Chart, values map[string]any) ([]byte, error) {
	objects, err := installed(c, values)
	if err != nil {
		return nil, err
	}
	text, err := documents(objects)
	head := fmt.Sprintf("# Orlop %s. kubectl apply --server-side --force-conflicts -f install.yaml\n", c.Metadata.AppVersion)
	return append([]byte(head), text...), err
}

// installed are the objects for those without Helm: with their namespace, without hooks, and marked so that `helm install orlop`
// takes over what stands there.
func installed(c *v2.Chart, values map[string]any) ([]Object, error) {
	values = maps.Clone(values)
	if values == nil {
		values = map[string]any{}
	}
	values["namespace"] = map[string]any{"create": true}
	rendered, err := Render(c, values, nil)
	if err != nil {
		return nil, err
	}
	for _, object := range rendered.Objects {
		adoptable(object)
	}
	return rendered.Objects, nil
}

func adoptable(object Object) {
	meta := object["metadata"].(Object)
	annotations, ok := meta["annotations"].(Object)
	if !ok {
		annotations = Object{}
		meta["annotations"] = annotations
	}
	annotations["meta.helm.sh/release-name"] = Release
	annotations["meta.helm.sh/release-namespace"] = Namespace
}
