// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package condition makes conditions that change only when what they say has changed.
package condition

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMessage keeps an object with several conditions small; the API server takes 32768.
const maxMessage = 1024

// New makes a condition about the given generation of the spec. Keep gives it its time.
func New(kind string, holds bool, generation int64, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation, Reason: reason, Message: Cut(message, maxMessage)}
}

// Keep gives the wanted conditions, each with the time since when it has its status: that of old, or now.
func Keep(old, wanted []metav1.Condition, now time.Time) []metav1.Condition {
	kept := slices.Clone(wanted)
	slices.SortFunc(kept, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	for i := range kept {
		// The API server keeps whole seconds: a finer time would differ from what is read back.
		kept[i].LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		at := slices.IndexFunc(old, func(c metav1.Condition) bool { return c.Type == kept[i].Type })
		if at >= 0 && old[at].Status == kept[i].Status && !old[at].LastTransitionTime.IsZero() {
			kept[i].LastTransitionTime = old[at].LastTransitionTime
		}
	}
	return kept
}

// Holds reports whether the condition of this type is True.
func Holds(conditions []metav1.Condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind && c.Status == metav1.ConditionTrue })
}

// Cut shortens a text to so many runes, with an ellipsis for what is left out.
func Cut(text string, runes int) string {
	if len(text) <= runes || utf8.RuneCountInString(text) <= runes {
		return strings.ToValidUTF8(text, "?")
	}
	return strings.ToValidUTF8(string([]rune(text)[:runes-1]), "?") + "…"
}
