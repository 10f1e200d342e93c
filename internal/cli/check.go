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

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/version"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// oldest is the first version of Kubernetes that has all that Orlop builds on.
const oldest = "1.32.0"

type checkOptions struct {
	*app
	nodes  nodeFlags
	output output
	pre    bool
	strict bool
	found  []finding

	e2e       bool
	image     string
	ref       oci.Ref // of image
	namespace namespaced
}

// finding is one thing that was looked at.
type finding struct {
	Check   string `json:"check"`
	Status  string `json:"status"` // ok, warning or error
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
	// TookSeconds is set of what was done with --e2e.
	TookSeconds float64 `json:"tookSeconds,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	o := &checkOptions{app: a}
	cmd := &cobra.Command{
		Use: "check", GroupID: groupOperate, Short: "Check what Orlop needs, and say how to fix what is missing",
		Long: `Check what Orlop needs: the cluster's version, your permissions, the namespace's Pod Security, the nodes and their runtimes. With
--pre it starts no pod, and also checks whether Orlop could be installed; without, it also checks that every node answers. Where
Orlop is installed, it checks the controller, the agents, their versions, and what is left over. Each problem comes with its fix. Exit
code 1 if there is an error, with --strict also for a warning; 3 if some node failed, 4 if one timed out.

--e2e also makes a real round trip: a small image is pulled on one node, or on those that you choose, by a NodeJob where Orlop is
installed, else by short-lived pods; then it is looked up in the list and removed again, even after Ctrl-C. An image that was on a node
before is never removed: name another with --image-to-pull. It also asks the registries that the ImageCaches use, from this machine, and
reads the metrics of an agent and of the controller through the API server.`,
		Example: a.examples(`
			{} check --pre
			{} check --agent-namespace orlop-system
			{} check --e2e
			{} check --e2e -l pool=edge --image-to-pull registry.example/tiny:1
			{} check -o json | jq '.items[] | select(.status != "ok")'`),
		Args: a.noArgs("; choose nodes with --node"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(o.output.check(), o.checkFlags(cmd.Flags())); err != nil {
				return usageError{err, a.program + " check --help"}
			}
			return o.run(cmd.Context())
		},
	}
	o.nodes.add(cmd.Flags(), a.version, lookTimeout)
	o.nodes.addEphemeral(cmd.Flags())
	o.output.add(cmd.Flags())
	cmd.Flags().BoolVar(&o.pre, "pre", false, "only what can be checked without starting a pod")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "a warning counts as an error")
	cmd.Flags().BoolVar(&o.e2e, "e2e", false, "pull, list and remove a small image, for real")
	cmd.Flags().StringVar(&o.image, "image-to-pull", tripImage, "the `image` for --e2e; one that the nodes can fetch and do not have")
	mark(cmd.Flags(), flagsOfJobs, func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.namespace.namespace, "namespace", "n", "", "the `namespace` of the NodeJobs of --e2e; unset: that of the context")
	})
	return cmd
}

// checkFlags refuses flags that mean nothing together.
func (o *checkOptions) checkFlags(flags *pflag.FlagSet) (err error) {
	switch {
	case o.e2e && o.pre:
		return errors.New("--pre looks only, and --e2e acts: take one of them")
	case !o.e2e && flags.Changed("image-to-pull"):
		return errors.New("--image-to-pull is for --e2e")
	}
	o.ref, err = oci.Parse(o.image)
	return err
}

func (o *checkOptions) ok(check, format string, args ...any) {
	o.found = append(o.found, finding{Check: check, Status: "ok", Message: fmt.Sprintf(format, args...)})
}

func (o *checkOptions) warn(check, message, fix string) {
	o.found = append(o.found, finding{Check: check, Status: "warning", Message: message, Fix: o.alsoHere(fix)})
}

func (o *checkOptions) fail(check, message, fix string) {
	o.found = append(o.found, finding{Check: check, Status: "error", Message: message, Fix: o.alsoHere(fix)})
}

func (o *checkOptions) run(ctx context.Context) error {
	f, nodes, err := o.open(ctx, &o.nodes)
	if err != nil {
		return err
	}
	o.checkVersion(f)
	if err := o.checkRights(ctx, f); err != nil {
		return err
	}
	o.checkAdmission(ctx, f, nodes)
	o.checkNodes(nodes)
	o.checkLeftovers(ctx, f)
	op, err := o.installed(ctx)
	if err != nil {
		return err
	}
	if op != nil {
		o.checkInstall(ctx, op, nodes)
	}
	code := term.ExitOK
	var seen []fleet.Outcome
	switch {
	case o.pre && op == nil:
		err = o.checkInstallable(ctx, f)
	case !o.pre && (op == nil || o.nodes.ephemeral):
		seen, code, err = o.checkAnswers(ctx, f, nodes)
	case o.e2e:
		if seen, err = o.read(ctx, op, &o.nodes, nodes); err == nil && seen == nil { // Kinds without agents.
			op = nil
			seen, code, err = o.checkAnswers(ctx, f, nodes)
		}
	}
	if err == nil && o.e2e {
		code = o.endToEnd(ctx, f, op, seen, code)
	}
	if err != nil {
		return err
	}
	return o.report(code)
}

func (o *checkOptions) checkVersion(f *fleet.Fleet) {
	info, err := f.Client().Discovery().ServerVersion()
	if err != nil {
		o.fail("version", "the cluster's version is not known: "+err.Error(), "kubectl version")
		return
	}
	server, err := version.ParseGeneric(info.GitVersion)
	if err != nil || server.LessThan(version.MustParseGeneric(oldest)) {
		o.fail("version", "Kubernetes "+info.GitVersion+" is older than 1.32", "upgrade the cluster")
		return
	}
	o.ok("version", "Kubernetes %s (1.32 or newer)", info.GitVersion)
}

func (o *checkOptions) checkRights(ctx context.Context, f *fleet.Fleet) error {
	rights := f.Rights()
	missing, err := f.Missing(ctx, rights)
	if err != nil {
		return err
	}
	for _, right := range missing {
		if right.Without != "" {
			o.warn("rights", fmt.Sprintf("you may not %s (%s): %s", right, right.For, right.Without), getRight+right.CanI())
		} else {
			o.fail("rights", fmt.Sprintf("you may not %s, which is needed for %s", right, right.For), getRight+right.CanI())
		}
	}
	if len(missing) == 0 {
		o.ok("rights", "you have every permission that is needed (%d)", len(rights))
	}
	return nil
}

const getRight = "ask an admin for it, and check with: "

func (o *checkOptions) checkAdmission(ctx context.Context, f *fleet.Fleet, nodes []fleet.Node) {
	if trouble := f.Admitted(ctx, nodes[0]); trouble != nil {
		o.fail("admission", "namespace "+f.Namespace()+" does not admit our pods: "+trouble.Message, trouble.Advice)
		return
	}
	o.ok("admission", "namespace %s admits our pods (tried by a dry run)", f.Namespace())
}

func (o *checkOptions) checkNodes(nodes []fleet.Node) {
	runtimes, other := map[string]int{}, map[string][]string{}
	for _, node := range nodes {
		switch {
		case node.Trouble == nil:
			runtimes[node.Runtime]++
		case node.Trouble.Reason == fleet.ReasonNotReady:
			other["NotReady: no pod can be started there"] = append(other["NotReady: no pod can be started there"], node.Name)
		default:
			other[node.Trouble.Message] = append(other[node.Trouble.Message], node.Name)
		}
		if len(node.Pressure) > 0 {
			word := "under " + strings.Join(node.Pressure, " and ") + ": our pods are system-node-critical there"
			other[word] = append(other[word], node.Name)
		}
	}
	var parts []string
	for _, runtime := range slices.Sorted(maps.Keys(runtimes)) {
		parts = append(parts, fmt.Sprintf("%s ×%d", runtime, runtimes[runtime]))
	}
	if len(parts) > 0 {
		o.ok("nodes", "runtimes: %s (their socket paths are known)", strings.Join(parts, ", "))
	}
	for _, message := range slices.Sorted(maps.Keys(other)) {
		o.warn("nodes", some(other[message])+": "+message, "")
	}
}

func (o *checkOptions) checkLeftovers(ctx context.Context, f *fleet.Fleet) {
	pods, err := f.Leftovers(ctx, "")
	if err != nil {
		return // The missing right to it is told already.
	}
	dead := 0
	for _, pod := range pods {
		if !pod.Alive {
			dead++
		}
	}
	if dead > 0 {
		o.warn("leftovers", count(dead, "pod")+" left over from earlier commands", o.commandLine("cleanup"))
		return
	}
	o.ok("leftovers", "no pods left over from earlier commands")
}

func (o *checkOptions) checkAnswers(ctx context.Context, f *fleet.Fleet, nodes []fleet.Node) ([]fleet.Outcome, int, error) {
	outcomes, err := o.ask(ctx, f, nodes, fleet.Job{
		Verb: "check", Timeout: o.nodes.timeout,
		Ask: func(fleet.Node) session.Request { return session.Request{Verb: session.VerbLook} },
	})
	if err != nil {
		return nil, 0, err
	}
	answered := 0
	for _, outcome := range outcomes {
		if !outcome.Fail() {
			answered++
		}
	}
	if answered == len(outcomes) {
		o.ok("answers", "%d of %s answered", answered, count(len(outcomes), "node"))
		return outcomes, term.ExitOK, nil
	}
	o.fail("answers", fmt.Sprintf("%d of %s answered", answered, count(len(outcomes), "node")), "")
	return outcomes, o.troubles(outcomes), nil
}

func (o *checkOptions) report(code int) error {
	wrong, warnings := 0, 0
	t := &table.Table{Columns: []table.Column{{Name: "CHECK"}, {Name: "STATUS"}, {Name: "MESSAGE"}, {Name: "FIX"}}}
	marks := map[string]string{"ok": "✔", "warning": "!", "error": "✗"}
	for _, f := range o.found {
		t.Add(f.Check, f.Status, f.Message, f.Fix)
		switch f.Status {
		case "warning":
			warnings++
		case "error":
			wrong++
		}
		if o.output.format != "table" {
			continue
		}
		dyes := map[string]string{"ok": green, "warning": yellow, "error": red}
		fmt.Fprintf(o.Out, "%s %s\n", dye(o.paint.out, dyes[f.Status], marks[f.Status]), f.Message)
		if f.Fix != "" {
			fmt.Fprintf(o.Out, "  fix: %s\n", f.Fix)
		}
	}
	if o.output.format != "table" {
		if err := o.print(&o.output, answer{kind: "CheckList", items: o.found, table: t}); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.Err, "%s, %s.\n", count(wrong, "error"), count(warnings, "warning"))
	if o.pre {
		fmt.Fprintf(o.Err, "Not checked: whether the nodes can pull %s. To try it, with a pod on each node: %s\n", o.nodes.config.Image, o.without("--pre"))
	}
	switch {
	case code != term.ExitOK:
		return exitError{code}
	case wrong > 0, o.strict && warnings > 0:
		return exitError{term.ExitError}
	}
	return nil
}
