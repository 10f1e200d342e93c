// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const kruiseGroup = "apps.kruise.io"

// kruiseKinds are what OpenKruise has for images and for nodes. Its workloads (CloneSet and the like) are no matter of Orlop's.
var kruiseKinds = map[string]func(*Document, Options, *Report){
	"ImagePullJob":     convertImagePullJob,
	"ImageListPullJob": convertImageListPullJob,
	"BroadcastJob":     convertBroadcastJob,
	"AdvancedCronJob":  convertAdvancedCronJob,
	"NodeImage":        convertNodeImage,
}

var kruiseConverter = converter{
	system: "OpenKruise",
	reads: []schema.GroupVersionKind{
		{Group: kruiseGroup, Version: "v1beta1", Kind: "ImagePullJob"}, {Group: kruiseGroup, Version: "v1alpha1", Kind: "ImagePullJob"},
		{Group: kruiseGroup, Version: "v1beta1", Kind: "ImageListPullJob"}, {Group: kruiseGroup, Version: "v1alpha1", Kind: "ImageListPullJob"},
		{Group: kruiseGroup, Version: "v1beta1", Kind: "BroadcastJob"}, {Group: kruiseGroup, Version: "v1alpha1", Kind: "BroadcastJob"},
		{Group: kruiseGroup, Version: "v1beta1", Kind: "AdvancedCronJob"}, {Group: kruiseGroup, Version: "v1alpha1", Kind: "AdvancedCronJob"},
	},
	claims: func(d *Document) bool {
		return d.Group() == kruiseGroup && kruiseKinds[d.Kind()] != nil || isKruisePart(d)
	},
	convert: func(docs []*Document, opts Options, report *Report) {
		for _, doc := range docs {
			switch {
			case isKruisePart(doc):
				withoutResult(doc, report.Row(doc), "OpenKruise")
			case !ownedByAnother(doc, report):
				kruiseKinds[doc.Kind()](doc, opts, report)
			}
		}
	},
}

// isKruisePart tells what OpenKruise is installed from. It has more than what is converted here, and may well be needed further.
func isKruisePart(d *Document) bool {
	const namespace = "kruise-system"
	if d.Kind() == "DaemonSet" {
		return d.Name() == "kruise-daemon"
	}
	return slices.Contains(installed, d.Kind()) && (d.Namespace() == namespace || d.Name() == namespace ||
		strings.HasPrefix(d.Name(), "kruise-") || strings.HasSuffix(d.Name(), ".kruise.io"))
}

// convertNodeImage has nothing to do: it is how Kruise tells its daemons what to pull.
func convertNodeImage(doc *Document, _ Options, report *Report) {
	row := report.Row(doc)
	doc.root.Done("apiVersion", "kind", "metadata", "spec", "status")
	row.Note("written by Kruise itself for each node, as the controller of Orlop writes ImageStores: nothing to convert")
}
