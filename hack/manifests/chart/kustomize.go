// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"
)

// Component is a usual change to the base, as values of the chart.
type Component struct {
	Name, About string
	Values      map[string]any
}

// Components are those that config/components has. Several go together where they change different things.
var Components = []Component{
	{"openshift", "For OpenShift: what the agents need of its security context constraints, and a controller whose uid OpenShift chooses.",
		map[string]any{"openshift": true}},
	{"pod-monitor", "A PodMonitor of the Prometheus operator for agents and controller.",
		map[string]any{"podMonitor": map[string]any{"enabled": true}}},
	{"service-monitor", "A ServiceMonitor of the Prometheus operator for agents and controller; with pod-monitor, each would be asked twice.",
		map[string]any{"serviceMonitor": map[string]any{"enabled": true}}},
	{"k3s", "For clusters of k3s or RKE2 alone: agents mount the folder of their containerd's socket instead of all of /run.",
		map[string]any{"agent": map[string]any{"socketFolder": "/run/k3s/containerd"}}},
	{"k0s", "For clusters of k0s alone: agents mount the folder of its containerd's socket instead of all of /run.",
		map[string]any{"agent": map[string]any{"socketFolder": "/run/k0s"}}},
	{"microk8s", "For clusters of MicroK8s, whose containerd's socket is not below /run.",
		map[string]any{"agent": map[string]any{"socketFolder": "/var/snap/microk8s/common/run"}}},
	{"two-controllers", "A second controller, ready to take over.",
		map[string]any{"controller": map[string]any{"replicas": 2}}},
	{"no-templates", "NodeJobs run no pods (template), and the controller has no right to make any.",
		map[string]any{"nodeJobs": map[string]any{"template": false}}},
}

// kustomization is as much of Kustomize's own file as is written here.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources,omitempty"`
	// Labels and CommonAnnotations are given to each resource.
	Labels            []labels       `json:"labels,omitempty"`
	CommonAnnotations map[string]any `json:"commonAnnotations,omitempty"`
	Patches           []patch        `json:"patches,omitempty"`
}

type labels struct {
	Pairs map[string]any `json:"pairs"`
}

type patch struct {
	Target target `json:"target"`
	Patch  string `json:"patch"`
}

type target struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// generated stands above each file.
const generated = "# Made from charts/orlop by make generate.\n"

// Kustomize gives the chart as files for Kustomize, by path: crd, operator, default, which is both, and the components.
func Kustomize(c *v2.Chart) (map[string][]byte, error) {
	base, err := installed(c, nil)
	if err != nil {
		return nil, err
	}
	k := writer{}
	files := map[string][]Object{}
	kinds := kustomization{APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: "Kustomization", Resources: []string{schemas}}
	for _, o := range base {
		if o["kind"] != "CustomResourceDefinition" {
			file := place(o)
			files[file] = append(files[file], o)
			continue
		}
		kinds.Labels, kinds.CommonAnnotations = added(o)
	}
	if err := k.resources("operator", "", "Kustomization", files, nil); err != nil {
		return nil, err
	}
	if err := k.add("crd/kustomization.yaml", "The kinds, as the chart has them: as folders, Kustomize takes what is outside its own.", kinds); err != nil {
		return nil, err
	}
	both := kustomization{APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: "Kustomization", Resources: []string{"../crd", "../operator"}}
	if err := k.add("default/kustomization.yaml", "", both); err != nil {
		return nil, err
	}
	for _, component := range Components {
		changed, err := installed(c, component.Values)
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", component.Name, err)
		}
		more, patches, err := compare(base, changed)
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", component.Name, err)
		}
		files := map[string][]Object{}
		if len(more) > 0 {
			files["more.yaml"] = more
		}
		if err := k.resources("components/"+component.Name, component.About, "Component", files, patches); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// schemas is the folder of the kinds' definitions, which the chart and Kustomize share.
const schemas = "../../charts/orlop/files/crds"

// added is what the chart gives to each definition beside what stands in schemas.
func added(definition Object) ([]labels, map[string]any) {
	meta := definition["metadata"].(Object)
	annotations := maps.Clone(meta["annotations"].(Object))
	delete(annotations, "controller-gen.kubebuilder.io/version")
	return []labels{{meta["labels"].(Object)}}, annotations
}

// place is the file of an object of the base.
func place(o Object) string {
	switch o["kind"] {
	case "Namespace":
		return "namespace.yaml"
	case "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding":
		return "rights.yaml"
	case "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
		return "policies.yaml"
	case "DaemonSet":
		return "agent.yaml"
	case "Deployment":
		return "controller.yaml"
	}
	return "more.yaml"
}

// writer collects files.
type writer map[string][]byte

func (w writer) resources(folder, about, kind string, files map[string][]Object, patches []patch) error {
	k := kustomization{APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: kind, Patches: patches}
	if kind == "Component" {
		k.APIVersion = "kustomize.config.k8s.io/v1alpha1"
	}
	for name, objects := range files {
		text, err := documents(objects)
		if err != nil {
			return err
		}
		w[folder+"/"+name] = append([]byte(generated), text...)
		k.Resources = append(k.Resources, name)
	}
	slices.Sort(k.Resources)
	return w.add(folder+"/kustomization.yaml", about, k)
}

func (w writer) add(path, about string, k kustomization) error {
	text, err := yaml.Marshal(k)
	if err != nil {
		return err
	}
	head := generated
	if about != "" {
		head += "# " + about + "\n"
	}
	w[path] = append([]byte(head), text...)
	return nil
}

func documents(objects []Object) ([]byte, error) {
	var out bytes.Buffer
	for _, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.Bytes(), nil
}

// compare gives what the second has more than the first, and patches that make of the first all else that the second is.
func compare(from, to []Object) (more []Object, patches []patch, err error) {
	left := map[target]Object{}
	for _, o := range from {
		left[targetOf(o)] = o
	}
	for _, o := range to {
		at := targetOf(o)
		before, there := left[at]
		delete(left, at)
		if !there {
			more = append(more, o)
			continue
		}
		changes := difference("", before, o)
		if len(changes) == 0 {
			continue
		}
		text, err := yaml.Marshal(changes)
		if err != nil {
			return nil, nil, err
		}
		patches = append(patches, patch{at, string(text)})
	}
	for at, o := range left {
		text, err := yaml.Marshal(Object{"$patch": "delete", "apiVersion": o["apiVersion"], "kind": at.Kind, "metadata": Object{"name": at.Name}})
		if err != nil {
			return nil, nil, err
		}
		patches = append(patches, patch{at, string(text)})
	}
	slices.SortStableFunc(patches, func(a, b patch) int {
		return cmp.Or(cmp.Compare(a.Target.Kind, b.Target.Kind), cmp.Compare(a.Target.Name, b.Target.Name))
	})
	return more, patches, nil
}
