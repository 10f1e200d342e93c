// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/plan"
)

// Prune declares the flags that choose what prune takes, and returns what makes the request of them.
// Without any that chooses, only images without a name go, as with docker image prune.
func Prune(flags *pflag.FlagSet) func(now time.Time) (plan.PruneRequest, error) {
	all := flags.BoolP("all", "a", false, "remove every image that nothing needs, not only those without a name")
	dangling := flags.Bool("dangling", false, "remove only images without a name, whatever else is chosen")
	match := flags.StringArray("match", nil, "remove only images that match this reference or `pattern`; may be repeated")
	keep := flags.StringArray("keep", nil, "keep images that match this reference or `pattern`; may be repeated")
	filters := Filter(flags)
	unusedFor := flags.String("unused-for", "", "remove only images that no container has used for this `span`, such as 168h or 7d")
	pulledBefore := flags.String("pulled-before", "", "remove only images that arrived before this `time`, such as 2026-11-01T00:00:00Z, or longer ago than a span such as 30d")
	var req plan.PruneRequest
	flags.IntVar(&req.KeepLatest, "keep-latest", 0, "keep the latest `n` images of each repository")
	flags.IntVar(&req.WhenDiskAbove, "when-disk-above", 0, "only when the disk is fuller than this `percent`")
	flags.IntVar(&req.UntilDiskBelow, "until-disk-below", 0, "oldest first, and only until the disk is below this `percent`")
	flags.IntVar(&req.MaxRemovals, "max-removals", 0, "oldest first, and no more than `n` images per node")
	return func(now time.Time) (plan.PruneRequest, error) {
		if err := meant(flags, "unused-for", "pulled-before", "when-disk-above", "until-disk-below", "max-removals"); err != nil {
			return plan.PruneRequest{}, err
		}
		chosen := *all || len(*match) > 0 || len(*filters) > 0 || *unusedFor != "" || *pulledBefore != "" || req.KeepLatest > 0
		req.DanglingOnly = *dangling || !chosen
		var errs [5]error
		req.Match, errs[0] = Named(*match)
		req.Keep, errs[1] = Named(*keep)
		req.Filter, errs[2] = plan.ParseFilter(*filters)
		if *unusedFor != "" {
			req.UnusedFor, errs[3] = plan.ParseSpan(*unusedFor)
		}
		if *pulledBefore != "" {
			req.PulledBefore, errs[4] = parseBefore(*pulledBefore, now)
		}
		if err := errors.Join(errs[:]...); err != nil {
			return req, err
		}
		return req, req.Validate()
	}
}

// meant refuses a bound that is given and is none, as one that a script takes from a variable which is not set: more than was meant would go.
func meant(flags *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		f := flags.Lookup(name)
		switch {
		case !f.Changed:
		case f.Value.String() == "":
			return fmt.Errorf("--%s is empty: give it a value, or leave it out", name)
		case f.Value.String() == "0":
			return fmt.Errorf("--%s 0 bounds nothing: give it another value, or leave it out", name)
		}
	}
	return nil
}

func parseBefore(value string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return at, nil
	}
	span, err := plan.ParseSpan(value)
	if err != nil {
		return time.Time{}, fmt.Errorf("--pulled-before %q is neither a time such as 2026-11-01T00:00:00Z nor a span such as 30d", value)
	}
	return now.Add(-span), nil
}
