// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package condition_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/condition"
)

func TestATimeChangesWithTheStatusAlone(t *testing.T) {
	then := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	later := then.Add(time.Hour + time.Millisecond)
	old := condition.Keep(nil, []metav1.Condition{
		condition.New("Ready", false, 1, "RollingOut", "1 of 2"),
		condition.New("Degraded", false, 1, "AsExpected", ""),
	}, then)
	if old[0].Type != "Degraded" || !old[1].LastTransitionTime.Time.Equal(then) {
		t.Errorf("%+v", old)
	}
	same := condition.Keep(old, []metav1.Condition{old[1], old[0]}, later)
	if diff := cmp.Diff(old, same); diff != "" {
		t.Errorf("nothing changed, and yet: %s", diff)
	}
	moved := condition.Keep(old, []metav1.Condition{
		condition.New("Ready", false, 2, "RollingOut", "2 of 2"),
		condition.New("Degraded", true, 2, "CannotPin", ""),
	}, later)
	if !moved[1].LastTransitionTime.Time.Equal(then) || moved[1].ObservedGeneration != 2 {
		t.Errorf("another message has another time: %+v", moved[1])
	}
	if !moved[0].LastTransitionTime.Time.Equal(later.Truncate(time.Second)) || !condition.Holds(moved, "Degraded") || condition.Holds(moved, "Ready") {
		t.Errorf("%+v", moved)
	}
}

func TestCut(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want string
	}{
		"short":        {"ab", "ab"},
		"just":         {"abcd", "abcd"},
		"long":         {"abcdef", "abc…"},
		"runes":        {"äöüß", "äöüß"},
		"no such utf8": {"a\xffb", "a?b"},
	} {
		if got := condition.Cut(tc.text, 4); got != tc.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := condition.New("Ready", true, 1, "Ready", strings.Repeat("ä", 5000)).Message; utf8.RuneCountInString(got) != 1024 {
		t.Errorf("%d runes", utf8.RuneCountInString(got))
	}
}
