// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"orlop.dev/orlop/test/lab"
)

var (
	// crictl's own 2 s would end a prune in its middle, with exit code 0.
	crictlPrune = []string{"crictl", "--timeout", "60s", "rmi", "--prune"}
	orlopPrune  = []string{"orlop-node", "prune", "--all", "--yes", "--force"}
)

const (
	listImages = 500
	listRounds = 15
	listLimit  = 2.0

	pullImages = 20
	pullRounds = 5
	pullLimit  = 1.15

	pruneImages = 100
	pruneOthers = 100
	pruneRounds = 5
	pruneLimit  = 1.0
	pruneGoal   = 0.5
)

// smallImage shares most of what it is with all others.
var smallImage = lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{{Size: 16 << 10, Shared: "base"}, {Size: 4 << 10}}}

// list compares the lists of a node that holds many images.
func (b *bench) list(ctx context.Context) error {
	base, err := b.bare(ctx)
	if err != nil {
		return err
	}
	names, err := b.push(ctx, listImages, "list", smallImage)
	if err != nil {
		return err
	}
	b.say("pulling them")
	filled, err := b.clock(ctx, task{Argv: append([]string{"orlop-node", "pull", "--parallel", "8"}, names...)})
	if err != nil {
		return err
	}
	if filled.Stock.Records <= base.Records {
		return fmt.Errorf("nothing was pulled: %+v", filled.Stock)
	}
	for _, c := range []comparison{
		{what: "`orlop-node list`", against: "`crictl images`", limit: listLimit,
			rounds: listRounds, check: checkLines, ours: []string{"orlop-node", "list"}, theirs: []string{"crictl", "images"}},
		{what: "`orlop-node list -o json`", against: "`crictl images -o json`",
			rounds: listRounds, check: checkLines, ours: []string{"orlop-node", "list", "-o", "json"}, theirs: []string{"crictl", "images", "-o", "json"}},
	} {
		c.what += fmt.Sprintf(", %d images", listImages)
		ours, theirs, err := b.contest(ctx, c)
		if err != nil {
			return err
		}
		b.report.compare(c, ours, theirs)
		b.report.fact("memory of "+c.what+", peak", memory(ours), 0)
		b.report.fact("memory of "+c.against+", peak", memory(theirs), 0)
	}
	return b.clear(ctx, base)
}

func checkLines(t taken) error {
	if t.Lines < listImages {
		return fmt.Errorf("a list of %d images has %d lines", listImages, t.Lines)
	}
	return nil
}

// pull compares the pulls of the same images, with their content gone in between.
func (b *bench) pull(ctx context.Context) error {
	base, err := b.bare(ctx)
	if err != nil {
		return err
	}
	layer := lab.Layer{Size: 5 << 20}
	names, err := b.push(ctx, pullImages, "pull", lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{layer, layer, layer, layer}})
	if err != nil {
		return err
	}
	c := comparison{
		what: fmt.Sprintf("`orlop-node pull`, %d images of 20 MB", pullImages), against: fmt.Sprintf("%d parallel raw CRI pulls", rawWorkers), limit: pullLimit,
		rounds: pullRounds, ours: append([]string{"orlop-node", "pull"}, names...), theirs: append([]string{stopwatch, inNode, "raw-pull"}, names...),
		prepare: func(ctx context.Context) error { return b.clear(ctx, base) },
		check: func(t taken) error {
			if want := base.Blobs + pullImages*(4+2); t.Stock.Blobs < want {
				return fmt.Errorf("a pull left %d blobs on the node, and should have left %d", t.Stock.Blobs, want)
			}
			return nil
		},
	}
	ours, theirs, err := b.contest(ctx, c)
	if err != nil {
		return err
	}
	b.report.compare(c, ours, theirs)
	return b.clear(ctx, base)
}

