// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/registry"
	"orlop.dev/orlop/internal/survey"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

type driftOptions struct {
	*app
	nodes    nodeFlags
	output   output
	allTags  bool
	offline  bool
	exitCode bool
	targets  []oci.Target
	head     func(context.Context, oci.Ref) (string, error)
}

func (a *app) driftCommand() *cobra.Command {
	o := &driftOptions{app: a, head: registryDigest()}
	cmd := &cobra.Command{
		Use: "drift [IMAGE…]", GroupID: groupSee, Short: "Show tags that mean different images on different nodes",
		Long: `Show tags that mean different images: on different nodes, or on the nodes and in the registry. Images are compared by the digest
that their repository serves, never by id, so that amd64 nodes beside arm64 nodes are no drift. Without names, tags that look as
if they move are compared: latest, and words without a digit; --all-tags compares every tag.

The registry is asked once for each tag, from this machine, with the local docker config; --offline asks only the nodes.

VERDICT: SAME; DRIFT, nodes differ; BEHIND, the nodes agree but the registry has another; UNKNOWN, there is no digest to compare,
or the nodes agree but the registry gave no digest.`,
		Example: a.examples(`
			{} drift
			{} drift ghcr.io/acme/web:latest
			{} drift --all-tags --offline
			{} drift --exit-code || echo something differs, or was not answered`),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.targets, err = ask.Named(args); err == nil {
				err = o.output.check()
			}
			if err != nil {
				return usageError{err, a.program + " drift --help"}
			}
			return o.run(cmd.Context())
		},
	}
	o.nodes.add(cmd.Flags(), a.version, lookTimeout)
	o.nodes.addEphemeral(cmd.Flags())
	o.output.add(cmd.Flags())
	o.output.addIDs(cmd.Flags())
	cmd.Flags().BoolVar(&o.allTags, "all-tags", false, "compare every tag, even those that look fixed")
	cmd.Flags().BoolVar(&o.offline, "offline", false, "do not ask the registries")
	cmd.Flags().BoolVar(&o.exitCode, "exit-code", false, "exit with 2 if something is DRIFT or BEHIND")
	return cmd
}

// wanted chooses the tags to compare; those that differ between nodes are always among them.
func (o *driftOptions) wanted(ref oci.Ref) bool {
	if len(o.targets) == 0 {
		return o.allTags || survey.Mutable(ref)
	}
	return slices.ContainsFunc(o.targets, func(t oci.Target) bool { return t.MatchRef(ref, nil) })
}

func (o *driftOptions) run(ctx context.Context) error {
	outcomes, answers, err := o.look(ctx, &o.nodes)
	if err != nil {
		return err
	}
	all := survey.Tags(answers, func(ref oci.Ref) bool { return len(o.targets) == 0 || o.wanted(ref) })
	tags := slices.DeleteFunc(all, func(t survey.Tag) bool { return !o.wanted(t.Ref) && t.Verdict != survey.VerdictDrift })
	if !o.offline {
		o.askRegistries(ctx, tags)
	}
	ans := answer{kind: "DriftList", items: tags, extra: map[string]any{"nodes": nodeStates(outcomes)}, table: o.table(tags)}
	if len(tags) == 1 && len(o.targets) > 0 {
		ans.table = o.detail(tags[0])
	}
	for _, tag := range tags {
		ans.names = append(ans.names, tag.Ref.String())
	}
	if len(tags) > 0 || o.output.format != "table" && o.output.format != "wide" {
		if err := o.print(&o.output, ans); err != nil {
			return err
		}
	}
	found := o.summary(tags, outcomes)
	if code := o.troubles(outcomes); code != term.ExitOK {
		return exitError{code}
	}
	if found && o.exitCode {
		return exitError{term.ExitFound}
	}
	return nil
}

// askRegistries asks what each tag is now, once for each.
func (o *driftOptions) askRegistries(ctx context.Context, tags []survey.Tag) {
	var all sync.WaitGroup
	for i := range tags {
		all.Go(func() {
			digest, err := o.head(ctx, tags[i].Ref)
			tags[i].Registry = digest
			if err != nil {
				tags[i].RegistryError, tags[i].RegistryMessage = registryWord(err), err.Error()
			}
			tags[i].Judge()
		})
	}
	all.Wait()
}

// registryDigest asks with the credentials that docker login has put on this machine.
func registryDigest() func(context.Context, oci.Ref) (string, error) {
	var resolver registry.Resolver
	return func(ctx context.Context, ref oci.Ref) (string, error) {
		found, err := resolver.Digest(ctx, ref, authn.DefaultKeychain)
		return found.String(), err
	}
}

// registryWord is a registry's refusal in a word.
func registryWord(err error) string {
	if refusal, ok := errors.AsType[*registry.Error](err); ok && refusal.Status != 0 {
		return fmt.Sprint(refusal.Status)
	}
	return "unreachable"
}

