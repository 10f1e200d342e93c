// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures Orlop against crictl and raw CRI, side by side in one run on a real cluster, and fails when
// a limit is missed. Progress goes to standard error, the table to standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/test/lab"
)

func main() {
	// On a node, this program is the stopwatch.
	if len(os.Args) > 1 && os.Args[1] == inNode {
		if err := runInNode(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench on the node:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errMissed is the end of a run whose table has been printed.
var errMissed = errors.New("not every limit is kept")

func run(ctx context.Context) error {
	bin := flag.String("bin", "../../bin", "the `folder` of the built binaries")
	attach := flag.String("attach", "", "use the running lab of this `name`, rather than one of its own")
	only := flag.String("only", "", "measure only these, with commas between: "+strings.Join(partNames(), ", "))
	quick := flag.Bool("quick", false, "shorten the quiet times in which resting programs are measured; the table says so")
	var size hollowSize
	size.flags()
	flag.Parse()
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, folder, *attach)
	if err != nil {
		return err
	}
	b.quick, b.size = *quick, size
	err = b.measure(ctx, chosen)
	b.report.write(os.Stdout)
	if err = errors.Join(err, b.close()); err == nil && b.report.missed() {
		return errMissed
	}
	return err
}

type part struct {
	name string
	run  func(*bench, context.Context) error
}

func parts() []part {
	return []part{
		{"sizes", (*bench).sizes},
		{"cluster", (*bench).cluster},
		{"list", (*bench).list},
		{"pull", (*bench).pull},
		{"prune", (*bench).prune},
		{"cache", (*bench).cache},
		{"cache-add", (*bench).cacheAdd},
		{"cache-quiet", (*bench).cacheQuiet},
		{"cache-bad", (*bench).cacheBad},
		{"cache-node", (*bench).cacheNode},
		{"job-remove", (*bench).jobRemove},
		{"job-template", (*bench).jobTemplate},
		{"agent-rest", (*bench).agentRest},
		{"hollow", (*bench).hollow},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func choose(only string) ([]part, error) {
	if only == "" {
		return parts(), nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, p := range parts() {
			if p.name == name {
				chosen, found = append(chosen, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no part %q: the parts are %s", name, strings.Join(partNames(), ", "))
		}
	}
	return chosen, nil
}

// bench is one run: a lab, the node that is measured, and what came out.
type bench struct {
	lab    *lab.Cluster
	owned  bool
	bin    string
	node   string
	quick  bool
	size   hollowSize
	start  time.Time
	report report

	// These are the administrator's, once the operator is installed.
	api    client.WithWatch
	config *rest.Config
	scheme *runtime.Scheme
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) measure(ctx context.Context, chosen []part) error {
	for _, p := range chosen {
		b.say("== %s", p.name)
		err := p.run(b, ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("measuring %s: %w", p.name, errors.Join(context.Cause(ctx), err))
		}
		// The other parts can be measured all the same.
		if err != nil {
			b.say("measuring %s: %v", p.name, err)
			b.report.omit(p.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return nil
}

func (b *bench) close() error {
	if !b.owned {
		return nil
	}
	return b.lab.Close()
}
