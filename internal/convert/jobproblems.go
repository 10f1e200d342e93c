// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"regexp"

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
	switch {
	case spec.Pull != nil:
		found = append(imageProblems(spec.Pull.Images), credentialProblems(spec.Pull.ImagePullSecrets, spec.Pull.ServiceAccountName)...)
	case spec.Remove != nil:
		found = patternProblems(spec.Remove.Images, maxImages)
	case spec.Prune != nil:
		found = append(patternProblems(spec.Prune.Match, maxPatterns), patternProblems(spec.Prune.Keep, maxPatterns)...)
	case spec.Template == nil:
		found = append(found, "it would do nothing: there is neither an image nor a pod in it")
	}
	found = append(found, nodeProblems(spec.NodeSelector, len(spec.Tolerations))...)
	found = append(found, over("nodeNames", len(spec.NodeNames), maxNodeNames)...)
	found = append(found, twice("the node", spec.NodeNames)...)
	for _, name := range spec.NodeNames {
		found = append(found, badNames("the node", name)...)
	}
	return found
}

func patternProblems(patterns []string, most int) (found []string) {
	found = append(over("images or patterns", len(patterns), most), twice("the image or pattern", patterns)...)
	for _, pattern := range patterns {
		if _, err := oci.ParseTarget(pattern); err != nil || len(pattern) > maxImageLength || !targetText.MatchString(pattern) {
			found = append(found, fmt.Sprintf("%q is neither an image reference, nor a pattern, nor an id", pattern))
		}
	}
	return found
}
