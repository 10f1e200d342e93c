// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/term"
)

// nodeFlags choose nodes, and say how they are reached.
type nodeFlags struct {
	choice  fleet.Choice
	timeout time.Duration
	config  fleet.Config
	// ephemeral: short-lived pods are made also where Orlop is installed.
	ephemeral bool
	flags     *pflag.FlagSet // of the choice
}

// Where the image names come from beside the flags.
const (
	envImage      = "ORLOP_IMAGE"
	envToolsImage = "ORLOP_TOOLS_IMAGE"
	nodeImage     = "ghcr.io/orlop-dev/orlop-node"
	toolsImage    = "ghcr.io/orlop-dev/orlop-tools"
)

func (n *nodeFlags) add(flags *pflag.FlagSet, version string, timeout time.Duration) {
	mark(flags, flagsOfNodes, func(flags *pflag.FlagSet) {
		n.flags = flags
		flags.StringVarP(&n.choice.Selector, "selector", "l", "", "nodes by `label`, such as pool=web,zone!=b")
		flags.StringVar(&n.choice.FieldSelector, "field-selector", "", "nodes by `field`, such as spec.unschedulable=false")
		flags.StringSliceVar(&n.choice.Names, "node", nil, "nodes by `name`, such as a,b; may be repeated")
		flags.DurationVar(&n.timeout, "timeout", timeout, "how long each node may take")
		flags.IntVar(&n.config.MaxParallel, "max-parallel", fleet.DefaultMaxParallel, "how many nodes work at once")
	})
	n.addPod(flags)
	mark(flags, flagsOfPods, func(flags *pflag.FlagSet) {
		flags.StringVar(&n.config.Image, "image", cmp.Or(os.Getenv(envImage), nodeImage+":"+imageTag(version)), "the node `image`; or set "+envImage)
	})
}

// addPod declares what concerns the pods themselves.
func (n *nodeFlags) addPod(flags *pflag.FlagSet) {
	mark(flags, flagsOfPods, func(flags *pflag.FlagSet) {
		flags.StringVar(&n.config.Namespace, "agent-namespace", fleet.DefaultNamespace, "the `namespace` of the short-lived pods; where Orlop is installed and they are not needed, that of its agents")
		flags.StringVar(&n.config.NamePrefix, "name-prefix", "orlop", "the `prefix` of the pods' names")
		flags.StringSliceVar(&n.config.PullSecrets, "image-pull-secret", nil, "pull `Secrets` for the node image, in that namespace")
		flags.StringVar(&n.config.Socket, "runtime-socket", "", "the `path` of the runtime's socket on the nodes, if it is in an unusual place")
	})
}

// addEphemeral is for commands that an installed Orlop answers without a pod.
func (n *nodeFlags) addEphemeral(flags *pflag.FlagSet) {
	mark(flags, flagsOfPods, func(flags *pflag.FlagSet) {
		flags.BoolVar(&n.ephemeral, "ephemeral", false, "ask the nodes by short-lived pods even where Orlop is installed")
	})
}

// imageTag is the image's tag for a version of ours; what was built without one goes with the newest.
func imageTag(version string) string {
	if version == "" || version == "dev" {
		return "latest"
	}
	return strings.ReplaceAll(version, "+", "-")
}

