// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/jobrun"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/term"
)

// hands do on the nodes what a command asks: short-lived pods, or the agents of an installed Orlop by way of a NodeJob. Either tells
// the same of each node.
type hands interface {
	// credentials are those to send along with a pull, of what the Secrets have or else the local docker config.
	credentials(ctx context.Context, refs []oci.Ref, secrets []secretName) (map[string]engine.Credentials, error)
	ask(ctx context.Context, nodes []fleet.Node, job fleet.Job) ([]fleet.Outcome, error)
	// login is what helps against a registry that wants one.
	login() string
}

// defaultTTL is how long a NodeJob of the command line stays for history and for a look at its nodes' answers.
const defaultTTL = time.Hour

// jobFlags are for commands that become a NodeJob where Orlop is installed.
type jobFlags struct {
	namespaced
	ttl  time.Duration
	wait bool
}

func (j *jobFlags) add(flags *pflag.FlagSet) {
	mark(flags, flagsOfJobs, func(flags *pflag.FlagSet) {
		flags.StringVarP(&j.namespace, "namespace", "n", "", "the `namespace` of the NodeJob; unset: that of the context")
		flags.DurationVar(&j.ttl, "ttl", defaultTTL, "how long the NodeJob stays after its end, for job list and history")
		flags.BoolVar(&j.wait, "wait", true, "follow the NodeJob to its end; --wait=false creates it and prints how to follow it")
	})
}

func (j *jobFlags) check() error {
	if j.ttl < 0 || j.ttl.Seconds() > float64(1<<31-1) {
		return fmt.Errorf("--ttl is a time span such as 1h, not %s", j.ttl)
	}
	return nil
}

// hands finds who does it: the agents, where there are any, unless pods are asked for.
func (a *app) hands(ctx context.Context, f *fleet.Fleet, n *nodeFlags, j *jobFlags) (hands, error) {
	pods := &podHands{app: a, fleet: f}
	if n.ephemeral {
		return pods, j.needed(a, "--ephemeral makes none")
	}
	op, err := a.installed(ctx)
	if err != nil {
		return nil, err
	}
	if op == nil {
		return pods, j.needed(a, errNotInstalled.Error())
	}
	agents, err := op.Agents(ctx, n.agentNamespace())
	switch {
	case apierrors.IsForbidden(err): // The controller knows.
	case err != nil:
		return nil, err
	case len(agents) == 0:
		fmt.Fprintln(a.Err, "- Orlop's kinds are known, but no agent was found: asking the nodes by short-lived pods")
		return pods, j.needed(a, "no agent is there to carry it out")
	}
	return &jobHands{app: a, op: op, flags: j, nodes: n, user: f.User()}, nil
}

// needed is the error of flags that mean a NodeJob, where there is none.
func (j *jobFlags) needed(a *app, why string) error {
	switch {
	case !j.wait:
		return fmt.Errorf("--wait=false leaves the work to a NodeJob, and there is none: %s", why)
	case j.namespace != "":
		fmt.Fprintf(a.Err, "- -n %s is for a NodeJob, and there is none: the short-lived pods run in the namespace of --agent-namespace\n", j.namespace)
	}
	return nil
}

// podHands are short-lived pods.
type podHands struct {
	*app
	fleet *fleet.Fleet
}

func (p *podHands) login() string { return "allow them with --secret NAMESPACE/NAME, or docker login" }

func (p *podHands) credentials(ctx context.Context, refs []oci.Ref, secrets []secretName) (map[string]engine.Credentials, error) {
	chain, err := keychain(ctx, p.fleet.Client(), secrets)
	if err != nil {
		return nil, err
	}
	found, warnings := credentials(chain, refs)
	for _, warning := range warnings {
		fmt.Fprintf(p.Err, "%s %s\n", p.paint.warn(), warning)
	}
	return found, nil
}

func (p *podHands) ask(ctx context.Context, nodes []fleet.Node, job fleet.Job) ([]fleet.Outcome, error) {
	return p.app.ask(ctx, p.fleet, nodes, job)
}

// jobHands are the agents, asked by a NodeJob.
type jobHands struct {
	*app
	op      *operator.Client
	flags   *jobFlags
	nodes   *nodeFlags
	user    string
	secrets []secretName
}

func (h *jobHands) login() string {
	return "allow them with --secret NAMESPACE/NAME, of the NodeJob's namespace"
}

// credentials are none: a NodeJob names Secrets, which the controller seals to the nodes. What only this machine has cannot go with it, and
// is told.
func (h *jobHands) credentials(_ context.Context, refs []oci.Ref, secrets []secretName) (map[string]engine.Credentials, error) {
	h.secrets = secrets
	if _, err := h.namespace(); err != nil {
		return nil, err
	}
	if len(secrets) > 0 {
		return nil, nil
	}
	found, _ := credentials(authn.DefaultKeychain, refs) // What goes wrong with what is not used is nobody's concern.
	var registries []string
	for _, ref := range refs {
		if _, ok := found[ref.Repository()]; ok && !slices.Contains(registries, ref.Registry()) {
			registries = append(registries, ref.Registry())
		}
	}
	if len(registries) > 0 {
		fmt.Fprintf(h.Err, "%s your docker login for %s stays on this machine: a NodeJob takes credentials from Secrets\n  try: %s, or --secret NAMESPACE/NAME\n",
			h.paint.warn(), some(registries), h.with("--ephemeral"))
	}
	return nil, nil
}

