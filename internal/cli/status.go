// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

type statusOptions struct {
	*app
	namespaced
	output  output
	agents  string
	wait    bool
	timeout time.Duration
}

func (a *app) statusCommand() *cobra.Command {
	o := &statusOptions{app: a}
	cmd := &cobra.Command{
		Use: "status [KIND/NAME]", GroupID: groupDeclare, Short: "Show the state of an installed Orlop, or of one of its objects",
		Long: `Show the state of an installed Orlop: its controller, its agents, the nodes' runtimes, its ImageCaches, NodeJobs and schedules. Or show
one object: for an ImageCache its images, on how many nodes they are, and what went wrong; for a NodeJob what each node answered; for a
NodeCronJob its last and next run.

--wait waits until it is ready, or for a NodeJob until it has ended. Exit code 3: it cannot become ready without you (Stalled, suspended,
purged), or some node failed or was skipped; 4: timed out.`,
		Example: a.examples(`
			{} status
			{} status imagecache/web -n shop
			{} status ic/web -n shop --wait --timeout 10m
			{} status nodejob/rm-x7k2p --wait
			{} status nodecronjob/weekly -n ops`),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := o.output.check()
			of, name := cacheKind, ""
			if err == nil && len(args) > 0 {
				of = kindIn(args[0])
				name, err = of.name(args, false)
			}
			if err == nil && o.timeout <= 0 {
				err = fmt.Errorf("--timeout is a time span such as 30s, not %s", o.timeout)
			}
			if err != nil {
				return usageError{err, a.program + " status --help"}
			}
			if name != "" {
				return o.object(cmd.Context(), of, name)
			}
			return o.run(cmd.Context())
		},
	}
	cmd.ValidArgsFunction = a.completeKinds(&o.namespaced, map[string]kind{"imagecache/": cacheKind, "nodejob/": jobKind, "nodecronjob/": cronKind})
	flags := cmd.Flags()
	o.add(flags)
	o.output.add(flags)
	o.output.addSizes(flags)
	flags.StringVar(&o.agents, "agent-namespace", "", "the `namespace` of the install; unset: it is searched for")
	flags.BoolVar(&o.wait, "wait", false, "wait until it is ready")
	flags.DurationVar(&o.timeout, "timeout", waitTimeout, "how long to wait")
	return cmd
}

// kindIn is the kind that an argument such as nj/rm-x7k2p names; what it names none of is read as an ImageCache, whose words tell.
func kindIn(arg string) kind {
	word, _, _ := strings.Cut(arg, "/")
	for _, k := range []kind{jobKind, cronKind} {
		if k.is(word) {
			return k
		}
	}
	return cacheKind
}

func (o *statusOptions) object(ctx context.Context, of kind, name string) error {
	namespace, err := o.of(o.app)
	if err != nil {
		return err
	}
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	switch of.title {
	case jobKind.title:
		return o.job(ctx, op, namespace, name)
	case cronKind.title:
		return o.cron(ctx, op, namespace, name)
	}
	s := &cacheStatus{app: o.app, output: o.output, op: op, namespace: namespace, name: name}
	if o.wait {
		return s.await(ctx, o.timeout)
	}
	return s.show(ctx)
}

// installStatus is the answer of status for programs.
type installStatus struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Version    string         `json:"version,omitempty"`
	Namespace  string         `json:"namespace"`
	Kubernetes string         `json:"kubernetes,omitempty"`
	Controller partStatus     `json:"controller"`
	Agents     partStatus     `json:"agents"`
	NotReady   []agentTrouble `json:"agentsNotReady,omitempty"`
	Runtimes   map[string]int `json:"runtimes"`
	Caches     cacheCounts    `json:"caches"`
	Jobs       jobCounts      `json:"jobs"`
	CronJobs   cronCounts     `json:"cronJobs"`
	// Hidden is what could not be looked at, for want of a right.
	Hidden []string `json:"hidden,omitempty"`

	noAgentSet bool
	// gaveUp is why it was not waited for any longer.
	gaveUp string
}

