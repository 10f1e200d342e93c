// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package action translates between what a NodeJob asks for, or a node answers, and what the decision and a node work with. The
// agent and the command line both go through it, so that a job means what the same words on the command line mean.
package action

import (
	"errors"
	"fmt"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// The names of what NodeJobs do, as they stand in status.
const (
	Pull   = "Pull"
	Remove = "Remove"
	Prune  = "Prune"
	Run    = "Run"
)

// Of names what a spec does; empty if it does nothing.
func Of(spec *v1alpha1.NodeJobSpec) string {
	switch {
	case spec.Pull != nil:
		return Pull
	case spec.Remove != nil:
		return Remove
	case spec.Prune != nil:
		return Prune
	case spec.Template != nil:
		return Run
	}
	return ""
}

// Check reads all of an action: what the API server's validation lets through and nobody could carry out is an error that names it.
func Check(spec *v1alpha1.NodeJobSpec, now time.Time) error {
	switch {
	case spec.Pull != nil:
		_, err := PullRefs(spec.Pull.Images)
		return err
	case spec.Remove != nil:
		_, err := RemoveRequest(spec.Remove)
		return err
	case spec.Prune != nil:
		_, err := PruneRequest(spec.Prune, now)
		return err
	case spec.Template != nil:
		return nil
	}
	return errors.New("none of pull, remove, prune and template is set")
}

// PullRefs are the images of a pull, normalised, each once.
func PullRefs(images []string) ([]oci.Ref, error) {
	var refs []oci.Ref
	var errs []error
	seen := map[oci.Ref]bool{}
	for _, image := range images {
		ref, err := oci.Parse(image)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	return refs, errors.Join(errs...)
}

// RemoveRequest is what a node is asked to remove.
func RemoveRequest(a *v1alpha1.RemoveAction) (plan.RemoveRequest, error) {
	targets, err := targets(a.Images, func(s string) string { return s })
	return plan.RemoveRequest{Targets: targets, Options: plan.Options{Force: a.Force}}, err
}

// PruneRequest is what a node is asked to prune. Spans count back from now.
func PruneRequest(a *v1alpha1.PruneAction, now time.Time) (plan.PruneRequest, error) {
	req := plan.PruneRequest{
		DanglingOnly: a.DanglingOnly, KeepLatest: int(a.KeepLatest), WhenDiskAbove: int(a.WhenDiskAbove), UntilDiskBelow: int(a.UntilDiskBelow),
		MaxRemovals: int(a.MaxRemovals), Options: plan.Options{Force: a.Force},
	}
	var errs [5]error
	// A bare name chooses the whole repository, as in docker images NAME.
	req.Match, errs[0] = targets(a.Match, oci.AllTags)
	req.Keep, errs[1] = targets(a.Keep, oci.AllTags)
	req.Filter, errs[2] = plan.ParseFilter(a.Filter)
	if a.UnusedFor != "" {
		req.UnusedFor, errs[3] = plan.ParseSpan(a.UnusedFor)
	}
	if a.PulledBefore != "" {
		req.PulledBefore, errs[4] = before(a.PulledBefore, now)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return req, err
	}
	return req, req.Validate()
}

func targets(texts []string, read func(string) string) ([]oci.Target, error) {
	var all []oci.Target
	var errs []error
	for _, text := range texts {
		target, err := oci.ParseTarget(read(text))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, target)
	}
	return all, errors.Join(errs...)
}

func before(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	span, err := plan.ParseSpan(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("pulledBefore %q is neither a time such as 2026-11-01T00:00:00Z nor a span such as 30d", text)
	}
	return now.Add(-span), nil
}

// FromRemove is the action by which a NodeJob asks for the same.
func FromRemove(req plan.RemoveRequest) *v1alpha1.RemoveAction {
	return &v1alpha1.RemoveAction{Images: texts(req.Targets), Force: req.Options.Force}
}

// FromPrune is the action by which a NodeJob asks for the same.
func FromPrune(req plan.PruneRequest) *v1alpha1.PruneAction {
	a := &v1alpha1.PruneAction{
		Match: texts(req.Match), Keep: texts(req.Keep), Filter: req.Filter.Terms(), DanglingOnly: req.DanglingOnly, KeepLatest: int32(req.KeepLatest),
		WhenDiskAbove: int32(req.WhenDiskAbove), UntilDiskBelow: int32(req.UntilDiskBelow), MaxRemovals: int32(req.MaxRemovals), Force: req.Options.Force,
	}
	if req.UnusedFor > 0 {
		a.UnusedFor = req.UnusedFor.String()
	}
	if !req.PulledBefore.IsZero() {
		a.PulledBefore = req.PulledBefore.UTC().Format(time.RFC3339)
	}
	return a
}

func texts(targets []oci.Target) []string {
	var all []string
	for _, target := range targets {
		all = append(all, target.String())
	}
	return all
}
