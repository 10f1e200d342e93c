// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/suggest"
)

func (a *app) cronCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cron", GroupID: groupDeclare, Short: "Put a pull, a removal or a prune on a schedule, or run one now",
		Long: `Put a pull, a removal or a prune on a schedule, or run one now. A NodeCronJob creates a NodeJob at each time of its schedule; kubectl
get, edit, apply and delete work on it as well.`,
		Example: a.examples(`
			{} cron create weekly --schedule '0 3 * * 0' prune --all --unused-for 7d
			{} cron create nightly --schedule @daily --time-zone Europe/Berlin pull ghcr.io/acme/web:latest -l pool=web
			{} cron create weekly --schedule '0 3 * * 0' prune --all --dry-run=client -o yaml > weekly.yaml
			{} cron run weekly`),
		Args: a.unknownCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.cronCreateCommand(), a.cronRunCommand())
	for _, sub := range cmd.Commands() {
		a.completeFlags(sub)
	}
	return cmd
}

// cronActions are what can be put on a schedule from the command line. Pods are for YAML.
var cronActions = []string{"pull", "rm", "prune"}

type cronCreateOptions struct {
	*app
	namespaced
	output   output
	schedule string
	zone     string
	policy   string
	deadline time.Duration
	suspend  bool
	dryRun   string

	selector string
	nodes    []string
	parallel int
	pull     string
	secrets  []string
	force    bool
	prune    func(time.Time) (plan.PruneRequest, error)
	flags    *pflag.FlagSet
}