// namespace is the NodeJob's: as asked for, else that of its Secrets, else the context's.
func (h *jobHands) namespace() (string, error) {
	namespace := h.flags.namespace
	for _, secret := range h.secrets {
		switch {
		case namespace == "":
			namespace = secret.namespace
		case namespace != secret.namespace:
			return "", advised{fmt.Errorf("a NodeJob in namespace %s takes Secrets of that namespace only, and --secret names %s/%s", namespace, secret.namespace, secret.name),
				"use Secrets of one namespace, or short-lived pods: " + h.with("--ephemeral")}
		}
	}
	if namespace != "" {
		return namespace, nil
	}
	return h.flags.of(h.app)
}

func (h *jobHands) ask(ctx context.Context, nodes []fleet.Node, job fleet.Job) ([]fleet.Outcome, error) {
	namespace, err := h.namespace()
	if err != nil {
		return nil, err
	}
	spec, err := h.spec(nodes)
	if err != nil {
		return nil, err
	}
	again, release := h.second()
	defer release()
	cfg := jobrun.Config{
		Client: h.op, Namespace: namespace, Spec: spec, MaxParallel: h.nodes.config.MaxParallel, Leave: !h.flags.wait, RequestedBy: h.user,
		Again: again,
	}
	var made *v1alpha1.NodeJob
	cfg.Made = func(j *v1alpha1.NodeJob) {
		made = j
		h.say("► asking %s by NodeJob %s/%s\n", count(len(nodes), "node"), j.Namespace, j.Name)
	}
	cfg.Unheard = func(*v1alpha1.NodeJob) {
		h.say("%s no controller has looked at it yet\n  see: %s\n", h.paint.warn(), h.commandLine("status"))
	}
	outcomes, err := jobrun.Run(ctx, cfg, nodes, job)
	switch {
	case errors.Is(err, jobrun.ErrLeft) && cfg.Leave:
		return nil, leftError{made}
	case errors.Is(err, jobrun.ErrLeft):
		h.say("It goes on.\n  see:    %s\n  cancel: %s\n", h.see(made), h.cancel(made))
		return nil, exitError{term.ExitInterrupted}
	case errors.Is(err, jobrun.ErrCancelled):
		h.say("Cancelled: NodeJob %s/%s is deleted. The nodes finish what they are doing; what is done stays done.\n", made.Namespace, made.Name)
		return nil, exitError{term.ExitInterrupted}
	case err != nil && made != nil && ctx.Err() == nil:
		h.say("%s NodeJob %s/%s may go on\n  see: %s\n", h.paint.warn(), made.Namespace, made.Name, h.see(made))
	}
	return outcomes, err
}

// leftError ends a command that has made a NodeJob and does not wait for it.
type leftError struct{ job *v1alpha1.NodeJob }

func (e leftError) Error() string { return "NodeJob " + e.job.Name + " is not waited for" }

// left prints a NodeJob that is not waited for, as kubectl prints what it has created.
func (a *app) left(o *output, err error) error {
	left, ok := errors.AsType[leftError](err)
	if !ok {
		return err
	}
	if o.structured() {
		return a.printObject(o, left.job)
	}
	line := "nodejob.orlop.dev/" + left.job.Name
	if o.format != "name" {
		line += " created"
	}
	if _, err := fmt.Fprintln(a.Out, line); err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "See: %s\n", a.see(left.job))
	return nil
}

// secondWithin is how soon a second Ctrl-C must come to cancel what the first one left going.
const secondWithin = 2 * time.Second

// second waits, after an interruption, for another one. It must be prepared before the first: that one ends the program's own handling,
// and the next would end the program.
func (a *app) second() (again func(*v1alpha1.NodeJob) bool, release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt)
	return func(job *v1alpha1.NodeJob) bool {
		a.say("Interrupted: NodeJob %s goes on; Ctrl-C again within %s cancels it.\n", job.Name, secondWithin)
		within := time.NewTimer(secondWithin)
		defer within.Stop()
		heardFirst(signals)
		select {
		case <-signals:
			return true
		case <-within.C:
			return false
		}
	}, func() { signal.Stop(signals) }
}

// heardFirst takes the first interruption, which came here too if it was a Ctrl-C: it may be a moment behind.
func heardFirst(signals <-chan os.Signal) {
	moment := time.NewTimer(100 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-signals:
	case <-moment.C:
	}
}

// spec chooses the nodes as the flags do: by labels, which goes on to mean the same, or by the names that were found.
func (h *jobHands) spec(nodes []fleet.Node) (v1alpha1.NodeJobSpec, error) {
	parallelism := intstr.FromInt(h.nodes.config.MaxParallel)
	ttl := int32(h.flags.ttl.Seconds())
	spec := v1alpha1.NodeJobSpec{
		Parallelism: &parallelism, TTLSecondsAfterFinished: &ttl,
		// As the pods do: whoever names nodes, or all, means tainted ones too.
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
	}
	choice := h.nodes.choice
	labels, affinity, err := selectNodes(choice.Selector)
	if err != nil || choice.FieldSelector != "" || len(choice.Names) > 0 {
		spec.NodeNames = namesOf(nodes)
	} else {
		spec.NodeSelector, spec.Affinity = labels, affinity
	}
	if len(spec.NodeNames) > maxNodeNames {
		return spec, fmt.Errorf("a NodeJob names at most %d nodes, but %d are chosen: choose them by labels, with -l", maxNodeNames, len(spec.NodeNames))
	}
	if len(h.secrets) > 0 {
		spec.Pull = &v1alpha1.PullAction{}
		for _, secret := range h.secrets {
			spec.Pull.ImagePullSecrets = append(spec.Pull.ImagePullSecrets, v1alpha1.SecretReference{Name: secret.name})
		}
	}
	return spec, nil
}

// maxNodeNames is what the schema has.
const maxNodeNames = 5000
