// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"

	"orlop.dev/orlop/internal/oci"
)

// NeedsOf are the needs of a pod for the images that it names. What does not parse no runtime takes. short: the runtime
// decides itself which registry a name without one means, so that what was written is told as well.
func NeedsOf(pod string, names []string, short bool) []Need {
	var items []Need
	for _, name := range names {
		ref, err := oci.ParseFound(name)
		if err != nil {
			continue
		}
		need := Need{Ref: ref, By: pod}
		if short && isShort(name) {
			// With a digest, the tag decides nothing: the image has perhaps no name but the one by digest.
			need.Ref, need.Short = ref.WithoutTag(), name
		}
		items = append(items, need)
	}
	return items
}

// isShort reports whether a name that parses was written without a registry.
func isShort(name string) bool {
	host, _, path := strings.Cut(name, "/")
	return !path || host != "localhost" && !strings.ContainsAny(host, ".:") && host == strings.ToLower(host)
}

// idNamed is the beginning of an image's id where a pod names its image so; else empty. sha256:… parses as an image of Docker
// Hub that is called sha256, and kubelets pass it on: containerd and Docker start what has that id, if it is here.
func idNamed(ref oci.Ref) string {
	if ref.Repository() != "docker.io/library/sha256" || strings.Trim(ref.Tag(), "0123456789abcdef") != "" {
		return ""
	}
	return ref.Tag()
}

// PicksRegistry reports whether the runtime of this name decides which registry a name without one means: CRI-O does, by
// its registries.conf; others mean docker.io.
func PicksRegistry(runtime string) bool { return runtime == "cri-o" }