func (a *app) cronCreateCommand() *cobra.Command {
	o := &cronCreateOptions{app: a}
	cmd := &cobra.Command{
		Use: "create NAME --schedule SCHEDULE pull|rm|prune [IMAGE…]", Short: "Create a NodeCronJob",
		Long: `Create a NodeCronJob, which pulls, removes or prunes images on every node, or on those that -l chooses, at each time of a schedule. After
its name comes what to do, with the flags of that command. The schedule is the five fields of cron, or @daily, @every 90m and the
like, in the time zone of --time-zone, else in UTC.`,
		Example: a.examples(`
			{} cron create weekly --schedule '0 3 * * 0' prune --all --unused-for 7d
			{} cron create minchou --schedule '*/5 * * * *' rm 'docker.io/minchou/*'
			{} cron create nightly --schedule @daily --time-zone Europe/Berlin pull ghcr.io/acme/web:latest --pull-secret regcred
			{} cron create weekly --schedule '0 3 * * 0' prune --all --dry-run=client -o yaml`),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := o.complete(args)
			if err != nil {
				return usageError{err, a.program + " cron create --help"}
			}
			return o.run(cmd.Context(), wanted)
		},
	}
	o.flags = cmd.Flags()
	o.add(o.flags)
	o.output.add(o.flags)
	o.flags.StringVar(&o.schedule, "schedule", "", "when: five fields of `cron`, or @hourly, @daily, @weekly, @monthly, @every 90m")
	o.flags.StringVar(&o.zone, "time-zone", "", "the time `zone` of the schedule, such as Europe/Berlin; unset: UTC")
	o.flags.StringVar(&o.policy, "concurrency-policy", "", "what to do when a run is due while another is under way: Allow, Forbid or Replace")
	o.flags.DurationVar(&o.deadline, "starting-deadline", 0, "how late a run may start; unset: any")
	o.flags.BoolVar(&o.suspend, "suspend", false, "create it, but start no runs yet")
	o.flags.StringVar(&o.dryRun, "dry-run", "none", "none, client (print only), or server (have it checked)")
	o.flags.Lookup("dry-run").NoOptDefVal = "server"
	mark(o.flags, flagsOfNodes, func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.selector, "selector", "l", "", "nodes by `label`, such as pool=web,zone!=b; unset: every node")
		flags.StringSliceVar(&o.nodes, "node", nil, "nodes by `name`, such as a,b; may be repeated")
		flags.IntVar(&o.parallel, "max-parallel", 0, "how many nodes work at once; unset: all")
	})
	mark(o.flags, flagsOfPull, func(flags *pflag.FlagSet) {
		flags.StringVar(&o.pull, "policy", "", "`when` to pull: Always or IfNotPresent; unset: as for a Pod")
		flags.StringSliceVar(&o.secrets, "pull-secret", nil, "a `Secret` of the namespace with registry credentials; may be repeated")
	})
	mark(o.flags, flagsOfRemoval, func(flags *pflag.FlagSet) {
		flags.BoolVar(&o.force, "force", false, "also remove what arrived in the last 10 minutes, what an ImageCache keeps (it comes back), and images of containers that have exited")
	})
	mark(o.flags, flagsOfPrune, func(flags *pflag.FlagSet) { o.prune = ask.Prune(flags) })
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions(dryRuns, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("concurrency-policy", cobra.FixedCompletions(concurrency, cobra.ShellCompDirectiveNoFileComp))
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return cronActions, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

var concurrency = []string{string(v1alpha1.ConcurrencyAllow), string(v1alpha1.ConcurrencyForbid), string(v1alpha1.ConcurrencyReplace)}

func (o *cronCreateOptions) complete(args []string) (*v1alpha1.NodeCronJob, error) {
	if len(args) == 0 {
		return nil, errors.New("name the NodeCronJob")
	}
	name, err := cronKind.name(args[:1], true)
	if err != nil {
		return nil, err
	}
	switch {
	case len(args) == 1:
		return nil, fmt.Errorf("say after the name what to do: %s", strings.Join(cronActions, ", "))
	case !slices.Contains(cronActions, args[1]):
		return nil, fmt.Errorf("%q cannot be put on a schedule%s; it is one of %s", args[1], suggest.DidYouMean(args[1], cronActions), strings.Join(cronActions, ", "))
	case o.schedule == "":
		return nil, errors.New("say when, with --schedule, such as --schedule '0 3 * * 0'")
	case strings.Contains(o.schedule, "TZ="):
		return nil, errors.New("the time zone is not part of the schedule: give it with --time-zone")
	case o.parallel < 0 || o.deadline < 0:
		return nil, errors.New("--max-parallel and --starting-deadline must not be negative")
	}
	if o.policy != "" {
		err = oneOf("--concurrency-policy", o.policy, concurrency)
	}
	if err := errors.Join(err, oneOf("--dry-run", o.dryRun, dryRuns), o.output.check(), o.strangers(args[1]), choosesNodes(o.flags)); err != nil {
		return nil, err
	}
	cron := &v1alpha1.NodeCronJob{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeCronJob"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	if cron.Namespace, err = o.of(o.app); err != nil {
		return nil, err
	}
	cron.Spec = v1alpha1.NodeCronJobSpec{Schedule: o.schedule, ConcurrencyPolicy: v1alpha1.ConcurrencyPolicy(o.policy)}
	if o.zone != "" {
		cron.Spec.TimeZone = &o.zone
	}
	if o.deadline > 0 {
		cron.Spec.StartingDeadlineSeconds = new(int64(o.deadline.Seconds()))
	}
	if o.suspend {
		cron.Spec.Suspend = new(true)
	}
	cron.Spec.JobTemplate.Spec, err = o.spec(args[1], args[2:])
	return cron, err
}

// strangers refuses flags of another action: passed over, they would let more go than was meant.
func (o *cronCreateOptions) strangers(act string) error {
	belong := map[string][]string{flagsOfPull: {"pull"}, flagsOfRemoval: {"rm", "prune"}, flagsOfPrune: {"prune"}}
	var errs []error
	o.flags.Visit(func(f *pflag.Flag) {
		of := f.Annotations[flagGroup]
		if len(of) == 0 || belong[of[0]] == nil || slices.Contains(belong[of[0]], act) {
			return
		}
		errs = append(errs, fmt.Errorf("--%s is for %s, not for %s", f.Name, strings.Join(belong[of[0]], " and "), act))
	})
	return errors.Join(errs...)
}

// spec is what each run does, and where.
func (o *cronCreateOptions) spec(act string, images []string) (v1alpha1.NodeJobSpec, error) {
	spec := v1alpha1.NodeJobSpec{NodeNames: o.nodes, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}
	var err error
	if spec.NodeSelector, spec.Affinity, err = selectNodes(o.selector); err != nil {
		return spec, err
	}
	if o.parallel > 0 {
		spec.Parallelism = new(intstr.FromInt(o.parallel))
	}
	switch act {
	case "prune":
		if len(images) > 0 {
			return spec, fmt.Errorf("prune takes no argument, but got %q; choose images with --match or --filter", images[0])
		}
		spec.Prune, err = o.pruneAction()
		return spec, err
	case "rm":
		targets, err := ask.Targets(images)
		if err == nil && len(targets) == 0 {
			err = errors.New("name at least one image to remove, such as nginx:1.29 or 'docker.io/minchou/*'")
		}
		if err == nil {
			spec.Remove = action.FromRemove(plan.RemoveRequest{Targets: targets, Options: plan.Options{Force: o.force}})
		}
		return spec, err
	}
	refs, err := parseRefs(images)
	if err == nil && len(refs) == 0 {
		err = errors.New("name at least one image to pull, such as nginx:1.29")
	}
	if err == nil && o.pull != "" {
		err = oneOf("--policy", o.pull, pullPolicies)
	}
	if err != nil {
		return spec, err
	}
	spec.Pull = &v1alpha1.PullAction{ImagePullPolicy: corev1.PullPolicy(o.pull)}
	for _, ref := range refs {
		spec.Pull.Images = append(spec.Pull.Images, ref.String())
	}
	for _, secret := range o.secrets {
		spec.Pull.ImagePullSecrets = append(spec.Pull.ImagePullSecrets, v1alpha1.SecretReference{Name: secret})
	}
	return spec, nil
}

// pruneAction keeps spans as they were typed: counted back from now, a schedule would stand still.
func (o *cronCreateOptions) pruneAction() (*v1alpha1.PruneAction, error) {
	request, err := o.prune(time.Now())
	if err != nil {
		return nil, err
	}
	request.Options.Force = o.force
	a := action.FromPrune(request)
	a.UnusedFor, a.PulledBefore = o.flags.Lookup("unused-for").Value.String(), o.flags.Lookup("pulled-before").Value.String()
	return a, nil
}

func (o *cronCreateOptions) run(ctx context.Context, wanted *v1alpha1.NodeCronJob) error {
	if o.dryRun == "client" {
		return o.told(wanted, " (dry run)")
	}
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	made, err := op.CreateCronJob(ctx, wanted, o.dryRun == "server")
	switch {
	case apierrors.IsAlreadyExists(err):
		return advised{fmt.Errorf("NodeCronJob %s/%s already exists", wanted.Namespace, wanted.Name), "kubectl edit nodecronjob " + wanted.Name + " -n " + wanted.Namespace}
	case apierrors.IsNotFound(err):
		return advised{fmt.Errorf("there is no namespace %s", wanted.Namespace), "kubectl create namespace " + wanted.Namespace}
	case err != nil:
		return err
	case o.dryRun == "server":
		return o.told(made, " (server dry run)")
	}
	if err := o.told(made, ""); err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "Next run: %s\nRun now:  %s\n", o.here("kubectl", "get", "nodecronjob", made.Name, "-n", made.Namespace),
		o.commandLine("cron", "run", made.Name, "-n", made.Namespace))
	return nil
}

// told prints a NodeCronJob as kubectl prints what it has created.
func (o *cronCreateOptions) told(cron *v1alpha1.NodeCronJob, how string) error {
	return o.toldCreated(&o.output, cron, "nodecronjob.orlop.dev/"+cron.Name, how)
}
