// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// cleaningText is what a script that removes images has in it, however it is written.
var cleaningText = regexp.MustCompile(`\b(crictl|docker|nerdctl|podman|ctr)\b[^\n;&|]*\b(rmi|prune|images? +(rm|remove|del|delete|prune)|i +rm)\b` +
	`|\bcurl\b[^\n;&|]*\bDELETE\b[^\n;&|]*/images/`)

// grepText is the word that such a script picks the images by, or, with -v, leaves them for.
var grepText = regexp.MustCompile(`\bgrep\s+((?:-[a-zA-Z]+\s+)*)["']?([a-z0-9][a-z0-9._/-]*)["']?`)

// cleanerName is what people call a script that does, of which nothing but the name can be seen.
var cleanerName = regexp.MustCompile(`\b[a-z_-]*(clean|prune|image-?gc)[a-z_-]*\.sh\b`)

// cleansImages reports whether a pod's script has such a command in it.
func cleansImages(pod corev1.PodSpec) bool {
	return slices.ContainsFunc(slices.Concat(pod.InitContainers, pod.Containers), func(c corev1.Container) bool { return cleaningText.MatchString(commandOf(c)) })
}

func commandOf(c corev1.Container) string { return strings.Join(slices.Concat(c.Command, c.Args), " ") }

// pruneInstead is the action that does what a pod's script seems to do; empty where it does not seem to clean images.
func pruneInstead(pod corev1.PodSpec) string {
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		text := commandOf(c)
		if !cleaningText.MatchString(text) && (!touchesRuntime(pod) || !cleanerName.MatchString(text)) {
			continue
		}
		if s := scriptOf(c); s.plain && len(s.deeds) > 0 {
			return s.deeds[0].hint()
		}
		if found := grepText.FindStringSubmatch(text); found != nil {
			field := "match"
			if strings.Contains(found[1], "v") {
				field = "keep"
			}
			return fmt.Sprintf("prune: {%s: [\"**/**%s**\"]}", field, found[2])
		}
		return "prune: {unusedFor: 168h}, or with match: [PATTERN]"
	}
	return ""
}

// hint is the deed as a NodeJob has it.
func (d deed) hint() string {
	switch {
	case len(d.remove) > 0:
		return "remove: {images: [" + strings.Join(d.remove, ", ") + "]}"
	case d.dangling:
		return "prune: {danglingOnly: true}"
	}
	return "prune: {}"
}