type partStatus struct {
	Desired int    `json:"desired"`
	Ready   int    `json:"ready"`
	Leader  string `json:"leader,omitempty"`
	Message string `json:"message,omitempty"`
}

type agentTrouble struct {
	Node    string `json:"node"`
	Message string `json:"message"`
}

type cacheCounts struct {
	Ready       int      `json:"ready"`
	Progressing int      `json:"progressing"`
	Stalled     int      `json:"stalled"`
	StalledOnes []string `json:"stalledCaches,omitempty"`
	// Idle are suspended or purged.
	Idle int `json:"idle"`
}

func (o *statusOptions) run(ctx context.Context) error {
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	now, err := o.gather(ctx, op)
	if err != nil {
		return err
	}
	code := term.ExitOK
	if o.wait {
		if now, code, err = o.await(ctx, op, now); err != nil {
			return err
		}
	}
	if o.output.structured() {
		err = o.printObject(&o.output, now)
	} else {
		err = o.print(now)
	}
	if err != nil {
		return err
	}
	if code != term.ExitOK {
		sentence(o.Err, 2, "%s %s", o.paint.bad("✗"), now.gaveUp)
		fmt.Fprintf(o.Err, "  try: %s\n", o.commandLine("check"))
	}
	return exitWith(code)
}

func (o *statusOptions) gather(ctx context.Context, op *operator.Client) (installStatus, error) {
	found, err := op.Install(ctx, o.agents)
	if err != nil {
		return installStatus{}, err
	}
	if found.Nothing() {
		return installStatus{}, advised{errLeftKinds, o.commandLine("check", "--pre")}
	}
	now := installStatus{
		APIVersion: apiVersion, Kind: "InstallStatus", Version: found.Version, Namespace: found.Namespace,
		Controller: partStatus{Desired: int(found.Replicas), Ready: int(found.Ready), Leader: found.Leader, Message: found.Why},
		Agents:     partStatus{Desired: max(int(found.Desired), len(found.Agents))},
		Runtimes:   map[string]int{}, Hidden: found.Hidden, noAgentSet: found.Sets == 0,
	}
	for _, node := range slices.Sorted(maps.Keys(found.Agents)) {
		if agent := found.Agents[node]; agent.Ready {
			now.Agents.Ready++
		} else {
			now.NotReady = append(now.NotReady, agentTrouble{cmp.Or(node, agent.Pod), agent.Why})
		}
	}
	if info, err := op.Core().Discovery().ServerVersion(); err == nil {
		now.Kubernetes = info.GitVersion
	}
	stores, err := op.Stores(ctx, nil)
	if err != nil {
		return now, err
	}
	for _, store := range stores {
		if name, version, ok := strings.Cut(store.Status.Runtime, "://"); ok {
			now.Runtimes[name+" "+strings.TrimPrefix(version, "v")]++
		}
	}
	all, err := op.Caches(ctx, "")
	if err != nil {
		return now, err
	}
	now.Caches = countCaches(all)
	return now, now.countJobs(ctx, op)
}

func countCaches(all []v1alpha1.ImageCache) cacheCounts {
	var c cacheCounts
	for i := range all {
		conditions := all[i].Status.Conditions
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		current := ready != nil && all[i].Status.ObservedGeneration >= all[i].Generation
		switch {
		case current && (ready.Reason == v1alpha1.ReasonSuspended || ready.Reason == v1alpha1.ReasonPurged):
			c.Idle++
		case current && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady):
			c.Ready++
		case current && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
			c.Stalled++
			c.StalledOnes = append(c.StalledOnes, all[i].Namespace+"/"+all[i].Name)
		default:
			c.Progressing++
		}
	}
	return c
}

