// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package suggest finds what a person most likely meant by a word that is not known.
package suggest

import "github.com/agnivade/levenshtein"

// maxDistance is how many slips of the finger are still taken for one word.
const maxDistance = 3

// DidYouMean is ` (did you mean "x"?)` for the known word nearest to the one typed, or empty when none is near.
func DidYouMean(typed string, known []string) string {
	best, distance := "", min(maxDistance, len(typed)/2)+1
	for _, word := range known {
		if d := levenshtein.ComputeDistance(typed, word); d < distance {
			best, distance = word, d
		}
	}
	if best == "" {
		return ""
	}
	return ` (did you mean "` + best + `"?)`
}
