// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

const (
	fledgedGroup = "kubefledged.io"
	// fledgedOperated is the kind of its operator, whose spec is the values of the chart.
	fledgedOperated = "KubeFledged"
	// fledgedPurged is the reason in the status of a cache that was emptied, until it is edited or refreshed.
	fledgedPurged = "ImageCachePurge"
)

// fledgedConverter reads kube-fledged's ImageCaches; of its own manifests and of the values of its chart it reads the flags of the
// controller.
var fledgedConverter = converter{
	system: "kube-fledged",
	reads:  []schema.GroupVersionKind{{Group: fledgedGroup, Version: "v1alpha2", Kind: "ImageCache"}, deploymentKind},
	claims: func(doc *Document) bool { return isFledgedCache(doc) || isFledgedPart(doc) || isFledgedValues(doc) },
	convert: func(docs []*Document, opts Options, report *Report) {
		rows := map[*Document]*Row{}
		for _, doc := range docs {
			rows[doc] = report.Row(doc)
		}
		settings := readFledgedSettings(docs, rows) // First: every cache is by them.
		known, told := taken(docs, opts), false
		for _, doc := range docs {
			if isFledgedCache(doc) {
				if !told {
					told = true
					rows[doc].Note("both kinds are called ImageCache: to kubectl write imagecaches.orlop.dev while kube-fledged is installed")
				}
				(&fledgedCache{doc: doc, row: rows[doc], settings: settings, opts: opts, names: known}).convert(report)
			}
		}
	},
}

var deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

func isFledgedCache(doc *Document) bool {
	return doc.Group() == fledgedGroup && doc.Kind() == "ImageCache"
}

// installed are the kinds of which a system's own manifests are.
var installed = []string{"Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Service", "Deployment",
	"CustomResourceDefinition", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}

func isFledgedPart(doc *Document) bool {
	if doc.Kind() == fledgedOperated {
		return true
	}
	if !slices.Contains(installed, doc.Kind()) {
		return false
	}
	app, labelled := doc.look("metadata", "labels").peek("app")
	return isFledgedName(doc.Name()) || labelled && isFledgedName(app) || doc.runs("kubefledged-")
}

func isFledgedName(name string) bool {
	return strings.Contains(name, "kubefledged") || strings.Contains(name, "kube-fledged")
}

// fledgedCache is one ImageCache of kube-fledged's on its way.
type fledgedCache struct {
	doc      *Document
	row      *Row
	settings fledgedSettings
	opts     Options
	names    names
}

// fledgedNodes are the images for the nodes of one selector.
type fledgedNodes struct {
	selector map[string]string
	images   imageSet
}

func (c *fledgedCache) convert(report *Report) {
	meta := metadata(c.doc, c.row, c.opts)
	c.dropRequests(meta.Annotations)
	reason, _ := c.doc.look("status").peek("reason")
	if reason == fledgedPurged {
		if meta.Annotations == nil {
			meta.Annotations = map[string]string{}
		}
		meta.Annotations[v1alpha1.AnnotationPurge] = "as-in-kube-fledged"
	}
	spec := c.doc.root.Object("spec")
	var secrets []string
	for _, secret := range spec.Objects("imagePullSecrets") {
		secrets = append(secrets, secret.Text("name"))
	}
	groups := c.groups(spec)
	count := 0
	for _, group := range groups {
		for _, images := range inParts(group.images.images) {
			cache := newCache(meta, c.names.next(meta, count), c.spec(group.selector, images, secrets))
			c.review(report.Add(cache, c.row), reason == fledgedPurged)
			count++
		}
	}
	if len(groups) > 1 {
		c.row.Note("one ImageCache for each of its %d nodeSelectors", len(groups))
	}
	if count > len(groups) {
		c.row.Note("an ImageCache holds at most %d images; the rest is in further ones", maxImages)
	}
	c.row.Note("images that kube-fledged has pulled count as found: Orlop keeps them, and never removes them for the cache")
}

// dropRequests leaves out the annotations by which something was asked once.
func (c *fledgedCache) dropRequests(annotations map[string]string) {
	for _, verb := range []string{"refresh", "purge"} {
		key := fledgedGroup + "/" + verb + "-imagecache"
		if _, there := annotations[key]; there {
			delete(annotations, key)
			c.row.Note("%s asked once, when it was set, and is left out; here: kubectl orlop cache %s", key, verb)
		}
	}
}

