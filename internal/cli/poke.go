// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/term"
)

// poke is something that is asked of a cache by an annotation.
type poke struct {
	verb, short, long, question string
	annotation                  string
	// acted is the value that was acted upon as last.
	acted func(v1alpha1.ImageCacheStatus) string
}

var refreshing = poke{
	verb: "refresh", short: "Look now whether the tags of an ImageCache have moved", annotation: v1alpha1.AnnotationRefresh,
	long: `Look now whether the tags of an ImageCache have moved in the registry, and bring every node up to date. Tags that are
normally resolved only once are looked up again too, and a purged cache is filled again.`,
	acted: func(s v1alpha1.ImageCacheStatus) string { return s.Refresh },
}

var purging = poke{
	verb: "purge", short: "Remove from the nodes what an ImageCache pulled, but keep the cache", annotation: v1alpha1.AnnotationPurge,
	long: `Remove from the nodes what an ImageCache pulled, and keep the ImageCache itself: it does nothing more until it is refreshed or
edited. What pods use stays until they are gone; what another ImageCache wants, or what was there before, is not removed at all.`,
	question: "Remove them?", acted: func(s v1alpha1.ImageCacheStatus) string { return s.Purge },
}

type pokeOptions struct {
	*app
	namespaced
	poke    poke
	names   []string
	yes     bool
	wait    bool
	timeout time.Duration
}

func (a *app) pokeCommand(p poke) *cobra.Command {
	o := &pokeOptions{app: a, poke: p}
	cmd := &cobra.Command{
		Use: p.verb + " NAME…", Short: p.short, Long: p.long,
		Example: a.examples(`
			{} cache ` + p.verb + ` web
			{} cache ` + p.verb + ` web -n shop --wait
			{} cache ` + p.verb + ` web models --timeout 1m --wait`),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.names, err = cacheNames(args); err != nil {
				return usageError{err, a.program + " cache " + p.verb + " --help"}
			}
			if p.question != "" && !o.yes && !term.IsTerminal(o.In) {
				return advised{errNoYes, o.with("--yes")}
			}
			return o.run(cmd.Context())
		},
	}
	cmd.ValidArgsFunction = a.completeCaches(&o.namespaced, "")
	o.add(cmd.Flags())
	if p.question != "" {
		cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	}
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until the controller has acted upon it")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait")
	return cmd
}

func (o *pokeOptions) run(ctx context.Context) error {
	namespace, err := o.of(o.app)
	if err != nil {
		return err
	}
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	for _, name := range o.names { // All of them are looked at before anything is asked.
		cache, err := op.Cache(ctx, namespace, name)
		if err != nil {
			return o.unknownCache(ctx, op, namespace, name, err)
		}
		if o.poke.question != "" {
			o.show(cache)
		}
	}
	if o.poke.question != "" && !o.yes {
		if err := o.Confirm(o.poke.question, term.CommandLine(o.words...)); err != nil {
			return err
		}
	}
	value := stamp()
	for _, name := range o.names {
		if _, err := op.AnnotateCache(ctx, namespace, name, o.poke.annotation, value); err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "imagecache.orlop.dev/%s: %s requested\n", name, o.poke.verb)
	}
	if !o.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for _, name := range o.names {
		err := op.FollowCache(ctx, namespace, name, func(c *v1alpha1.ImageCache) bool { return o.poke.acted(c.Status) == value })
		if errors.Is(err, context.DeadlineExceeded) {
			fmt.Fprintf(o.Err, "%s ImageCache %s/%s: not acted upon within %s. Is the controller running?\n  see: %s\n", o.paint.bad("✗"), namespace, name, o.timeout, o.commandLine("status"))
			return exitError{term.ExitTimeout}
		}
		if err != nil {
			return fmt.Errorf("waiting for ImageCache %s/%s: %w", namespace, name, err)
		}
		fmt.Fprintf(o.Err, "%s imagecache.orlop.dev/%s: %s acted upon\n", o.paint.good(), name, o.poke.verb)
	}
	return nil
}

// show says what a purge is about.
func (o *pokeOptions) show(cache *v1alpha1.ImageCache) {
	if cache.Status.PurgedGeneration == cache.Generation {
		fmt.Fprintf(o.Err, "ImageCache %s/%s is purged already, and keeps nothing.\n", cache.Namespace, cache.Name)
		return
	}
	fmt.Fprintf(o.Err, "ImageCache %s/%s keeps on %s:\n", cache.Namespace, cache.Name, count(int(cache.Status.DesiredNodes), "node"))
	ready := map[string]int32{}
	for _, image := range cache.Status.Images {
		ready[image.Image] = image.ReadyNodes
	}
	for i, image := range cache.Spec.Images {
		if i == maxShown {
			fmt.Fprintf(o.Err, "  and %d more\n", len(cache.Spec.Images)-i)
			break
		}
		where := "-"
		if n, ok := ready[image.Image]; ok {
			where = count(int(n), "node")
		}
		fmt.Fprintf(o.Err, "  %s (%s)\n", image.Image, where)
	}
	keep := ""
	if cache.Spec.RemovalPolicy == v1alpha1.RemovalPolicyKeep {
		keep = " Its removalPolicy is Keep: the images stay, unpinned."
	}
	fmt.Fprintf(o.Err, "What it pulled is removed from its nodes, except what something else needs.%s\n", keep)
}

// maxShown is how many images a question names.
const maxShown = 20

// stamp is a value of an annotation that asks for something: another one each time.
func stamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00") }
