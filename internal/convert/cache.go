// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

// newCache is an ImageCache with a name of its own.
func newCache(meta metav1.ObjectMeta, name string, spec v1alpha1.ImageCacheSpec) *v1alpha1.ImageCache {
	cache := &v1alpha1.ImageCache{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ImageCache"}, ObjectMeta: *meta.DeepCopy(), Spec: spec,
	}
	cache.Name = name
	return cache
}

// podPolicy is what a Pod does that says nothing of it.
func podPolicy(ref oci.Ref) corev1.PullPolicy {
	if ref.Tag() == oci.DefaultTag {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// imageSet are images of which none stands twice.
type imageSet struct {
	images []v1alpha1.CachedImage
	at     map[oci.Ref]int
}

// add takes an image in; one that is there already is merged, and noted. What is no image is the reason why, and is not taken.
func (s *imageSet) add(row *Row, image v1alpha1.CachedImage) (wrong string) {
	if wrong := badImage(image.Image); wrong != "" {
		return wrong
	}
	ref, _ := oci.Parse(image.Image) // badImage has parsed it.
	if s.at == nil {
		s.at = map[oci.Ref]int{}
	}
	if i, there := s.at[ref]; there {
		row.Note("%s and %s are one image, which is written once", s.images[i].Image, image.Image)
		if image.ImagePullPolicy == corev1.PullAlways {
			s.images[i].ImagePullPolicy = corev1.PullAlways
		}
		return ""
	}
	s.at[ref] = len(s.images)
	s.images = append(s.images, image)
	return ""
}

// names gives objects that are made of one document names that nothing else here has.
type names map[string]bool

// taken are the names of documents.
func taken(docs []*Document, opts Options) names {
	all := names{}
	for _, doc := range docs {
		all[where(doc, opts)+"/"+doc.Name()] = true
	}
	return all
}

func where(doc *Document, opts Options) string {
	if ns := doc.Namespace(); ns != "" {
		return ns
	}
	return opts.Namespace
}

// next is NAME for the first object of a document, and then NAME-2, NAME-3 …
func (n names) next(meta metav1.ObjectMeta, count int) string {
	if count == 0 {
		return meta.Name
	}
	for i := count + 1; ; i++ {
		if name := fmt.Sprintf("%s-%d", meta.Name, i); !n[meta.Namespace+"/"+name] {
			n[meta.Namespace+"/"+name] = true
			return name
		}
	}
}

// inParts are the images as many at a time as one ImageCache takes; none is one part too.
func inParts(images []v1alpha1.CachedImage) [][]v1alpha1.CachedImage {
	if len(images) == 0 {
		return [][]v1alpha1.CachedImage{nil}
	}
	return slices.Collect(slices.Chunk(images, maxImages))
}

// pullSecrets are those that are named, without repetitions.
func pullSecrets(texts []string) (secrets []v1alpha1.SecretReference) {
	for _, name := range once(texts) {
		if name != "" {
			secrets = append(secrets, v1alpha1.SecretReference{Name: name})
		}
	}
	return secrets
}