// prune compares the removal of the same images, until the disk has their space back: on a node that holds hardly anything else, and on one that keeps
// other images, as nodes do.
func (b *bench) prune(ctx context.Context) error {
	base, err := b.bare(ctx)
	if err != nil {
		return err
	}
	names, err := b.push(ctx, pruneImages, "prune", lab.ImageSpec{Program: lab.NoProgram,
		Layers: []lab.Layer{{Size: 1 << 20, Shared: "base"}, {Size: 1 << 20}, {Size: 256 << 10}}})
	if err != nil {
		return err
	}
	c := comparison{
		what: fmt.Sprintf("`orlop-node prune`, %d images, until the disk has the space back", pruneImages), against: "`crictl rmi --prune`",
		limit: pruneLimit, goal: pruneGoal, rounds: pruneRounds, ours: orlopPrune, theirs: crictlPrune,
	}
	if err := b.pruneTo(ctx, base, names, c); err != nil {
		return err
	}
	others, err := b.push(ctx, pruneOthers, "keep", smallImage)
	if err != nil {
		return err
	}
	b.say("pulling and pinning them")
	for _, verb := range []string{"pull", "pin"} {
		if _, err := b.clock(ctx, task{Argv: append([]string{"orlop-node", verb}, others...)}); err != nil {
			return err
		}
	}
	full, err := b.bare(ctx)
	if err != nil {
		return err
	}
	if full.Records < base.Records+pruneOthers {
		return fmt.Errorf("%d images are pinned, and crictl left %+v", pruneOthers, full)
	}
	c.what, c.limit, c.goal = c.what+fmt.Sprintf(", beside %d that stay", pruneOthers), 0, 0
	if err := b.pruneTo(ctx, full, names, c); err != nil {
		return err
	}
	if _, err := b.clock(ctx, task{Argv: append([]string{"orlop-node", "unpin"}, others...)}); err != nil {
		return err
	}
	return b.clear(ctx, base)
}

// pruneTo measures prunes of these images on a node that holds no more than base afterwards.
func (b *bench) pruneTo(ctx context.Context, base stock, names []string, c comparison) error {
	c.until = &base
	c.prepare = func(ctx context.Context) error {
		filled, err := b.clock(ctx, task{Argv: append([]string{stopwatch, inNode, "raw-pull"}, names...)})
		if err == nil && filled.Stock.Snapshots < base.Snapshots+2*pruneImages {
			err = fmt.Errorf("pulling left %+v on the node", filled.Stock)
		}
		return err
	}
	ours, theirs, err := b.contest(ctx, c)
	if err != nil {
		return err
	}
	b.report.compare(c, ours, theirs)
	return nil
}

// sizes are of the binaries and of the node image.
func (b *bench) sizes(ctx context.Context) error {
	for _, name := range []string{"orlop-node", "orlop-controller", "kubectl-orlop"} {
		info, err := os.Stat(filepath.Join(b.bin, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		b.report.fact("size of "+name, info.Size(), 0)
	}
	if err := b.pushOwn(ctx, "orlop-node"); err != nil {
		return err
	}
	size, err := b.compressed(ctx)
	if err != nil {
		return err
	}
	b.report.fact("size of the node image, compressed", size, 30_000_000)
	return nil
}

const nodeImage = imagesOrlop + "/orlop-node:" + benchTag

// compressed is what the node says that the image took to fetch.
func (b *bench) compressed(ctx context.Context) (int64, error) {
	if _, err := b.lab.Crictl(ctx, b.node, "pull", nodeImage); err != nil {
		return 0, err
	}
	text, err := b.lab.Crictl(ctx, b.node, "inspecti", "-o", "go-template", "--template", "{{.status.size}}", nodeImage)
	if err != nil {
		return 0, err
	}
	var size int64
	_, err = fmt.Sscan(text, &size)
	return size, err
}

// cluster is the whole way: a command here, a pod on every node, and the answer.
func (b *bench) cluster(ctx context.Context) error {
	plugin := filepath.Join(b.bin, "kubectl-orlop")
	if _, err := os.Stat(plugin); os.IsNotExist(err) {
		b.report.omit("`kubectl orlop list`", "there is no "+plugin)
		return nil
	}
	if err := b.pushOwn(ctx, "orlop-node"); err != nil { // By itself, this part comes before any other that does.
		return err
	}
	const rounds, limit = 5, 3 * time.Second
	var runs []taken
	for n := range rounds + 1 {
		cmd := exec.CommandContext(ctx, plugin, "list", "--image", nodeImage)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+b.lab.Kubeconfig())
		start := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", plugin, err, lastLine(string(out)))
		}
		b.say("kubectl orlop list: %.2f s", time.Since(start).Seconds())
		if n > 0 { // The first run brings the node image.
			runs = append(runs, taken{Wall: time.Since(start), Done: time.Since(start)})
		}
	}
	b.report.bound(fmt.Sprintf("`kubectl orlop list`, %d nodes, the node image present", nodes), runs, limit)
	return nil
}
