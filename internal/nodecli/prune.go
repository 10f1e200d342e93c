// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/term"
)

func pruneCommand() command {
	return command{
		name: "prune", short: "Remove images that nothing needs", timeout: removeTimeout,
		instead: "; choose images with --match or --filter",
		long: `Examples:
  orlop-node prune --dry-run            # images without a name
  orlop-node prune --all                # every image that nothing needs
  orlop-node prune --match 'docker.io/minchou/*' --keep '**:stable'
  orlop-node prune --keep-latest 3 --pulled-before 30d
  orlop-node prune --all --when-disk-above 80 --until-disk-below 60

Always spared: what is in use, pinned, or needed to start pods; and without --force
what arrived in the last 10 minutes.`,
		setup: func(flags *pflag.FlagSet) func(context.Context, *env, []string) error {
			how := removingFlags(flags)
			choose := ask.Prune(flags)
			return func(ctx context.Context, e *env, _ []string) error {
				req, err := choose(time.Now())
				if err != nil {
					return err
				}
				req.Options.Force = *how.force
				if *how.yes && !*how.dryRun && !term.IsTerminal(e.Err) {
					return e.pruneUnseen(ctx, req)
				}
				return e.remove(ctx, how, func(ctx context.Context, n *node.Node) (plan.Plan, error) { return n.PlanPrune(ctx, req) })
			}
		},
	}
}

// pruneUnseen is for when nobody is asked, and nobody sits before a terminal to see the plan first.
func (e *env) pruneUnseen(ctx context.Context, req plan.PruneRequest) error {
	n, err := e.open(ctx)
	if err != nil {
		return err
	}
	var planned *plan.Plan
	var showErr error
	result, err := n.PruneUnseen(ctx, req, func(p plan.Plan) { planned, showErr = &p, e.showPlan(p, false) }, e.tellStep)
	err = cmp.Or(err, showErr)
	if planned == nil || len(planned.Remove) == 0 && !e.structured() {
		return err
	}
	return e.answer(ctx, result, err)
}
