// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

func typeOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

// remarks are what is to be said of an object that is not made yet. Their paths are below some part of it.
type remarks []Review

func (r *remarks) add(path, format string, args ...any) {
	*r = append(*r, Review{Path: path, Text: fmt.Sprintf(format, args...)})
}

// onto says them of the object, whose part stands at prefix.
func (r remarks) onto(draft *Draft, prefix string) {
	for _, remark := range r {
		path := prefix
		if remark.Path != "" {
			path = join(prefix, remark.Path)
		}
		draft.Review(path, "%s", remark.Text)
	}
}

// imageIn is a field that names one image.
func imageIn(f *Fields, key string) []string {
	text := f.Text(key)
	if wrong := badImage(text); wrong != "" {
		f.Fail(key, "%s", wrong)
		return nil
	}
	return []string{text}
}

// imagesIn is a list of names of images. Names that are the same once completed (nginx and nginx:latest) are merged, and told.
func imagesIn(f *Fields, key string, row *Row) (names []string) {
	var set imageSet
	for _, item := range f.nodes(key) {
		if item.Kind != yaml.ScalarNode {
			f.doc.fail(item, "%s: a text is expected, not %s", join(f.path, key), kindOf(item))
		} else if wrong := set.add(row, v1alpha1.CachedImage{Image: item.Value}); wrong != "" {
			f.doc.fail(item, "%s: %s", join(f.path, key), wrong)
		}
	}
	if len(set.images) == 0 {
		f.Fail(key, "there is no image in it")
	}
	for _, image := range set.images {
		names = append(names, image.Image)
	}
	return names
}

// once leaves out what stands there already.
func once(texts []string) (all []string) {
	seen := map[string]bool{}
	for _, text := range texts {
		if !seen[text] {
			seen[text] = true
			all = append(all, text)
		}
	}
	return all
}

// everyTaint tolerates all of them.
func everyTaint() []corev1.Toleration {
	return []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
}

// affinityOf asks for all of the requirements.
func affinityOf(requirements []corev1.NodeSelectorRequirement) *v1alpha1.Affinity {
	if len(requirements) == 0 {
		return nil
	}
	return affinityOfTerms([]corev1.NodeSelectorTerm{{MatchExpressions: requirements}})
}

// affinityOfNames chooses nodes by name: a term takes one name only.
func affinityOfNames(names []string) *v1alpha1.Affinity {
	var terms []corev1.NodeSelectorTerm
	for _, name := range names {
		terms = append(terms, corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
		}})
	}
	return affinityOfTerms(terms)
}

// affinityOfTerms asks for any of the terms.
func affinityOfTerms(terms []corev1.NodeSelectorTerm) *v1alpha1.Affinity {
	return &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

// placed is what of a pod's spec chooses nodes. lift takes it out of the pod, for Orlop chooses the nodes before there is one.
type placed struct {
	nodeNames    []string
	nodeSelector map[string]string
	affinity     *v1alpha1.Affinity
	tolerations  []corev1.Toleration
}

func lift(pod *corev1.PodSpec) placed {
	p := placed{nodeSelector: pod.NodeSelector, tolerations: pod.Tolerations}
	pod.NodeSelector, pod.Tolerations = nil, nil
	if pod.NodeName != "" {
		p.nodeNames = []string{pod.NodeName}
		pod.NodeName = ""
	}
	if pod.Affinity == nil || pod.Affinity.NodeAffinity == nil {
		return p
	}
	if required := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		p.affinity = affinityOfTerms(required.NodeSelectorTerms)
		pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
	}
	if len(pod.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		pod.Affinity.NodeAffinity = nil
	}
	if *pod.Affinity == (corev1.Affinity{}) {
		pod.Affinity = nil
	}
	return p
}

// onto has a NodeJob choose the same nodes.
func (p placed) onto(spec *v1alpha1.NodeJobSpec) {
	spec.NodeNames, spec.NodeSelector, spec.Affinity, spec.Tolerations = p.nodeNames, p.nodeSelector, p.affinity, p.tolerations
}

// ownedByAnother passes over what a controller made of another object, which is converted itself.
func ownedByAnother(doc *Document, report *Report) bool {
	for _, owner := range doc.objectsAt("metadata", "ownerReferences") {
		if is, _ := owner.peek("controller"); is != "true" {
			continue
		}
		doc.root.Done(doc.root.Keys()...)
		kind, _ := owner.peek("kind")
		name, _ := owner.peek("name")
		report.Row(doc).Note("made by %s %s: nothing to convert", kind, name)
		return true
	}
	return false
}

// ended reports whether a live job is over: applied again, it would be done again.
func ended(doc *Document) bool {
	for _, key := range []string{"completionTime", "timestamp"} { // The second is Eraser's.
		if at, _ := doc.look("status").peek(key); at != "" {
			return true
		}
	}
	return slices.ContainsFunc(doc.objectsAt("status", "conditions"), func(condition *Fields) bool {
		kind, _ := condition.peek("type")
		is, _ := condition.peek("status")
		return is == "True" && (kind == "Complete" || kind == "Failed")
	})
}

// holdEnded keeps a NodeJob from doing again what the original has done.
func holdEnded(doc *Document, row *Row, spec *v1alpha1.NodeJobSpec, said *remarks) {
	if !ended(doc) {
		return
	}
	spec.Suspend = true
	said.add("suspend", "the original has ended: turn suspend off to have it done again, or leave this out")
	const note = "it has ended: suspended, so that it is not done again unasked"
	if !slices.Contains(row.Notes, note) {
		row.Note(note)
	}
}
