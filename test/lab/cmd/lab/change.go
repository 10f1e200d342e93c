// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	lab "orlop.dev/orlop/test/lab"
)

func push(ctx context.Context, c *call) error {
	var spec lab.ImageSpec
	layers := c.flags.String("layers", "1x1MB", "how many layers of which `size`")
	platforms := c.flags.String("platforms", "", "`list` of platforms; one image for this machine unless set")
	c.flags.StringVar(&spec.Seed, "seed", "", "`text` that makes another image of the same shape")
	c.flags.StringVar(&spec.Program, "program", "", "static binary `file` to run; one that waits unless set")
	cluster, err := c.attach(ctx, 1, 1)
	if err != nil {
		return err
	}
	if spec.Layers, err = parseLayers(*layers); err != nil {
		return err
	}
	if *platforms != "" {
		spec.Platforms = strings.Split(*platforms, ",")
	}
	begin := time.Now()
	digest, err := cluster.PushImage(ctx, c.args[0], spec)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "pushed %s (%.1fs)\n", c.args[0], time.Since(begin).Seconds())
	fmt.Println(digest)
	return nil
}

func node(ctx context.Context, c *call) error {
	percent := c.flags.Int("percent", 95, "how many `percent` of the disk are used after fill")
	engine := c.flags.String("engine", "containerd", "container `engine` of a new node: containerd or docker")
	disk := bytesFlag(2 << 30)
	c.flags.Var(&disk, "disk", "`size` of a new node's disk")
	cluster, err := c.attach(ctx, 1, 2)
	if err != nil {
		return err
	}
	action, name := c.args[0], strings.Join(c.args[1:], "")
	if action == "add" {
		options := lab.NodeOptions{Name: name, DiskSize: int64(disk)}
		if *engine == string(lab.Docker) {
			options.Engine = lab.Docker
		} else if *engine != string(lab.Containerd) {
			return fmt.Errorf("no engine %q: it is containerd or docker", *engine)
		}
		return addNode(ctx, cluster, options)
	}
	do := map[string]func(context.Context, string) error{
		"remove": cluster.RemoveNode, "stop": cluster.StopNode, "start": cluster.StartNode,
		"cut": cluster.CutNetwork, "restore": cluster.RestoreNetwork,
		"stop-engine": cluster.StopEngine, "start-engine": cluster.StartEngine,
		"stop-kubelet": cluster.StopKubelet, "start-kubelet": cluster.StartKubelet, "free": cluster.FreeDisk,
		"fill": func(ctx context.Context, node string) error { return cluster.FillDisk(ctx, node, *percent) },
	}[action]
	if do == nil || name == "" {
		c.flags.Usage()
		return errUsage
	}
	return do(ctx, name)
}

func addNode(ctx context.Context, cluster *lab.Cluster, options lab.NodeOptions) error {
	begin := time.Now()
	added, err := cluster.AddNode(ctx, options)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s is ready (%.1fs)\n", added.Name, time.Since(begin).Seconds())
	return nil
}

func fault(ctx context.Context, c *call) error {
	var f lab.Fault
	rate, stall := bytesFlag(0), bytesFlag(-1)
	c.flags.StringVar(&f.Images, "images", "", "`pattern` of host and repository; a star is any text")
	c.flags.StringVar(&f.Only, "only", "", "only for `kind`: manifests or blobs")
	c.flags.IntVar(&f.Status, "status", 0, "HTTP `status` to refuse with")
	c.flags.DurationVar(&f.RetryAfter, "retry-after", 0, "`time` to wait that a refusal names")
	c.flags.Var(&rate, "rate", "`bytes` in a second, at most")
	c.flags.Var(&stall, "stall", "stop bodies after so many `bytes`")
	c.flags.IntVar(&f.Times, "times", 0, "end after so many `requests`")
	cluster, err := c.attach(ctx, 0, 1)
	if err != nil {
		return err
	}
	f.BytesPerSecond = int64(rate)
	if stall >= 0 {
		f.Stall, f.StallAfter = true, int64(stall)
	}
	switch strings.Join(c.args, "") {
	case "add":
		return cluster.AddFault(ctx, f)
	case "clear":
		return cluster.ClearFaults(ctx)
	case "counts":
		return printCounts(ctx, cluster)
	case "":
		return printFaults(ctx, cluster)
	}
	return errors.New("fault add, clear, counts, or nothing to see them")
}

func printFaults(ctx context.Context, cluster *lab.Cluster) error {
	faults, err := cluster.Faults(ctx)
	if err != nil {
		return err
	}
	for _, f := range faults {
		fmt.Printf("%+v\n", f)
	}
	if len(faults) == 0 {
		fmt.Fprintln(os.Stderr, "no faults")
	}
	return nil
}

func printCounts(ctx context.Context, cluster *lab.Cluster) error {
	counts, err := cluster.Counts(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tKIND\tREQUESTS\tBYTES")
	for _, count := range counts {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", count.Image, count.Kind, count.Requests, count.Bytes)
	}
	return table.Flush()
}