func (o *statusOptions) print(now installStatus) error {
	t := &table.Table{Columns: []table.Column{{Name: "PART"}, {Name: "STATE"}, {Name: "MESSAGE"}}}
	message := now.Controller.Message
	if now.Controller.Leader != "" {
		message = strings.TrimSuffix("leader "+now.Controller.Leader+"; "+message, "; ")
	}
	if now.Controller.Desired == 0 && len(now.Hidden) == 0 {
		message = "no Deployment of it is found, or it is scaled to 0"
	}
	t.Add("controller", fmt.Sprintf("%d/%d ready", now.Controller.Ready, now.Controller.Desired), message)
	t.Add("agents", fmt.Sprintf("%d/%d ready", now.Agents.Ready, now.Agents.Desired), notReady(now.NotReady))
	var runtimes []string
	for _, runtime := range slices.Sorted(maps.Keys(now.Runtimes)) {
		runtimes = append(runtimes, fmt.Sprintf("%s ×%d", runtime, now.Runtimes[runtime]))
	}
	t.Add("runtimes", cmp.Or(strings.Join(runtimes, ", "), "not known yet"), "")
	t.Add("caches", now.Caches.String(), some(now.Caches.StalledOnes))
	t.Add("jobs", now.Jobs.String(), some(now.Jobs.FailedOnes))
	t.Add("cron jobs", now.CronJobs.String(), now.CronJobs.next(time.Now()))
	if o.output.format == "csv" {
		return o.app.print(&o.output, answer{table: t}) //nolint:forbidigo // A method of ours, and not the builtin.
	}
	if o.output.format == "name" {
		_, err := fmt.Fprintln(o.Out, "namespace/"+now.Namespace)
		return err
	}
	fmt.Fprintf(o.Out, "orlop %s in %s · Kubernetes %s\n", cmp.Or(now.Version, "(version not known)"), now.Namespace, cmp.Or(now.Kubernetes, "(version not known)"))
	for _, row := range t.Rows {
		if row[0] == "runtimes" { // Its length is no measure for the others.
			sentence(o.Out, 13, "%-10s   %s", row[0], row[1])
			continue
		}
		if len(now.Hidden) > 0 && row[1] == "0/0 ready" {
			row[1] = "not seen"
		}
		sentence(o.Out, 28, "%s", strings.TrimRight(fmt.Sprintf("%-10s   %-12s   %s", row[0], row[1], row[2]), " "))
	}
	o.hidden(now)
	if o.output.format == "wide" {
		for _, trouble := range now.NotReady {
			sentence(o.Out, 4, "  %s: %s", trouble.Node, trouble.Message)
		}
	}
	return nil
}

// hidden says what could not be looked at, and what would let it be.
func (o *statusOptions) hidden(now installStatus) {
	for _, words := range now.Hidden {
		if right, _ := rightIn(words); right != "" {
			words = "you have no permission to " + right
		}
		sentence(o.Err, 2, "%s %s", o.paint.warn(), words)
	}
	if len(now.Hidden) > 0 {
		fmt.Fprintf(o.Err, "  try: %s\n", bindView(now.Hidden[0], now.Namespace))
	}
}

// notReady names the nodes of which the same is said together, and the most of them first.
func notReady(troubles []agentTrouble) string {
	var found groups[string]
	for _, trouble := range troubles {
		_, why, _ := strings.Cut(trouble.Message, ": ")
		found.add(why, trouble.Node)
	}
	slices.SortStableFunc(found.all, func(a, b group[string]) int { return cmp.Compare(len(b.names), len(a.names)) })
	var parts []string
	for _, g := range found.all {
		parts = append(parts, some(g.names)+": "+g.said)
	}
	return strings.Join(parts, "; ")
}

func (c cacheCounts) String() string {
	return inLine(tallied{c.Ready, "ready"}, tallied{c.Progressing, "progressing"}, tallied{c.Stalled, "stalled"}, tallied{c.Idle, "suspended or purged"})
}
