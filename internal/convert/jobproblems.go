// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/validation"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

// Limits of NodeJobs, as their schema has them.
const (
	maxNodeNames    = 5000
	maxPatterns     = 100
	maxRestartLimit = 100
)

// targetText is what the schema takes for a reference, a pattern or an id.
var targetText = regexp.MustCompile(`^[a-zA-Z0-9*?][a-zA-Z0-9._:/@*?-]*$`)

// jobProblems are what would have the API server refuse a NodeJob or the template of one.
func jobProblems(object Object) (found []string) {
	var spec *v1alpha1.NodeJobSpec
	switch object := object.(type) {
	case *v1alpha1.NodeJob:
		spec = &object.Spec
	case *v1alpha1.NodeCronJob:
		spec = &object.Spec.JobTemplate.Spec
	default:
		return nil
	}
	var images, patterns []string
	var secrets []v1alpha1.SecretReference
	switch {
	case spec.Pull != nil:
		images, secrets = spec.Pull.Images, spec.Pull.ImagePullSecrets
	case spec.Remove != nil:
		patterns = spec.Remove.Images
	case spec.Prune != nil:
		patterns = slices.Concat(spec.Prune.Match, spec.Prune.Keep)
	case spec.Template == nil:
		found = append(found, "it would do nothing: there is neither an image nor a pod in it")
	}
	found = append(found, over("images", len(images), maxImages)...)
	found = append(found, over("labels in its nodeSelector", len(spec.NodeSelector), maxSelector)...)
	found = append(found, over("tolerations", len(spec.Tolerations), maxTolerations)...)
	found = append(found, over("imagePullSecrets", len(secrets), maxSecrets)...)
	found = append(found, over("nodeNames", len(spec.NodeNames), maxNodeNames)...)
	for _, image := range images {
		if wrong := badImage(image); wrong != "" {
			found = append(found, wrong)
		}
	}
	for _, pattern := range patterns {
		if _, err := oci.ParseTarget(pattern); err != nil || len(pattern) > maxImageLength || !targetText.MatchString(pattern) {
			found = append(found, fmt.Sprintf("%q is neither an image reference, nor a pattern, nor an id", pattern))
		}
	}
	for _, secret := range secrets {
		for _, wrong := range validation.NameIsDNSSubdomain(secret.Name, false) {
			found = append(found, fmt.Sprintf("the Secret %q: %s", secret.Name, wrong))
		}
	}
	for _, name := range spec.NodeNames {
		for _, wrong := range validation.NameIsDNSSubdomain(name, false) {
			found = append(found, fmt.Sprintf("the node %q: %s", name, wrong))
		}
	}
	return found
}

func over(what string, is, most int) []string {
	if is <= most {
		return nil
	}
	return []string{fmt.Sprintf("it has %d %s, and at most %d are possible", is, what, most)}
}
