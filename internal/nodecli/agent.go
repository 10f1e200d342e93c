// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
)

// AgentOptions are the flags of the agent.
type AgentOptions struct {
	// Endpoint is the runtime's socket; empty: found by looking.
	Endpoint string
	// Node is the name of the node, and of its objects.
	Node string
	// Kubeconfig tells how to reach the API server; empty: as a pod does.
	Kubeconfig string
	// MetricsAddress is where metrics and health are served; empty: nowhere.
	MetricsAddress      string
	MaxParallelPulls    int
	PullTimeout, Resync time.Duration
	DiskLimit, PinLimit int
}

// nodeNameEnv is set from the pod's spec.nodeName.
const nodeNameEnv = "NODE_NAME"

// agentCommand is what the DaemonSet runs.
func agentCommand() command {
	return command{name: "agent", short: "Look after this node: make its images match its ImageStore", hidden: true,
		long: `Examples:
  orlop-node agent
  orlop-node agent --node-name node1 --kubeconfig ~/.kube/config --metrics-address 127.0.0.1:9808

It runs until it is told to end. What it holds stays then, unless Orlop is being taken out of the cluster.`,
		setup: func(flags *pflag.FlagSet) func(context.Context, *env, []string) error {
			var o AgentOptions
			flags.StringVar(&o.Node, "node-name", os.Getenv(nodeNameEnv), "the name of this node (default: $"+nodeNameEnv+")")
			flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server (default: as a pod does)")
			flags.StringVar(&o.MetricsAddress, "metrics-address", ":9808", "where to serve metrics and health; empty: nowhere")
			flags.IntVar(&o.MaxParallelPulls, "max-parallel-pulls", 3, "how many images are pulled at once")
			flags.DurationVar(&o.PullTimeout, "pull-timeout", 30*time.Minute, "how long one pull may take")
			flags.DurationVar(&o.Resync, "resync", time.Minute, "how often to look where nothing tells of a change")
			flags.IntVar(&o.DiskLimit, "disk-limit", 80, "percent of the images' disk beyond which no pull starts")
			flags.IntVar(&o.PinLimit, "pin-limit", 60, "percent of the images' disk that pinned images may take")
			return func(ctx context.Context, e *env, _ []string) error {
				o.Endpoint = e.endpoint
				switch {
				case e.Agent == nil:
					return errors.New("this binary has no agent")
				case o.Node == "":
					return fmt.Errorf("name the node, with --node-name or $%s", nodeNameEnv)
				case o.MaxParallelPulls < 1:
					return fmt.Errorf("--max-parallel-pulls is a number of images from 1, not %d", o.MaxParallelPulls)
				case o.DiskLimit < 1 || o.DiskLimit > 100 || o.PinLimit < 1 || o.PinLimit > 100:
					return errors.New("--disk-limit and --pin-limit are percentages from 1 to 100")
				case o.Resync < time.Second || o.PullTimeout < time.Second:
					return errors.New("--resync and --pull-timeout are time spans from 1s")
				}
				return e.Agent(ctx, o)
			}
		}}
}
