// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long names may be: of objects at all, of NodeJobs, whose name becomes a label, and of what a schedule is, whose jobs add to it.
const (
	maxObjectName = 253
	maxJobName    = 63
	maxCronName   = 52
)

// named is the metadata of what a document becomes, and what is to be said of it.
type named struct {
	object metav1.ObjectMeta
	was    string
	limit  int
}

// metaOf carries over the name, the namespace, and people's labels and annotations. A name that is too long is shortened, with a
// piece of its hash, so that two of them stay two.
func metaOf(doc *Document, opts Options, row *Row, limit int) named {
	doc.root.Done("apiVersion", "kind", "status")
	meta := doc.root.Object("metadata")
	was := meta.Text("name")
	if was == "" {
		was = strings.TrimSuffix(meta.Text("generateName"), "-")
	}
	if was == "" {
		doc.root.Fail("metadata", "the object has no name")
	}
	n := named{was: was, limit: limit, object: metav1.ObjectMeta{
		Name: shortened(was, limit), Namespace: cmp.Or(meta.Text("namespace"), opts.Namespace), Labels: meta.TextMap("labels"),
		Annotations: meta.TextMap("annotations"),
	}}
	for _, key := range []string{"kubectl.kubernetes.io/last-applied-configuration", "deprecated.daemonset.template.generation"} {
		delete(n.object.Annotations, key)
	}
	if len(n.object.Annotations) == 0 {
		n.object.Annotations = nil
	}
	meta.Done("generateName", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "finalizers",
		"selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")
	if n.object.Name != was {
		row.Note("the name is shortened to %d characters: %s", limit, n.object.Name)
	}
	return n
}

const hashLength = 8

func shortened(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:limit-hashLength-1], "-.") + "-" + hex.EncodeToString(sum[:])[:hashLength]
}

// numbered is the name of the i-th object of several, from 0.
func numbered(name string, i, limit int) string {
	if i == 0 {
		return name
	}
	suffix := fmt.Sprintf("-%d", i+1)
	return shortened(name, limit-len(suffix)) + suffix
}

// review says that the name is another.
func (n named) review(draft *Draft) {
	if n.object.Name != n.was {
		draft.Review("metadata.name", "it was %s: a name here has at most %d characters", n.was, n.limit)
	}
}
