// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package ask is what both command lines let a person ask: images by name, by filter, and by what prune takes. One
// grammar, so that what was tried with list can be pasted behind prune, and what runs on a node runs on all.
package ask

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// Filter declares --filter, whose values plan.ParseFilter reads.
func Filter(flags *pflag.FlagSet) *[]string {
	return flags.StringArrayP("filter", "f", nil, "`KEY=VALUE` or KEY!=VALUE; may be repeated: values of one key are alternatives, different keys must all match. Keys: "+strings.Join(plan.FilterKeys(), ", "))
}

// Targets reads images as people name them: references, patterns, ids. Every one that is none is told.
func Targets(args []string) ([]oci.Target, error) {
	var targets []oci.Target
	var errs []error
	for _, arg := range args {
		target, err := oci.ParseTarget(arg)
		targets, errs = append(targets, target), append(errs, err)
	}
	return targets, errors.Join(errs...)
}

// Named are Targets, but that a repository without a tag means all of its tags, as in docker images NAME and in a
// filter: it is for choosing among what is there.
func Named(args []string) ([]oci.Target, error) {
	var targets []oci.Target
	var errs []error
	for _, arg := range args {
		target, err := oci.ParseTarget(oci.AllTags(arg))
		if err != nil {
			if _, typed := oci.ParseTarget(arg); typed != nil {
				err = typed // About what was typed, rather than what was made of it.
			}
		}
		targets, errs = append(targets, target), append(errs, err)
	}
	return targets, errors.Join(errs...)
}
