// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

// convertPrePull makes an ImageCache of a DaemonSet, and a NodeJob or a NodeCronJob of a Job or CronJob that only pulls.
func convertPrePull(doc *Document, opts Options, report *Report, row *Row) {
	work := readWork(doc, row)
	if work == nil {
		return
	}
	images := work.images(row)
	if doc.Kind() != "DaemonSet" {
		action := &v1alpha1.PullAction{ImagePullSecrets: work.secrets(), ServiceAccountName: work.template.Spec.ServiceAccountName}
		for i, image := range images {
			action.Images = append(action.Images, image.Image)
			if i == 0 || image.ImagePullPolicy == corev1.PullAlways {
				action.ImagePullPolicy = image.ImagePullPolicy
			}
		}
		if slices.ContainsFunc(images, func(image v1alpha1.CachedImage) bool { return image.ImagePullPolicy != action.ImagePullPolicy }) {
			row.Note("imagePullPolicy is one for all images of a NodeJob: %s", cmp.Or(string(action.ImagePullPolicy), "that of a Pod, for each"))
		}
		work.write(opts, report, row, making{spec: v1alpha1.NodeJobSpec{Pull: action}})
		leftOver(row, *work.template, "imagePullSecrets", "serviceAccountName")
		return
	}
	meta := metaOf(doc, opts, row, maxObjectName)
	cache := &v1alpha1.ImageCache{TypeMeta: typeOf("ImageCache"), ObjectMeta: meta.object, Spec: v1alpha1.ImageCacheSpec{
		Images: images, NodeSelector: work.placed.nodeSelector, Affinity: work.placed.affinity, Tolerations: onCordoned(work.placed.tolerations),
		ImagePullSecrets: work.secrets(), ServiceAccountName: work.template.Spec.ServiceAccountName, RemovalPolicy: v1alpha1.RemovalPolicyKeep,
	}}
	if len(work.placed.nodeNames) > 0 {
		cache.Spec.Affinity = affinityOfNames(work.placed.nodeNames)
	}
	draft := report.Add(cache, row)
	meta.review(draft)
	if slices.ContainsFunc(images, asksAgain) {
		draft.Review("spec.refreshInterval", "the DaemonSet asked for a moved tag only when one of its pods started; an ImageCache does every 15m, with 0s never")
	}
	leftOver(row, *work.template, "imagePullSecrets", "serviceAccountName")
	row.Note("removalPolicy Keep, since images stay when a DaemonSet goes; cordoned nodes are tolerated, as a DaemonSet does; nodes under pressure wait")
}

func asksAgain(image v1alpha1.CachedImage) bool {
	ref, err := oci.Parse(image.Image)
	return image.ImagePullPolicy == corev1.PullAlways || image.ImagePullPolicy == "" && err == nil && ref.Tag() == oci.DefaultTag && ref.Digest() == ""
}

// onCordoned tolerates that a node is cordoned, as the pods of a DaemonSet do.
func onCordoned(tolerations []corev1.Toleration) []corev1.Toleration {
	every := func(t corev1.Toleration) bool {
		return t.Key == "" && t.Operator == corev1.TolerationOpExists && t.Effect == ""
	}
	if slices.ContainsFunc(tolerations, every) {
		return tolerations
	}
	return append(slices.Clone(tolerations), corev1.Toleration{
		Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule,
	})
}

// images are those that the pods are there for. Where init containers bring them, the one that then waits is ballast.
func (w *work) images(row *Row) []v1alpha1.CachedImage {
	pod := w.template.Spec
	containers := slices.Concat(pod.InitContainers, pod.Containers)
	var set imageSet
	for i, c := range containers {
		switch {
		case len(pod.InitContainers) > 0 && i >= len(pod.InitContainers) && ballast(c.Image):
			row.Note("%s is left out: its container %s only waited", c.Image, c.Name)
		case c.ImagePullPolicy == corev1.PullNever:
			row.Note("%s is left out: with imagePullPolicy Never it was not pulled", c.Image)
		default:
			if wrong := set.add(row, v1alpha1.CachedImage{Image: c.Image, ImagePullPolicy: c.ImagePullPolicy}); wrong != "" {
				w.at.Fail("template", "container %s: %s", c.Name, wrong)
			}
		}
	}
	return set.images
}

// waiters are images that people take for a container that waits.
var waiters = []string{"busybox", "alpine", "toybox", "bash", "debian", "ubuntu"}

func ballast(image string) bool {
	ref, err := oci.Parse(image)
	return pauses(image) || err == nil && slices.Contains(waiters, path.Base(ref.Repository()))
}

// work is a home-made DaemonSet, Job or CronJob.
type work struct {
	doc      *Document
	at       *Fields // where the template stands
	template *corev1.PodTemplateSpec
	placed   placed
	// everywhere: its pods were meant for every node.
	everywhere bool
	// deadline, ttl and suspended are a Job's.
	deadline  *int64
	ttl       *int32
	suspended bool
	// held is why what is made of it starts suspended; empty where it does not.
	held string
	name named
}

func readWork(doc *Document, row *Row) *work {
	w := &work{doc: doc, at: doc.root.Object("spec"), template: &corev1.PodTemplateSpec{}}
	if doc.Kind() == "CronJob" {
		template := w.at.Object("jobTemplate")
		if template.Has("metadata") {
			template.Done("metadata")
			row.Note("labels and annotations of the Jobs are dropped")
		}
		w.at = template.Object("spec")
	}
	if !w.at.Into("template", w.template) {
		return nil
	}
	pod := &w.template.Spec
	w.everywhere = doc.Kind() == "DaemonSet" || apart(*pod) || bound(*pod)
	w.placed = lift(pod)
	if pod.Affinity != nil || len(pod.TopologySpreadConstraints) > 0 {
		var names []string
		if pod.Affinity != nil {
			names = append(names, settings(*pod.Affinity)...)
		}
		if len(pod.TopologySpreadConstraints) > 0 {
			names = append(names, "topologySpreadConstraints")
		}
		row.Note("no longer needed, since there is one on each node: %s", strings.Join(names, ", "))
		pod.Affinity, pod.TopologySpreadConstraints = nil, nil
	}
	w.rest(row)
	return w
}

// rest reads what stands beside the pod.
func (w *work) rest(row *Row) {
	if w.doc.Kind() == "DaemonSet" {
		leaveOut(w.at, row, "selector", "updateStrategy", "minReadySeconds", "revisionHistoryLimit")
		return
	}
	w.deadline, w.ttl = seconds(w.at, "activeDeadlineSeconds", 1), ttlOf(w.at)
	w.suspended = w.doc.Kind() == "Job" && w.at.Bool("suspend")
	row.Note("cordoned nodes, and those under pressure, are served too")
	leaveOut(w.at, row, "completions", "parallelism", "completionMode", "backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy",
		"podReplacementPolicy", "selector", "manualSelector", "successPolicy", "managedBy")
}

// meta is the metadata of the i-th object, from 0.
func (w *work) meta(opts Options, row *Row, limit, i int) named {
	if w.name.was == "" {
		w.name = metaOf(w.doc, opts, row, limit)
	}
	n := w.name
	n.object.Name = numbered(n.object.Name, i, limit)
	if i > 0 {
		n.was = n.object.Name // That it is another is not worth a word.
	}
	return n
}

func (w *work) secrets() []v1alpha1.SecretReference {
	var names []string
	for _, secret := range w.template.Spec.ImagePullSecrets {
		names = append(names, secret.Name)
	}
	return pullSecrets(names)
}
