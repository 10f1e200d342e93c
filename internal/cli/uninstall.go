// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

const (
	// retireTimeout is how long agents may take to let go: to unpin a few hundred images takes seconds.
	retireTimeout = time.Minute
	// goneTimeout is how long pods may take to end.
	goneTimeout = 2 * time.Minute
)

type uninstallOptions struct {
	*app
	namespace string
	crds      bool
	dryRun    bool
	yes       bool
	timeout   time.Duration

	op      *operator.Client
	served  bool
	install operator.Install
	parts   operator.Parts
	release string
	caches  int
	nodes   []string
	held    []types.NamespacedName
}

func (a *app) uninstallCommand() *cobra.Command {
	o := &uninstallOptions{app: a}
	cmd := &cobra.Command{
		Use: "uninstall", GroupID: groupOperate, Short: "Remove Orlop from a cluster, and leave no pins behind",
		Long: `Remove Orlop from a cluster. First every agent lets go: it lifts the pins that it has set, leaves every image where it is, and
forgets what it has pulled. Nodes that do not answer are named. Then the objects are deleted, the workloads first; what Helm
installed is left to Helm, and the command for that is printed.

The CRDs stay, and with them your ImageCaches, unless --crds is given. Everything that goes is shown first, and you are asked;
without a terminal, --yes is needed.`,
		Example: a.examples(`
			{} uninstall --dry-run
			{} uninstall
			{} uninstall --crds --yes`),
		Args: a.noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.timeout <= 0 {
				return usageError{fmt.Errorf("--timeout is a time span such as 30s, not %s", o.timeout), a.program + " uninstall --help"}
			}
			if !o.dryRun && !o.yes && !term.IsTerminal(o.In) {
				return advised{errors.New("Orlop is uninstalled only after you confirm, and standard input is not a terminal"), o.with("--yes")} //nolint:staticcheck // A name.
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.namespace, "agent-namespace", "", "the `namespace` of the install; unset: it is searched for")
	flags.BoolVar(&o.crds, "crds", false, "also the CRDs, and every ImageCache, NodeJob and NodeCronJob with them")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show what would go, and do nothing")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.DurationVar(&o.timeout, "timeout", retireTimeout, "how long to wait for the nodes to let go")
	return cmd
}

func (o *uninstallOptions) run(ctx context.Context) error {
	if err := o.gather(ctx); err != nil {
		return err
	}
	if o.nothingToDo() {
		fmt.Fprintln(o.Err, "Orlop is not installed in this cluster: there is nothing to remove.")
		if len(o.parts.CRDs) > 0 {
			sentence(o.Err, 2, "- its CRDs are left, and %s; --crds removes them too", count(o.caches, "ImageCache"))
		}
		o.tellNamespaces()
		return nil
	}
	if err := o.show(); err != nil {
		return err
	}
	if o.dryRun {
		fmt.Fprintln(o.Err, "Nothing was done (dry run).")
		return nil
	}
	if !o.yes {
		if err := o.Confirm("Uninstall Orlop?", term.CommandLine(o.words...)); err != nil {
			return err
		}
	}
	silent, err := o.retire(ctx)
	if err != nil {
		return err
	}
	if o.release != "" {
		fmt.Fprintf(o.Err, "Helm installed it, and must remove it:\n  %s\n", o.helmLine())
		return exitWith(partialIf(len(silent) > 0))
	}
	return o.remove(ctx, silent)
}

func podNames(pods []types.NamespacedName) (names []string) {
	for _, pod := range pods {
		names = append(names, pod.String())
	}
	return names
}

func (o *uninstallOptions) nothingToDo() bool {
	return len(o.parts.All())+len(o.nodes)+len(o.held) == 0 && o.release == "" && (len(o.parts.CRDs) == 0 || !o.crds)
}

// tellNamespaces names those that are left: to delete one deletes what others have in it.
func (o *uninstallOptions) tellNamespaces() {
	for _, namespace := range o.parts.Namespaces {
		sentence(o.Err, 2, "- namespace %s stays, since others may use it: %s", namespace.Name, o.here("kubectl", "delete", "namespace", namespace.Name))
	}
}

func partialIf(partial bool) int {
	if partial {
		return term.ExitPartial
	}
	return term.ExitOK
}

func (o *uninstallOptions) helmLine() string {
	words := []string{"helm", "uninstall", o.release, "-n", o.install.Namespace}
	if context := *o.conn.Context; context != "" {
		words = append(words, "--kube-context", context)
	}
	return term.CommandLine(words...)
}

// gather finds all that is there.
func (o *uninstallOptions) gather(ctx context.Context) error {
	config, err := o.connect()
	if err != nil {
		return err
	}
	if o.op, err = operator.New(config); err != nil {
		return err
	}
	if o.served, err = o.op.Served(ctx); err != nil {
		return err
	}
	if o.install, err = o.op.Install(ctx, o.namespace); err != nil {
		return err
	}
	if len(o.install.Hidden) > 0 {
		return errors.New(o.install.Hidden[0])
	}
	if o.parts, err = o.op.Parts(ctx); err != nil {
		return err
	}
	if o.release, err = o.op.HelmRelease(ctx, slices.Concat(o.parts.All(), o.parts.CRDs), o.install.Namespace); err != nil {
		return err
	}
	if o.held, err = o.op.HeldPods(ctx); err != nil || !o.served {
		return err
	}
	stores, err := o.op.Stores(ctx, nil)
	if err != nil {
		return err
	}
	o.nodes = slices.Sorted(maps.Keys(stores))
	all, err := o.op.Caches(ctx, "")
	o.caches = len(all)
	return err
}

// show tells what goes, in its order.
func (o *uninstallOptions) show() error {
	t := &table.Table{Columns: []table.Column{{Name: "STEP"}, {Name: "WHAT"}, {Name: "HOW MANY", Right: true}, {Name: "WHICH"}}}
	if len(o.nodes) > 0 {
		t.Add("let go", "nodes", fmt.Sprint(len(o.nodes)), some(o.nodes))
	}
	if len(o.held) > 0 && o.release == "" { // Helm's own first step does it.
		t.Add("let go", "pods of NodeJobs", fmt.Sprint(len(o.held)), some(podNames(o.held)))
	}
	if o.release != "" {
		t.Add("by Helm", "release", "1", o.helmLine())
		return t.Write(o.Out, table.Options{Fit: term.Width(o.Out, 0)})
	}
	var kinds groups[string]
	parts := o.parts.All()
	if o.crds {
		parts = append(parts, o.parts.CRDs...)
	}
	for _, part := range parts {
		kinds.add(part.Resource.Resource, part.Name)
	}
	for _, kind := range kinds.all {
		t.Add("delete", kind.said, fmt.Sprint(len(kind.names)), strings.Join(kind.names, ", "))
		if kind.said == "daemonsets" && len(o.nodes) > 0 {
			t.Add("delete", "imagestores, imageinventories", fmt.Sprint(len(o.nodes)), "of each node")
		}
	}
	if err := t.Write(o.Out, table.Options{Fit: term.Width(o.Out, 0)}); err != nil {
		return err
	}
	switch {
	case o.crds && o.caches > 0:
		sentence(o.Err, 2, "%s the CRDs go too, and %s with them", o.paint.warn(), count(o.caches, "ImageCache"))
	case !o.crds && len(o.parts.CRDs) > 0:
		sentence(o.Err, 2, "- the CRDs stay, and %s with them; --crds removes them too", count(o.caches, "ImageCache"))
	}
	return nil
}

// retire lets every agent let go, and gives the nodes that have not answered.
func (o *uninstallOptions) retire(ctx context.Context) ([]string, error) {
	if !o.served || len(o.nodes) == 0 {
		return nil, nil
	}
	fmt.Fprintf(o.Err, "► %s: the agents lift their pins, and leave the images\n", count(len(o.nodes), "node"))
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	answered, silent, err := o.op.Retire(waiting, func(node string) bool { return o.install.Agents[node].Ready })
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	mark := o.paint.good()
	if len(silent) > 0 {
		mark = o.paint.warn()
	}
	fmt.Fprintf(o.Err, "%s %d of %s let go\n", mark, len(answered), count(len(o.nodes), "node"))
	for _, g := range o.silence(silent) {
		sentence(o.Err, 4, "  %s: %s", some(g.names), g.said)
	}
	if len(silent) > 0 {
		sentence(o.Err, 2, "  Images that Orlop had pinned there stay pinned. When such a node is back, lift the pins there: orlop-node unpin IMAGE")
	}
	return silent, nil
}

// silence is why nodes have not answered.
func (o *uninstallOptions) silence(nodes []string) []group[string] {
	var found groups[string]
	for _, node := range nodes {
		why := "no agent runs there"
		if agent, ok := o.install.Agents[node]; ok && agent.Ready {
			why = "its agent did not answer within " + o.timeout.String()
		} else if ok {
			why = agent.Why
		}
		found.add(why, node)
	}
	return found.all
}

// away reports whether a node has an agent that is not ready, so that nothing on it can be waited for.
func (o *uninstallOptions) away(node string) bool {
	agent, ok := o.install.Agents[node]
	return ok && !agent.Ready
}

// remove deletes what was applied from manifests. On nodes that were silent nothing is waited for any longer.
func (o *uninstallOptions) remove(ctx context.Context, silent []string) error {
	failed := o.op.Delete(ctx, o.parts.Workloads)
	waiting, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	left := o.op.AwaitEnd(waiting, o.install.Namespace, func(node string) bool { return !o.away(node) && !slices.Contains(silent, node) })
	if len(left) > 0 && len(failed) == 0 {
		return fmt.Errorf("pods on %s have not ended after %s; the rest was left, so that they can end in order: try again", some(left), goneTimeout)
	}
	if len(failed) == 0 { // While the controller is there, it would make more.
		released, err := o.op.ReleasePods(ctx)
		if err != nil {
			failed["the finalizers of NodeJobs' pods"] = err
		}
		if released > 0 {
			fmt.Fprintf(o.Err, "%s %s of NodeJobs let go: they end by themselves, and nothing holds them\n", o.paint.good(), count(released, "pod"))
		}
	}
	if o.served && len(failed) == 0 { // While the controller is there, it would make them anew.
		if err := o.op.DeleteNodeObjects(ctx); err != nil {
			failed["imagestores, imageinventories"] = err
		}
	}
	parts := o.parts.Others
	if o.crds {
		parts = append(parts, o.parts.CRDs...)
	}
	maps.Copy(failed, o.op.Delete(ctx, parts))
	for _, what := range slices.Sorted(maps.Keys(failed)) {
		sentence(o.Err, 2, "%s %s: %v", o.paint.bad("✗"), what, failed[what])
	}
	fmt.Fprintf(o.Err, "%s %s deleted\n", o.paint.good(), count(len(o.parts.Workloads)+len(parts)-len(failed), "object"))
	o.tellNamespaces()
	return exitWith(partialIf(len(silent)+len(failed) > 0))
}
