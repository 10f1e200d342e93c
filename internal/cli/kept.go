// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/client-go/tools/cache"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
)

// caches reads what ImageCaches want, and gives where it is followed while the command works; nil: Orlop is not installed.
func (r *removal) caches(ctx context.Context, nodes []fleet.Node) (*cache.ListWatch, error) {
	op, err := r.installed(ctx)
	if err != nil || op == nil {
		return nil, err
	}
	if r.kept, err = keptOn(ctx, op, nodes); err != nil {
		return nil, err
	}
	if len(nodes) == 1 {
		return op.StoreWatch(nodes[0].Name), nil
	}
	return op.StoreWatch(""), nil
}

// willReturn warns of what goes and is wanted by an ImageCache, which brings it back.
func (r *removal) willReturn(outcomes []fleet.Outcome) {
	back := grouped(outcomes, func(o fleet.Outcome, add func(string)) {
		if o.Plan == nil {
			return
		}
		by := map[oci.Ref][]string{}
		for _, need := range r.kept[o.Node.Name] {
			by[need.Ref] = append(by[need.Ref], need.By)
		}
		for _, removal := range o.Plan.Remove {
			if caches := keeping(removal, by); len(caches) > 0 {
				add(strings.Join(removal.Names(), ", ") + " is kept by ImageCache " + strings.Join(caches, ", "))
			}
		}
	})
	for _, g := range back {
		fmt.Fprintf(r.Err, "%s %s, which brings it back: %s\n", r.paint.warn(), g.said, some(g.names))
	}
	if len(back) > 0 {
		fmt.Fprintf(r.Err, "  try: %s\n", r.commandLine("cache", "purge", "--help"))
	}
}

// keeping are the caches that want what a removal takes away.
func keeping(removal plan.Removal, by map[oci.Ref][]string) []string {
	names := removal.Tags
	if len(names) == 0 {
		names = slices.Concat(removal.Image.Tags, removal.Image.Digests)
	}
	var caches []string
	for _, name := range names {
		caches = append(caches, by[name]...)
	}
	slices.Sort(caches)
	return slices.Compact(caches)
}
