// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

// The limits of the kinds, as their schemas have them. What is over them is told with its place, and not left to the API server.
const (
	maxImages      = 500
	maxImageLength = 512
	maxSelector    = 64
	maxTolerations = 64
	maxSecrets     = 32
)

// longestNames are those of the kinds that make names of their own from it.
var longestNames = map[string]int{"NodeJob": 63, "NodeCronJob": 52, "CronJob": 52}

// imageName is what the schemas take for an image.
var imageName = regexp.MustCompile(`^(([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)([.][a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$`)

// badImage says why a text is no image that can be asked for, or nothing.
func badImage(text string) string {
	_, err := oci.Parse(text)
	switch {
	case err != nil:
		return err.Error()
	case len(text) > maxImageLength:
		return fmt.Sprintf("an image's name is longer than %d characters", maxImageLength)
	case !imageName.MatchString(text):
		return fmt.Sprintf("%q is not an image reference", text)
	}
	return ""
}

// problems are what would have the API server refuse an object, as far as it shows without one.
func problems(object Object) (found []string) {
	if longest := longestNames[object.GetObjectKind().GroupVersionKind().Kind]; longest > 0 && len(object.GetName()) > longest {
		found = append(found, fmt.Sprintf("its name has %d characters, and at most %d are possible", len(object.GetName()), longest))
	}
	for _, wrong := range validation.NameIsDNSSubdomain(object.GetName(), false) {
		found = append(found, fmt.Sprintf("the name %q: %s", object.GetName(), wrong))
	}
	for _, wrong := range validation.ValidateNamespaceName(object.GetNamespace(), false) {
		found = append(found, fmt.Sprintf("the namespace %q: %s", object.GetNamespace(), wrong))
	}
	labels := metav1validation.ValidateLabels(object.GetLabels(), field.NewPath("metadata", "labels"))
	for _, err := range append(labels, validation.ValidateAnnotations(object.GetAnnotations(), field.NewPath("metadata", "annotations"))...) {
		found = append(found, err.Error())
	}
	if cache, ok := object.(*v1alpha1.ImageCache); ok {
		found = append(found, cacheProblems(&cache.Spec)...)
	}
	return append(found, jobProblems(object)...)
}

func cacheProblems(spec *v1alpha1.ImageCacheSpec) (found []string) {
	var images []string
	for _, image := range spec.Images {
		images = append(images, image.Image)
	}
	found = append(found, imageProblems(images)...)
	found = append(found, nodeProblems(spec.NodeSelector, len(spec.Tolerations))...)
	return append(found, credentialProblems(spec.ImagePullSecrets, spec.ServiceAccountName)...)
}

func imageProblems(images []string) (found []string) {
	found = append(over("images", len(images), maxImages), twice("the image", images)...)
	for _, image := range images {
		if wrong := badImage(image); wrong != "" {
			found = append(found, wrong)
		}
	}
	return found
}

func nodeProblems(selector map[string]string, tolerations int) (found []string) {
	found = append(over("labels in its nodeSelector", len(selector), maxSelector), over("tolerations", tolerations, maxTolerations)...)
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		for _, err := range metav1validation.ValidateLabels(map[string]string{key: selector[key]}, field.NewPath("spec", "nodeSelector")) {
			found = append(found, err.Error())
		}
	}
	return found
}

func credentialProblems(secrets []v1alpha1.SecretReference, account string) (found []string) {
	var names []string
	for _, secret := range secrets {
		names = append(names, secret.Name)
	}
	found = append(over("imagePullSecrets", len(names), maxSecrets), twice("the Secret", names)...)
	for _, name := range names {
		found = append(found, badNames("the Secret", name)...)
	}
	if account != "" {
		found = append(found, badNames("the ServiceAccount", account)...)
	}
	return found
}

func badNames(what, name string) (found []string) {
	for _, wrong := range validation.NameIsDNSSubdomain(name, false) {
		found = append(found, fmt.Sprintf("%s %q: %s", what, name, wrong))
	}
	return found
}

func over(what string, is, most int) []string {
	if is <= most {
		return nil
	}
	return []string{fmt.Sprintf("it has %d %s, and at most %d are possible", is, what, most)}
}

// twice: lists whose items have a key take each of them once.
func twice(what string, names []string) (found []string) {
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			found = append(found, fmt.Sprintf("%s %q stands there twice", what, name))
		}
		seen[name] = true
	}
	return once(found)
}
