// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the API server and the object's own controllers wrote says nothing about what is made of it.
var ofTheLiveObject = []string{"resourceVersion", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
	"generation", "managedFields", "ownerReferences", "finalizers", "selfLink"}

// ofControllers are the labels and annotations that come and go with the live object.
var ofControllers = []string{"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
	"deprecated.daemonset.template.generation", "kubectl.kubernetes.io/restartedAt", "batch.kubernetes.io/job-tracking",
	"controller-revision-hash", "pod-template-hash"}

// ownership are prefixes of the labels and annotations by which Helm, Argo CD, Flux or OLM know what is theirs: on an object that
// they did not make, they would have it changed or deleted.
var ownership = []string{"meta.helm.sh/", "helm.sh/", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/",
	"helm.toolkit.fluxcd.io/", "operators.coreos.com/", "olm."}

const labelManagedBy = "app.kubernetes.io/managed-by"

// metadata is that of what is made of a document: its name and namespace, and the labels and annotations that people gave it.
func metadata(doc *Document, row *Row, opts Options) metav1.ObjectMeta {
	doc.root.Done("apiVersion", "kind", "status")
	at := doc.root.Object("metadata")
	at.Done(ofTheLiveObject...)
	meta := metav1.ObjectMeta{Name: at.Text("name"), Namespace: cmp.Or(at.Text("namespace"), opts.Namespace)}
	if meta.Name == "" {
		at.Fail("name", "the object has no name")
	}
	var owned []string
	meta.Labels = ofPeople(at.TextMap("labels"), &owned)
	meta.Annotations = ofPeople(at.TextMap("annotations"), &owned)
	if len(owned) > 0 {
		slices.Sort(owned)
		row.Note("left out, as another tool would take the new object for its own: %s", strings.Join(owned, ", "))
	}
	return meta
}

// ofPeople leaves out what is of controllers, and moves what claims ownership to the names of such.
func ofPeople(texts map[string]string, owned *[]string) map[string]string {
	for key := range texts {
		switch {
		case slices.Contains(ofControllers, key), slices.Contains(jobLabels, key): // A Job without labels is given those of its pods.
		case key == labelManagedBy, slices.ContainsFunc(ownership, func(prefix string) bool { return strings.HasPrefix(key, prefix) }):
			*owned = append(*owned, key)
		default:
			continue
		}
		delete(texts, key)
	}
	if len(texts) == 0 {
		return nil
	}
	return texts
}

// withoutMetadata passes over that of an object which becomes a part of others, and tells what people wrote into it.
func withoutMetadata(doc *Document, row *Row) {
	doc.root.Done("apiVersion", "kind", "status")
	at := doc.root.Object("metadata")
	at.Done(ofTheLiveObject...)
	at.Done("name", "namespace")
	var keys, owned []string
	for _, texts := range []map[string]string{at.TextMap("labels"), at.TextMap("annotations")} {
		keys = slices.AppendSeq(keys, maps.Keys(ofPeople(texts, &owned)))
	}
	if keys = slices.DeleteFunc(keys, func(key string) bool { return key == eraserExclude }); len(keys) > 0 {
		slices.Sort(keys)
		row.Note("labels and annotations of it have no place in what it becomes: %s", strings.Join(keys, ", "))
	}
}
