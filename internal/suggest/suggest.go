// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package suggest finds what a person most likely meant by a word that is not known.
package suggest

import "github.com/agnivade/levenshtein"

// maxDistance is how many slips of the finger are still taken for one word; of a short one, no more than one in each lettersPerSlip.
const (
	maxDistance    = 3
	lettersPerSlip = 3
)

// DidYouMean is ` (did you mean "x"?)` for the known word nearest to the one typed, or empty when none is near.
func DidYouMean(typed string, known []string) string {
	if best := Nearest(typed, known); best != "" {
		return ` (did you mean "` + best + `"?)`
	}
	return ""
}

// Nearest is the known word nearest to the one typed, or empty when none is near.
func Nearest(typed string, known []string) string {
	best, distance := "", min(maxDistance, (len(typed)+1)/lettersPerSlip)+1
	for _, word := range known {
		if d := slips(typed, word); d < distance {
			best, distance = word, d
		}
	}
	return best
}

// slips is how many letters are wrong; two that have changed places count once.
func slips(typed, word string) int {
	if len(typed) == len(word) {
		for i := 0; i+1 < len(typed); i++ {
			if typed[i] != word[i] {
				swapped := typed[:i] + string([]byte{typed[i+1], typed[i]}) + typed[i+2:]
				if swapped == word {
					return 1
				}
				break
			}
		}
	}
	return levenshtein.ComputeDistance(typed, word)
}
