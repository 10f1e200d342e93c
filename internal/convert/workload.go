// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kyaml "sigs.k8s.io/yaml"
)

// aim is what a home-made DaemonSet, Job or CronJob is for.
type aim int

const (
	// aimOther: it is none of Orlop's business.
	aimOther aim = iota
	// aimPull: its containers do nothing, so that it is there for their images.
	aimPull
	// aimRemove: all that its containers do is to remove images.
	aimRemove
	// aimScript: it removes images through a runtime's socket, by a script that is more than plain commands.
	aimScript
)

var workloadConverter = converter{
	system: "home-made DaemonSets and Jobs",
	reads: []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "DaemonSet"}, {Group: "batch", Version: "v1", Kind: "Job"}, {Group: "batch", Version: "v1", Kind: "CronJob"},
	},
	claims: func(d *Document) bool { return aimOf(d) != aimOther },
	convert: func(docs []*Document, opts Options, report *Report) {
		for _, doc := range docs {
			if ownedByAnother(doc, report) {
				continue
			}
			row := report.Row(doc)
			switch aimOf(doc) {
			case aimPull:
				convertPrePull(doc, opts, report, row)
			case aimRemove, aimScript:
				convertCleaner(doc, opts, report, row)
			case aimOther:
			}
		}
	},
}

// podPath is where the pod stands in each kind.
var podPath = map[string][]string{
	"apps DaemonSet": {"spec", "template"},
	"batch Job":      {"spec", "template"},
	"batch CronJob":  {"spec", "jobTemplate", "spec", "template"},
}

// aimOf looks at a document without marking anything as read.
func aimOf(d *Document) aim {
	path := podPath[d.Group()+" "+d.Kind()]
	if path == nil {
		return aimOther
	}
	template, ok := podIn(d.look(path...).node)
	if !ok {
		return aimOther
	}
	pod := template.Spec
	doings := map[bool]int{} // plain or not
	removes, waits := 0, 0
	for _, c := range pod.InitContainers {
		s := scriptOf(c)
		doings[s.plain]++
		removes += len(s.deeds)
	}
	for _, c := range pod.Containers {
		s := scriptOf(c)
		doings[s.plain]++
		removes += len(s.deeds)
		if s.waits {
			waits++
		}
	}
	switch {
	case doings[false] > 0 && touchesRuntime(pod) && cleansImages(pod):
		return aimScript
	case doings[false] > 0 || len(pod.Containers) == 0:
		return aimOther
	case removes > 0:
		return aimRemove
	case powerful(pod):
		return aimOther // One that waits with the node's rights is there for people to look in.
	case d.Kind() == "DaemonSet" && waits == len(pod.Containers) && len(pod.InitContainers)+waits > 1:
		return aimPull
	case d.Kind() != "DaemonSet" && apart(pod):
		return aimPull
	}
	return aimOther
}

// podIn reads a pod leniently, for a look.
func podIn(node *yaml.Node) (template corev1.PodTemplateSpec, ok bool) {
	if node == nil {
		return template, false
	}
	text, err := yaml.Marshal(node)
	if err != nil {
		return template, false
	}
	return template, kyaml.Unmarshal(text, &template) == nil
}

// runtimeSockets are where runtimes listen, in whatever folder.
var runtimeSockets = []string{"docker.sock", "containerd.sock", "crio.sock", "cri-dockerd.sock"}

// touchesRuntime reports whether the pod reaches a runtime: by its socket, or through the node's root.
func touchesRuntime(pod corev1.PodSpec) bool {
	return pod.HostPID || slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
		if v.HostPath == nil {
			return false
		}
		at := v.HostPath.Path
		return at == "/" || at == "/run" || at == "/var/run" || strings.HasPrefix(at, "/run/") || strings.HasPrefix(at, "/var/run/") ||
			slices.ContainsFunc(runtimeSockets, func(name string) bool { return strings.HasSuffix(at, name) })
	})
}

// powerful reports whether a pod has anything of its node's.
func powerful(pod corev1.PodSpec) bool {
	privileged := func(c corev1.Container) bool {
		return c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	}
	return pod.HostPID || pod.HostIPC || slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil }) ||
		slices.ContainsFunc(pod.InitContainers, privileged) || slices.ContainsFunc(pod.Containers, privileged)
}

// apart reports whether no two of the pods may be on one node, which is how a Job is bent to run on all of them.
func apart(pod corev1.PodSpec) bool {
	if pod.Affinity != nil && pod.Affinity.PodAntiAffinity != nil {
		for _, term := range pod.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if term.TopologyKey == corev1.LabelHostname {
				return true
			}
		}
	}
	return slices.ContainsFunc(pod.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
		return c.TopologyKey == corev1.LabelHostname && c.WhenUnsatisfiable == corev1.DoNotSchedule
	})
}

// bound reports whether the pod is for one node by name.
func bound(pod corev1.PodSpec) bool {
	return pod.NodeName != "" || pod.NodeSelector[corev1.LabelHostname] != ""
}

// settings are the names of the fields that are set in a pod or a container, without those that are dealt with.
func settings(object any, known ...string) (names []string) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil
	}
	for name, value := range fields {
		if !slices.Contains(known, name) && string(value) != "{}" && string(value) != "null" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// leftOver tells which settings of pods that are no more have no meaning; known are those of the pod that were used.
func leftOver(row *Row, template corev1.PodTemplateSpec, known ...string) {
	pod := *template.Spec.DeepCopy()
	withoutDefaults(&pod)
	names := settings(pod, append(known, "containers", "initContainers")...)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		names = append(names, settings(c, "name", "image", "imagePullPolicy", "command", "args")...)
	}
	if len(template.Labels)+len(template.Annotations) > 0 {
		names = append(names, "labels and annotations of the pods")
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 0 {
		row.Note("dropped, since no pods are started for it: %s", strings.Join(names, ", "))
	}
}

// withoutDefaults takes out what the API server writes into every pod, which nobody asked for.
func withoutDefaults(pod *corev1.PodSpec) {
	if pod.RestartPolicy == corev1.RestartPolicyAlways {
		pod.RestartPolicy = ""
	}
	if pod.DNSPolicy == corev1.DNSClusterFirst {
		pod.DNSPolicy = ""
	}
	if pod.SchedulerName == corev1.DefaultSchedulerName {
		pod.SchedulerName = ""
	}
	if grace := pod.TerminationGracePeriodSeconds; grace != nil && *grace == corev1.DefaultTerminationGracePeriodSeconds {
		pod.TerminationGracePeriodSeconds = nil
	}
	if pod.DeprecatedServiceAccount == pod.ServiceAccountName {
		pod.DeprecatedServiceAccount = ""
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			c := &containers[i]
			if c.TerminationMessagePath == corev1.TerminationMessagePathDefault {
				c.TerminationMessagePath = ""
			}
			if c.TerminationMessagePolicy == corev1.TerminationMessageReadFile {
				c.TerminationMessagePolicy = ""
			}
		}
	}
}

// leaveOut marks fields of a workload that have no counterpart, and tells them.
func leaveOut(f *Fields, row *Row, keys ...string) {
	var names []string
	for _, key := range keys {
		if f.Has(key) {
			f.Done(key)
			names = append(names, key)
		}
	}
	if len(names) > 0 {
		row.Note("no counterpart, since Orlop follows the set of nodes by itself: %s", strings.Join(names, ", "))
	}
}
