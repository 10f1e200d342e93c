// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/survey"
)

// The reasons why the inventory of a node is not an answer, beside fleet's.
const (
	reasonNoAgent       = "NoAgent"
	reasonAgentNotReady = "AgentNotReady"
	reasonNoInventory   = "NoInventory"
)

// unread reports whether a reason is about an inventory that is no answer; the node itself may well have one.
func unread(reason string) bool {
	return reason == reasonNoAgent || reason == reasonAgentNotReady || reason == reasonNoInventory
}

// errNotInstalled is a command that has nothing to do without Orlop's kinds.
var errNotInstalled = errors.New("Orlop is not installed in this cluster: it does not know the kinds of orlop.dev/v1alpha1") //nolint:staticcheck // A name.

// errLeftKinds is what an uninstall without --crds leaves, or an --agent-namespace where nothing is.
var errLeftKinds = errors.New("Orlop's kinds are known, but neither a controller nor an agent was found: it is not installed, or not where --agent-namespace says") //nolint:staticcheck // A name.

// installed connects to an installed Orlop; nil: the cluster does not know its kinds.
func (a *app) installed(ctx context.Context) (*operator.Client, error) {
	config, err := a.connect()
	if err != nil {
		return nil, err
	}
	op, err := operator.New(config)
	if err != nil {
		return nil, err
	}
	if served, err := op.Served(ctx); err != nil || !served {
		return nil, err
	}
	return op, nil
}

// mustBeInstalled is installed for commands that have nothing to do without.
func (a *app) mustBeInstalled(ctx context.Context) (*operator.Client, error) {
	op, err := a.installed(ctx)
	if err == nil && op == nil {
		err = advised{errNotInstalled, a.commandLine("check", "--pre")}
	}
	return op, err
}

// agentNamespace is where the agents are looked for: where the flag says, or anywhere.
func (n *nodeFlags) agentNamespace() string {
	if n.config.Namespace == fleet.DefaultNamespace { // The flag's default, which is for short-lived pods.
		return ""
	}
	return n.config.Namespace
}

// look has the inventory of every node: as its agent keeps it, or by asking the node.
func (a *app) look(ctx context.Context, n *nodeFlags) ([]fleet.Outcome, []survey.Answer, error) {
	f, nodes, err := a.open(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	return a.inventories(ctx, f, nodes, n, "list")
}

func (a *app) inventories(ctx context.Context, f *fleet.Fleet, nodes []fleet.Node, n *nodeFlags, verb string) ([]fleet.Outcome, []survey.Answer, error) {
	op, err := a.installed(ctx)
	if err != nil {
		return nil, nil, err
	}
	var outcomes []fleet.Outcome
	if op != nil && !n.ephemeral {
		outcomes, err = a.read(ctx, op, n, nodes)
	}
	if err == nil && outcomes == nil {
		outcomes, err = a.ask(ctx, f, nodes, fleet.Job{
			Verb: verb, Timeout: n.timeout,
			Ask: func(fleet.Node) session.Request { return session.Request{Verb: session.VerbLook} },
		})
	}
	if err != nil {
		return nil, nil, err
	}
	answers := answersOf(outcomes)
	if op != nil {
		err = markKept(ctx, op, nodes, answers)
	}
	return outcomes, answers, err
}

// read makes outcomes of what the agents keep; none where no agent is left, though the kinds are.
func (a *app) read(ctx context.Context, op *operator.Client, n *nodeFlags, nodes []fleet.Node) ([]fleet.Outcome, error) {
	agents, err := op.Agents(ctx, n.agentNamespace())
	switch {
	case apierrors.IsForbidden(err):
		sentence(a.Err, 2, "%s you may not list the agents' pods: what follows is what each node's agent wrote last, and may be old", a.paint.warn())
		fmt.Fprintf(a.Err, "  try: %s\n", bindView(err.Error(), n.agentNamespace()))
	case err != nil:
		return nil, err
	case len(agents) == 0:
		fmt.Fprintln(a.Err, "- Orlop's kinds are known, but no agent was found: asking the nodes by short-lived pods")
		return nil, nil
	}
	found, err := op.Inventories(ctx, namesOf(nodes))
	if err != nil {
		return nil, err
	}
	outcomes := make([]fleet.Outcome, 0, len(nodes))
	for _, node := range nodes {
		outcomes = append(outcomes, outcomeOf(node, agents, found[node.Name]))
	}
	return outcomes, nil
}

func namesOf(nodes []fleet.Node) []string {
	names := make([]string, 0, len(nodes))
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	return names
}

// outcomeOf is a node's inventory as an answer, or why it is none: one that nobody keeps current is not shown as truth.
// agents is nil where they are not known.
func outcomeOf(node fleet.Node, agents map[string]operator.Agent, inventory *v1alpha1.ImageInventory) fleet.Outcome {
	out := fleet.Outcome{Node: node, State: fleet.StateSkipped}
	agent, there := agents[node.Name]
	ask := "ask it by a short-lived pod, with --ephemeral"
	switch {
	case node.Trouble != nil:
		out.Trouble = node.Trouble
	case agents != nil && !there:
		out.Trouble = &fleet.Trouble{Reason: reasonNoAgent, Message: "no agent runs there", Advice: ask}
	case agents != nil && !agent.Ready:
		out.Trouble = &fleet.Trouble{Reason: reasonAgentNotReady, Message: agent.Why, Advice: ask}
	case inventory == nil || inventory.Status.ObservedTime.IsZero():
		out.Trouble = &fleet.Trouble{Reason: reasonNoInventory, Message: "its agent has not written an inventory yet", Advice: ask}
	default:
		seen := operator.FromInventory(inventory.Status)
		out.State, out.Started, out.Result = fleet.StateDone, &seen.Runtime, &session.Result{Inventory: &seen}
		out.Observed = inventory.Status.ObservedTime.Time
		out.Socket = strings.TrimPrefix(seen.Runtime.Endpoint, "unix://")
	}
	return out
}

// markKept notes in the answers what ImageCaches keep.
func markKept(ctx context.Context, op *operator.Client, nodes []fleet.Node, answers []survey.Answer) error {
	kept, err := keptOn(ctx, op, nodes)
	if err != nil {
		return err
	}
	for i := range answers {
		answers[i].Kept = map[oci.Ref][]string{}
		for _, need := range kept[answers[i].Node] {
			answers[i].Kept[need.Ref] = append(answers[i].Kept[need.Ref], need.By)
		}
	}
	return nil
}

// keptOn is what ImageCaches want, by node.
func keptOn(ctx context.Context, op *operator.Client, nodes []fleet.Node) (map[string][]plan.Need, error) {
	stores, err := op.Stores(ctx, namesOf(nodes))
	if err != nil {
		return nil, err
	}
	kept := map[string][]plan.Need{}
	for name, store := range stores {
		kept[name] = fleet.KeptBy(store)
	}
	return kept, nil
}