// groups are the images by the selectors of their nodes, in the order of the lists. A cache without any has one group with none.
func (c *fledgedCache) groups(spec *Fields) (groups []*fledgedNodes) {
	at := map[string]*fledgedNodes{}
	lists := spec.Objects("cacheSpec")
	for _, list := range lists {
		selector := list.TextMap("nodeSelector")
		key, _ := json.Marshal(selector) // Of texts alone, and its keys are sorted.
		if len(selector) == 0 {
			key, selector = nil, nil
		}
		group := at[string(key)]
		if group == nil {
			group = &fledgedNodes{selector: selector}
		}
		c.addImages(&group.images, list)
		if len(group.images.images) > 0 && at[string(key)] == nil {
			at[string(key)] = group
			groups = append(groups, group)
		}
	}
	if len(groups) == 0 {
		c.row.Note("it has no images, and the ImageCache has none")
		return []*fledgedNodes{{}}
	}
	return groups
}

func (c *fledgedCache) addImages(set *imageSet, list *Fields) {
	for _, item := range list.items("images") {
		if item.text == "" {
			c.row.Note(`an image "" is left out: it stood for an empty list, which an ImageCache may have`)
			continue
		}
		image := c.settings.image(item.text)
		if image.ImagePullPolicy != "" && !c.settings.always {
			c.row.Note("%s: imagePullPolicy is written out, as kube-fledged looks for \":latest\" and \":\" in the text and not for the tag", item.text)
		}
		if wrong := set.add(c.row, image); wrong != "" {
			c.doc.fail(item.node, "%s: %s", list.path, wrong)
		}
	}
}

func (c *fledgedCache) spec(selector map[string]string, images []v1alpha1.CachedImage, secrets []string) v1alpha1.ImageCacheSpec {
	return v1alpha1.ImageCacheSpec{
		Images: images, NodeSelector: selector, ImagePullSecrets: pullSecrets(secrets), ServiceAccountName: c.settings.account,
		Tolerations:      []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		RefreshInterval:  c.settings.interval(),
		MaxParallelNodes: c.settings.surge, RemovalPolicy: v1alpha1.RemovalPolicyRemove,
	}
}

func (c *fledgedCache) review(draft *Draft, purged bool) {
	if purged {
		draft.Review("metadata.annotations", "it was purged: its images stay off the nodes until it is refreshed (kubectl orlop cache refresh) or edited. "+
			"Without the annotation %s they are pulled at once.", v1alpha1.AnnotationPurge)
	}
	draft.Review("spec.tolerations", "kube-fledged pulls to every node that the selector chooses, control planes, tainted and cordoned ones too. "+
		"Without tolerations such nodes are left alone.")
	if c.settings.note != "" {
		draft.Review("spec.refreshInterval", "%s", c.settings.note)
	}
	if c.settings.surge != nil {
		draft.Review("spec.maxParallelNodes", "kube-fledged's --jobs-max-surge counts the pulls of all caches together, this the nodes that pull for this cache.")
	}
	draft.Review("spec.removalPolicy", "an image that leaves the list is removed, as by kube-fledged. When the cache is deleted kube-fledged leaves its "+
		"images on the nodes, and Remove does not; Keep leaves them in both cases.")
}

// image is one as kube-fledged treats it: under IfNotPresent it goes by the text, and not by the tag.
func (s *fledgedSettings) image(text string) v1alpha1.CachedImage {
	image := v1alpha1.CachedImage{Image: text}
	policy := corev1.PullIfNotPresent
	if s.always || !s.odd && (strings.Contains(text, ":latest") || !strings.Contains(text, ":")) {
		policy = corev1.PullAlways
	}
	if ref, err := oci.Parse(text); err == nil && podPolicy(ref) != policy {
		image.ImagePullPolicy = policy
	}
	return image
}

// withoutResult is the row of an object of a system's own manifests.
func withoutResult(doc *Document, row *Row, system string) {
	for _, key := range doc.root.Keys() {
		doc.root.Done(key)
	}
	row.Note("part of %s itself: it has no counterpart, and goes with it", system)
}
