// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// pullTimeout is for one node: large images over slow lines take long, and are seen to move.
const pullTimeout = 30 * time.Minute

// pullPolicies are what --policy takes; unset is as for a Pod.
var pullPolicies = []string{string(session.PullAlways), string(session.PullIfNotPresent)}

type pullOptions struct {
	*app
	nodes    nodeFlags
	job      jobFlags
	hand     hands
	output   output
	progress string
	policy   string
	secrets  []string
	dryRun   bool
	args     []string // the references as they were typed
	refs     []oci.Ref
	from     []secretName
}

func (a *app) pullCommand() *cobra.Command {
	o := &pullOptions{app: a}
	cmd := &cobra.Command{
		Use: "pull IMAGE…", GroupID: groupAct, Short: "Pull images to every node",
		Long: `Pull images to every node, or to chosen ones, all nodes at once. Credentials come from the local docker config, or from
Secrets with --secret; only those for the repositories being pulled are sent, over the pod's standard input.

Where Orlop is installed, a NodeJob in the namespace of -n makes its agents pull; Secrets must then be in that namespace, and the
docker config of this machine is not used. Ctrl-C leaves the NodeJob running, and a second one within 2 s cancels it. With short-lived
pods, Ctrl-C ends the pulls under way; what was pulled before stays.`,
		Example: a.examples(`
			{} pull nginx:1.29
			{} pull vllm/vllm-openai:v0.14.1 -l pool=gpu --max-parallel 2
			{} pull ghcr.io/acme/web:2026.11.2 ghcr.io/acme/worker:2026.11.2 --secret shop/regcred
			{} pull nginx --policy IfNotPresent --progress plain`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return usageError{err, a.program + " pull --help"}
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.nodes.add(flags, a.version, pullTimeout)
	o.nodes.addEphemeral(flags)
	o.job.add(flags)
	o.output.add(flags)
	o.output.addSizes(flags)
	o.output.addIDs(flags)
	flags.StringVar(&o.policy, "policy", "", "`when` to pull: Always or IfNotPresent; unset: as for a Pod, Always for :latest or no tag, else IfNotPresent")
	flags.StringArrayVar(&o.secrets, "secret", nil, "`NAMESPACE/NAME` of a Secret with registry credentials; may be repeated")
	flags.StringVar(&o.progress, "progress", "auto", "a `mode`: "+strings.Join(progressModes, ", ")+"; auto is tty on a terminal, else plain")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show which nodes have the images, and pull nothing")
	flags.BoolVarP(&o.output.quiet, "quiet", "q", false, "print the images by digest only")
	return cmd
}

func (o *pullOptions) complete(args []string) error {
	refs, err := parseRefs(args)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return errors.New("name at least one image, such as nginx:1.29")
	}
	o.args, o.refs = args, refs
	if o.policy != "" {
		if err := oneOf("--policy", o.policy, pullPolicies); err != nil {
			return err
		}
	}
	for _, text := range o.secrets {
		secret, err := parseSecret(text)
		if err != nil {
			return err
		}
		o.from = append(o.from, secret)
	}
	return errors.Join(oneOf("--progress", o.progress, progressModes), o.output.check(), o.job.check())
}

// parseRefs reads whole references; every one that is none is told, and none is pulled then.
func parseRefs(args []string) ([]oci.Ref, error) {
	var refs []oci.Ref
	var errs []error
	for _, arg := range args {
		ref, err := oci.Parse(arg)
		errs = append(errs, err)
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs, errors.Join(errs...)
}

func (o *pullOptions) run(ctx context.Context) error {
	if o.dryRun {
		return o.show(ctx)
	}
	f, nodes, err := o.open(ctx, &o.nodes)
	if err != nil {
		return err
	}
	if o.hand, err = o.hands(ctx, f, &o.nodes, &o.job); err != nil {
		return err
	}
	found, err := o.hand.credentials(ctx, o.refs, o.from)
	if err != nil {
		return err
	}
	request := session.Request{Verb: session.VerbPull, Pull: &session.PullRequest{Images: o.refs, Policy: session.PullPolicy(o.policy), Credentials: found}}
	start := time.Now()
	outcomes, err := o.askWithBoard(ctx, o.hand, o.newBoard(o.boardMode(), nodes), nodes, fleet.Job{
		Verb: "pull", Timeout: o.nodes.timeout, Ask: func(fleet.Node) session.Request { return request },
	})
	if err != nil {
		return o.left(&o.output, err)
	}
	if err := o.report(outcomes); err != nil {
		return err
	}
	return o.conclude(outcomes, time.Since(start))
}

func (o *pullOptions) boardMode() string {
	plain := o.progress == "plain" || o.progress == "auto" && !term.IsTerminal(o.Err)
	switch {
	case o.output.quiet:
		return "none"
	case plain && !o.output.structured(): // The table that follows names every image.
		return "brief"
	}
	return o.progress
}

// askWithBoard is a hand's ask with a board, which goes when all have answered.
func (a *app) askWithBoard(ctx context.Context, h hands, b *board, nodes []fleet.Node, job fleet.Job) ([]fleet.Outcome, error) {
	job.Heard, job.Ended = b.heard, b.ended
	a.standing = b
	outcomes, err := h.ask(ctx, nodes, job)
	a.standing = nil
	b.close()
	return outcomes, err
}

// pulledImage is one image on one node, in an answer for programs.
type pulledImage struct {
	Node string `json:"node"`
	session.Step
}

func (o *pullOptions) report(outcomes []fleet.Outcome) error {
	var items []pulledImage
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGE"}, {Name: "STATE"}, {Name: "PULL", Right: true}, {Name: "TOOK", Right: true, Yields: 1}, {Name: "DIGEST", Yields: 2}, {Name: "MESSAGE"}}}
	ans := answer{kind: "PullList", table: t, extra: map[string]any{"nodes": nodeStates(outcomes)}}
	for _, outcome := range outcomes {
		for _, step := range stepsOf(outcome) {
			items = append(items, pulledImage{outcome.Node.Name, step})
			t.Add(outcome.Node.Name, step.Asked, strings.ToLower(string(step.State)), o.output.size(step.Bytes), tookOf(step), o.output.id(step.Digest), o.message(step))
			if digested := byDigest(step); step.State != session.StateFailed && !slices.Contains(ans.names, digested) {
				ans.names = append(ans.names, digested)
			}
		}
		if outcome.Fail() {
			o.addTrouble(t, outcome)
		}
	}
	ans.items = items
	if !o.output.quiet {
		return o.print(&o.output, ans)
	}
	for _, name := range ans.names {
		if _, err := fmt.Fprintln(o.Out, name); err != nil {
			return err
		}
	}
	return nil
}

// addTrouble adds a row for each image of which a node that did not come to its end says nothing.
func (o *pullOptions) addTrouble(t *table.Table, outcome fleet.Outcome) {
	message := outcome.Trouble.Message
	if o.output.format == "table" { // Its words follow the table, once for all nodes.
		message = outcome.Trouble.Reason
	}
	if saysAll(outcome.State) {
		message = ""
	}
	for _, image := range o.unfinished(outcome) {
		t.Add(outcome.Node.Name, image, nodeWord(outcome), "", "", "", message)
	}
}

// unfinished are the images of which a node that did not come to its end says nothing; empty: it stands for all of them.
func (o *pullOptions) unfinished(outcome fleet.Outcome) []string {
	told := map[string]bool{}
	for _, step := range stepsOf(outcome) {
		told[step.Asked] = true
	}
	var left []string
	for _, ref := range o.refs {
		if !told[ref.String()] {
			left = append(left, ref.String())
		}
	}
	if len(told) == 0 || len(left) == 0 {
		return []string{""}
	}
	return left
}

// tookOf is how long a pull took, where that is known.
func tookOf(step session.Step) string {
	if step.State != session.StatePulled || step.TookSeconds == 0 {
		return ""
	}
	return tell.Took(step.Took())
}

// message is why an image failed; the registry's words are long, and follow a table once for all nodes.
func (o *pullOptions) message(step session.Step) string {
	switch {
	case step.Reason == "":
		return step.Message
	case o.output.format == "table":
		return step.Reason
	}
	return step.Reason + ": " + tell.Why(step)
}

// byDigest is the image that a pull brought, in the form that cannot move.
func byDigest(step session.Step) string {
	if ref, err := oci.Parse(step.Asked); err == nil && step.Digest != "" {
		return ref.Repository() + "@" + step.Digest
	}
	return step.Asked
}

func (o *pullOptions) conclude(outcomes []fleet.Outcome, took time.Duration) error {
	states := map[session.State]int{}
	failures := new(failures)
	whole, interrupted := true, false
	for _, outcome := range outcomes {
		whole, interrupted = whole && !outcome.Fail(), interrupted || outcome.State == fleet.StateInterrupted
		for _, step := range stepsOf(outcome) {
			states[step.State]++
			if step.State == session.StateFailed {
				failures.add(outcome.Node.Name, step)
			}
		}
	}
	if !o.output.structured() && !o.output.quiet {
		mark := o.paint.good()
		if failures.any() || !whole {
			mark = o.paint.bad("✗")
		}
		fmt.Fprintf(o.Err, "%s %d pulled, %d present, %d failed on %s in %s.\n", mark, states[session.StatePulled], states[session.StatePresent],
			states[session.StateFailed], count(len(outcomes), "node"), tell.Took(took))
	}
	if interrupted {
		fmt.Fprintln(o.Err, "Interrupted: the pulls under way were ended; what was pulled before stays.")
	}
	failures.tell(o.app, o.hand.login(), o.done(failures)...)
	return exitWith(failures.exit(o.troubles(outcomes)))
}

// done are the arguments whose images failed on no node.
func (o *pullOptions) done(f *failures) []string {
	var done []string
	for _, arg := range o.args {
		if ref, err := oci.Parse(arg); err == nil && !f.has(ref.String()) {
			done = append(done, arg)
		}
	}
	return done
}

// show tells which nodes have the images.
func (o *pullOptions) show(ctx context.Context) error {
	outcomes, answers, err := o.look(ctx, &o.nodes)
	if err != nil {
		return err
	}
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGE"}, {Name: "STATE"}, {Name: "DIGEST"}}}
	var items []pulledImage
	for _, answer := range answers {
		for _, ref := range o.refs {
			step := presence(answer.Inventory, ref)
			items = append(items, pulledImage{answer.Node, step})
			t.Add(answer.Node, step.Asked, strings.ToLower(string(step.State)), o.output.id(step.Digest))
		}
	}
	for _, outcome := range outcomes {
		if outcome.Fail() {
			t.Add(outcome.Node.Name, "", nodeWord(outcome), "")
		}
	}
	if err := o.print(&o.output, answer{kind: "PullList", items: items, table: t, extra: map[string]any{"nodes": nodeStates(outcomes), "dryRun": true}}); err != nil {
		return err
	}
	fmt.Fprintln(o.Err, "Nothing was pulled (dry run).")
	return exitWith(o.troubles(outcomes))
}

// presence is whether a node has an image under the name.
func presence(inventory session.Inventory, ref oci.Ref) session.Step {
	step := session.Step{Asked: ref.String(), State: session.StateAbsent}
	for _, info := range inventory.Images {
		if !slices.Contains(info.Tags, ref) && (ref.Digest() == "" || !slices.Contains(info.Digests, ref.WithoutTag())) {
			continue
		}
		step.State, step.ID = session.StatePresent, info.ID
		for _, d := range info.Digests {
			if d.Repository() == ref.Repository() {
				step.Digest = d.Digest().String()
			}
		}
	}
	return step
}