func (o *driftOptions) table(tags []survey.Tag) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "IMAGE"}, {Name: "REGISTRY", Yields: 2}, {Name: "NODES", Right: true}, {Name: "VERSIONS", Right: true}, {Name: "BEHIND", Right: true}, {Name: "OLDEST", Yields: 1}, {Name: "VERDICT"}}}
	now := time.Now()
	for _, tag := range tags {
		registry := o.output.id(tag.Registry)
		if tag.RegistryError != "" {
			registry = tag.RegistryError
		}
		behind := ""
		if n, ok := tag.Behind(); ok && n > 0 {
			behind = count(n, "node")
		} else if !ok && !o.offline {
			behind = "?"
		}
		t.Add(tag.Ref.String(), registry, fmt.Sprint(tag.NodeCount()), fmt.Sprint(len(tag.Versions)), behind, table.Age(tag.Oldest(), now), string(tag.Verdict))
	}
	return t
}

// detail is one tag, a line for each version.
func (o *driftOptions) detail(tag survey.Tag) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "VERSION"}, {Name: "DIGEST"}, {Name: "PLATFORM", Yields: 2}, {Name: "FIRST SEEN", Yields: 1}, {Name: "NODES", Right: true}, {Name: "PODS", Right: true}, {Name: "WHERE"}, {Name: "NOTE"}}}
	now := time.Now()
	for i, v := range tag.Versions {
		var digests []string
		for _, d := range v.Digests {
			digests = append(digests, o.output.id(d))
		}
		note := ""
		if v.Current {
			note = "in the registry now"
		}
		where := some(v.Nodes)
		if o.output.format == "wide" {
			where = strings.Join(v.Nodes, ",")
		}
		t.Add(letter(i), strings.Join(digests, ","), strings.Join(v.Platforms, ","), table.Age(v.FirstSeen, now), fmt.Sprint(len(v.Nodes)), fmt.Sprint(len(v.Pods)), where, note)
	}
	return t
}

// letter names a version: A is the most common one.
func letter(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return fmt.Sprint(i + 1)
}

// summary counts the verdicts, and reports whether anything is to be done.
func (o *driftOptions) summary(tags []survey.Tag, outcomes []fleet.Outcome) bool {
	counts := map[survey.Verdict]int{}
	var differing []string
	var stale []survey.Tag
	for _, tag := range tags {
		counts[tag.Verdict]++
		if tag.Verdict == survey.VerdictDrift {
			differing = append(differing, tag.Ref.Familiar())
		}
		if tag.Verdict == survey.VerdictDrift || tag.Verdict == survey.VerdictBehind {
			stale = append(stale, tag)
		}
	}
	switch {
	case o.output.structured():
		return len(stale) > 0
	case len(tags) == 0 && len(o.targets) > 0:
		fmt.Fprintln(o.Err, "No tag on these nodes matches.")
	case len(tags) == 0:
		fmt.Fprintln(o.Err, "No tag on these nodes looks as if it moved; --all-tags compares every one.")
	default:
		sentence(o.Err, 2, "%s compared: %d differing between nodes, %d behind the registry, %d unknown, %d the same.", count(len(tags), "tag"),
			counts[survey.VerdictDrift], counts[survey.VerdictBehind], counts[survey.VerdictUnknown], counts[survey.VerdictSame])
	}
	o.silent(tags)
	if len(differing) > 0 && len(o.targets) == 0 {
		fmt.Fprintf(o.Err, "  See where: %s\n", o.commandLine("drift", differing[0]))
	}
	for _, line := range o.fixes(stale, outcomes) {
		fmt.Fprintf(o.Err, "  Fix: %s\n", line)
	}
	return len(stale) > 0
}

// fixes are the command lines that pull tags anew: each only on the nodes that have it.
func (o *driftOptions) fixes(stale []survey.Tag, outcomes []fleet.Outcome) (lines []string) {
	var all []string
	for _, outcome := range outcomes {
		all = append(all, outcome.Node.Name)
	}
	slices.Sort(all)
	var found groups[string] // tags, by the nodes that have them
	for _, tag := range stale {
		var on []string
		for _, version := range tag.Versions {
			on = append(on, version.Nodes...)
		}
		slices.Sort(on)
		found.add(strings.Join(slices.Compact(on), ","), tag.Ref.Familiar())
	}
	for _, g := range found.all {
		words := append([]string{"pull", "--policy", "Always"}, g.names...)
		if g.said == strings.Join(all, ",") {
			words = append(words, choiceWords(o.nodes.choice)...)
		} else {
			words = append(words, "--node", g.said)
		}
		lines = append(lines, o.commandLine(words...))
	}
	return lines
}

// silent says why registries did not tell, once for each.
func (o *driftOptions) silent(tags []survey.Tag) {
	told := map[string]bool{}
	for _, tag := range tags {
		if tag.RegistryMessage != "" && !told[tag.Ref.Registry()] {
			told[tag.Ref.Registry()] = true
			fmt.Fprintf(o.Err, "%s %s was asked from this machine, and gave no digest: %s\n", o.paint.warn(), tag.Ref.Registry(), tag.RegistryMessage)
		}
	}
}