var (
	podPrefix  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$`)
	socketPath = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
)

// check refuses what cannot be meant, before anything is asked of the cluster.
func (n *nodeFlags) check() error {
	if n.flags != nil { // Else the nodes are no flag's.
		if err := choosesNodes(n.flags); err != nil {
			return err
		}
	}
	if _, err := labels.Parse(n.choice.Selector); err != nil {
		return fmt.Errorf("--selector %q: %w", n.choice.Selector, err)
	}
	if _, err := fields.ParseSelector(n.choice.FieldSelector); err != nil {
		return fmt.Errorf("--field-selector %q: %w", n.choice.FieldSelector, err)
	}
	n.config.Socket = strings.TrimPrefix(n.config.Socket, "unix://")
	switch {
	case slices.Contains(n.choice.Names, ""):
		return errors.New("--node has an empty name in it")
	case n.timeout <= 0:
		return fmt.Errorf("--timeout is a time span such as 30s, not %s", n.timeout)
	case n.config.MaxParallel < 1:
		return fmt.Errorf("--max-parallel is a number of nodes, 1 or more, not %d", n.config.MaxParallel)
	case !podPrefix.MatchString(n.config.NamePrefix):
		return fmt.Errorf("--name-prefix %q: at most 20 of a-z, 0-9 and -, beginning with a letter", n.config.NamePrefix)
	case n.config.Socket != "" && !socketPath.MatchString(n.config.Socket):
		return fmt.Errorf("--runtime-socket %q is not the whole path of a socket, such as /run/containerd/containerd.sock", n.config.Socket)
	}
	if _, err := oci.Parse(n.config.Image); err != nil {
		return fmt.Errorf("the node image: %w", err)
	}
	return nil
}

// choosesNodes refuses a choice that is given and is none, as one that a script takes from a variable which is not set: it would be all nodes.
func choosesNodes(flags *pflag.FlagSet) error {
	for _, name := range []string{"selector", "field-selector", "node"} {
		if f := flags.Lookup(name); f != nil && f.Changed && slices.Contains([]string{"", "[]"}, f.Value.String()) {
			return fmt.Errorf("--%s is empty: name nodes, or leave it out for all of them", name)
		}
	}
	return nil
}

// errNoConfig is an empty kubeconfig, for which client libraries would take localhost.
var errNoConfig = errors.New("there is no kubeconfig")

// connect makes the connection from kubectl's flags and files.
func (a *app) connect() (*rest.Config, error) {
	loader := a.conn.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, advised{fmt.Errorf("reading the kubeconfig: %w", err), "name a file that is there: --kubeconfig or KUBECONFIG"}
	}
	if err != nil {
		return nil, err
	}
	inCluster := os.Getenv("KUBERNETES_SERVICE_HOST") != ""
	if len(raw.Clusters) == 0 && *a.conn.APIServer == "" && !inCluster {
		return nil, errNoConfig
	}
	return a.conn.ToRESTConfig()
}

// open connects, and finds the nodes.
func (a *app) open(ctx context.Context, n *nodeFlags) (*fleet.Fleet, []fleet.Node, error) {
	if err := n.check(); err != nil {
		return nil, nil, err
	}
	config, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	n.config.Rest, n.config.Version = config, a.version
	f, err := fleet.New(n.config)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := f.Nodes(ctx, n.choice)
	if err != nil {
		return nil, nil, err
	}
	if len(nodes) == 0 {
		return nil, nil, advised{errors.New("no node matches " + cmp.Or(choiceText(n.choice), "the choice")), "kubectl get nodes --show-labels"}
	}
	return f, nodes, nil
}

// choiceText repeats what chose the nodes.
func choiceText(c fleet.Choice) string { return strings.Join(choiceWords(c), " ") }

func choiceWords(c fleet.Choice) (words []string) {
	if c.Selector != "" {
		words = append(words, "-l", c.Selector)
	}
	if c.FieldSelector != "" {
		words = append(words, "--field-selector", c.FieldSelector)
	}
	if len(c.Names) > 0 {
		words = append(words, "--node", strings.Join(c.Names, ","))
	}
	return words
}

// ask runs a job on the nodes, tells first how to clean up after us should we be killed, and last what was left.
func (a *app) ask(ctx context.Context, f *fleet.Fleet, nodes []fleet.Node, job fleet.Job) ([]fleet.Outcome, error) {
	fmt.Fprintf(a.Err, "► asking %s (if this is killed: %s)\n", count(len(nodes), "node"), a.cleanupLine(f))
	outcomes, err := f.Run(ctx, nodes, job)
	if err != nil {
		return nil, err
	}
	for _, pod := range f.Left() {
		fmt.Fprintf(a.Err, "%s a pod could not be removed: %s\n", a.paint.warn(), pod)
	}
	if len(f.Left()) > 0 {
		fmt.Fprintf(a.Err, "  try: %s\n", a.cleanupLine(f))
	}
	a.tellFinishing(f)
	return outcomes, refused(outcomes)
}

// tellFinishing names the nodes whose removals are not waited for any longer.
func (a *app) tellFinishing(f *fleet.Fleet) {
	if nodes := f.Finishing(); len(nodes) > 0 {
		fmt.Fprintf(a.Err, "%s still finishing the removals that had begun: %s. The pod there ends by itself.\n", a.paint.warn(), some(nodes))
	}
}

// refused is the error when the API server has kept every node from being asked: no matter of the nodes.
func refused(outcomes []fleet.Outcome) error {
	for _, o := range outcomes {
		if o.Trouble == nil || o.Trouble.Reason != fleet.ReasonForbidden && o.Trouble.Reason != fleet.ReasonRefused {
			return nil
		}
	}
	if len(outcomes) == 0 {
		return nil
	}
	t := outcomes[0].Trouble
	if right, can := rightIn(t.Message); right != "" {
		return advised{errors.New(t.Message), can}
	}
	return advised{errors.New(t.Message), t.Advice}
}

// troubles tells which nodes have not answered, by reason, and how to ask them again; and gives the exit code.
func (a *app) troubles(outcomes []fleet.Outcome) int {
	var found groups[fleet.Trouble]
	var retry []string
	code := term.ExitOK
	for _, o := range outcomes {
		if !o.Fail() {
			continue
		}
		code = worse(code, o.State)
		// The API server names the pod, which would make each node's words another's.
		alike := strings.ReplaceAll(o.Trouble.Message, "-"+o.Node.Name+`"`, `-NODE"`)
		found.add(fleet.Trouble{Reason: o.Trouble.Reason, Message: alike, Advice: o.Trouble.Advice}, o.Node.Name)
		retry = append(retry, o.Node.Name)
	}
	if code == term.ExitOK {
		return code
	}
	fmt.Fprintf(a.Err, "%s %d of %s answered.\n", a.paint.bad("✗"), len(outcomes)-len(retry), count(len(outcomes), "node"))
	for _, g := range found.all {
		if g.said.Reason == fleet.ReasonInterrupted {
			continue // Whoever interrupts knows why.
		}
		sentence(a.Err, 4, "  %s%s: %s", some(g.names), bracketed(g.said.Reason, g.said.Message), g.said.Message)
		if g.said.Advice != "" {
			fmt.Fprintf(a.Err, "    try: %s\n", a.alsoHere(g.said.Advice))
		}
	}
	line := a.again(retry)
	if slices.ContainsFunc(outcomes, func(o fleet.Outcome) bool { return o.Fail() && unread(o.Trouble.Reason) }) {
		line += " --ephemeral" // To read the same again would give the same.
	}
	fmt.Fprintf(a.Err, "  Retry: %s\n", line)
	return code
}

// worse is the exit code of a command that had code before and now has a node in this state.
func worse(code int, state fleet.State) int {
	switch {
	case state == fleet.StateInterrupted || code == term.ExitInterrupted:
		return term.ExitInterrupted
	case state == fleet.StateTimedOut || code == term.ExitTimeout:
		return term.ExitTimeout
	}
	return term.ExitPartial
}

// nodeState is one node in an answer for programs.
type nodeState struct {
	Name     string         `json:"name"`
	State    fleet.State    `json:"state"`
	Runtime  string         `json:"runtime,omitempty"`
	Endpoint string         `json:"endpoint,omitempty"`
	Platform string         `json:"platform,omitempty"`
	Trouble  *fleet.Trouble `json:"trouble,omitempty"`
}

func nodeStates(outcomes []fleet.Outcome) []nodeState {
	states := []nodeState{}
	for _, o := range outcomes {
		s := nodeState{Name: o.Node.Name, State: o.State, Trouble: o.Trouble, Platform: o.Node.OS + "/" + o.Node.Arch}
		if o.Started != nil {
			s.Runtime = o.Started.Name + " " + o.Started.Version
		}
		if o.Socket != "" {
			s.Endpoint = "unix://" + o.Socket
		}
		states = append(states, s)
	}
	return states
}
