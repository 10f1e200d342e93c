// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	lab "orlop.dev/orlop/test/lab"
)

func build(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	p := newProgress()
	defer p.close()
	if err := lab.Build(ctx, p.show); err != nil {
		return err
	}
	p.say("all programs are built")
	return nil
}

func up(ctx context.Context, c *call) error {
	options := lab.Options{Detached: true}
	disk, docker := bytesFlag(2<<30), 0
	c.flags.IntVar(&options.Nodes, "nodes", 3, "how many `nodes`")
	c.flags.Var(&disk, "disk", "`size` of each node's disk; space is taken as it is used")
	c.flags.IntVar(&options.APIPort, "api-port", 0, "`port` of the API server on 127.0.0.1, any free one unless set")
	c.flags.IntVar(&options.RegistryPort, "registry-port", 0, "`port` of the registry on 127.0.0.1, any free one unless set")
	c.flags.BoolVar(&options.EnginesOnly, "engines-only", false, "no Kubernetes: machines with a container engine")
	c.flags.IntVar(&docker, "docker", 0, "how many further `machines` with a Docker engine, outside of the cluster")
	if err := c.parse(0, 0); err != nil {
		return err
	}
	if options.Nodes < 0 || docker < 0 {
		return errors.New("a lab has no fewer than 0 nodes")
	}
	p := newProgress()
	defer p.close()
	options.Name, options.Progress = c.name, p.show
	options.Node.DiskSize = int64(disk)
	for i := range docker {
		options.More = append(options.More, lab.NodeOptions{Name: fmt.Sprintf("docker%d", i+1), Engine: lab.Docker, DiskSize: int64(disk)})
	}
	cluster, err := lab.Start(ctx, options)
	if errors.Is(err, lab.ErrUp) {
		p.say("the lab " + c.name + " is up already")
		cluster, err = lab.Attach(ctx, c.name)
	}
	if err != nil {
		return err
	}
	p.close()
	if cluster.Kubeconfig() != "" {
		fmt.Fprintln(os.Stderr, "\n  export KUBECONFIG="+cluster.Kubeconfig())
	}
	fmt.Fprintln(os.Stderr, "  registry: "+cluster.Registry()+"  (push HOST/IMAGE there, the nodes find it as HOST/IMAGE)")
	return nil
}

func down(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	begin := time.Now()
	if err := lab.Down(ctx, c.name); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the lab %s is down, nothing is left of it (%.1fs)\n", c.name, time.Since(begin).Seconds())
	return nil
}

func status(ctx context.Context, c *call) error {
	format := c.flags.String("o", "", "`format`: json, or a table")
	cluster, err := c.attach(ctx, 0, 0)
	if err != nil {
		return err
	}
	status, err := cluster.Status(ctx)
	if err != nil {
		return err
	}
	if *format == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	}
	fmt.Printf("lab %s, up for %s\n", status.Name, time.Since(status.Started).Round(time.Second))
	if status.Kubernetes {
		fmt.Printf("  API server  %s\n  kubeconfig  %s\n", status.APIServer, status.Kubeconfig)
	}
	fmt.Printf("  registry    %s\n", status.Registry)
	fmt.Printf("  private     %s (%s, user %s, password %s)\n", lab.PrivateHost, status.Private, lab.PrivateUser, lab.PrivatePassword)
	for _, name := range status.Down {
		fmt.Printf("  ended       %s\n", name)
	}
	fmt.Println()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESS\tSTATE\tSERVICES")
	for _, n := range status.Nodes {
		services := strings.Join(slices.Sorted(maps.Keys(n.Services)), ",")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", n.Name, n.Address, state(n), services)
	}
	return table.Flush()
}

func state(n lab.NodeStatus) string {
	switch {
	case !n.Running:
		return "off"
	case n.Cut:
		return "cut off"
	}
	return "running"
}

func kubeconfig(ctx context.Context, c *call) error {
	cluster, err := c.attach(ctx, 0, 0)
	if err != nil {
		return err
	}
	if cluster.Kubeconfig() == "" {
		return fmt.Errorf("the lab %s has no Kubernetes", c.name)
	}
	fmt.Println(cluster.Kubeconfig())
	return nil
}

func kubectl(ctx context.Context, c *call) error {
	cluster, err := c.attach(ctx, 0, 0)
	if err != nil {
		return err
	}
	return attached(exec.CommandContext(ctx, cluster.Program("kubectl"), append([]string{"--kubeconfig", cluster.Kubeconfig()}, c.extra...)...))
}

func crictl(ctx context.Context, c *call) error {
	c.extra = append([]string{"crictl"}, c.extra...)
	return execute(ctx, c)
}

func execute(ctx context.Context, c *call) error {
	cluster, err := c.attach(ctx, 1, 1)
	if err != nil {
		return err
	}
	if len(c.extra) == 0 {
		return errors.New("give the command after --")
	}
	cmd, err := cluster.Command(ctx, c.args[0], c.extra...)
	if err != nil {
		return err
	}
	// A terminal is read from by its own group of processes only.
	cmd.SysProcAttr, cmd.Cancel = nil, nil
	return attached(cmd)
}

func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
