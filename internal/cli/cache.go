// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/term"
)

// waitTimeout is how long a cache may take to be ready before a wait gives up.
const waitTimeout = 10 * time.Minute

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cache", GroupID: groupDeclare, Short: "Create, refresh or purge ImageCaches: images kept on chosen nodes",
		Long: `Create, refresh or purge ImageCaches: images that an installed Orlop keeps on chosen nodes. They are ordinary objects:
kubectl get, edit, apply, wait and delete work on them as well.`,
		Example: a.examples(`
			{} cache create web --image nginx:1.29 --image ghcr.io/acme/web:2026.11.2 -l pool=web --wait
			{} cache create web --image nginx:1.29 --dry-run=client -o yaml > web.yaml
			{} cache refresh web
			{} cache purge web -n shop`),
		Args: a.unknownCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.cacheCreateCommand(), a.pokeCommand(refreshing), a.pokeCommand(purging))
	for _, sub := range cmd.Commands() {
		a.completeFlags(sub)
	}
	return cmd
}

type cacheCreateOptions struct {
	*app
	namespaced
	output   output
	images   []string
	selector string
	secrets  []string
	refresh  time.Duration
	noPin    bool
	keep     bool
	dryRun   string
	wait     bool
	timeout  time.Duration
}

func (a *app) cacheCreateCommand() *cobra.Command {
	o := &cacheCreateOptions{app: a}
	cmd := &cobra.Command{
		Use: "create NAME --image IMAGE…", Short: "Create an ImageCache",
		Long: `Create an ImageCache: its images are pulled to every node, or to those that -l chooses, and kept there; nodes that join later get
them too.`,
		Example: a.examples(`
			{} cache create web --image nginx:1.29 --image redis:8
			{} cache create models --image vllm/vllm-openai:v0.14.1 -l pool=gpu --pull-secret regcred --wait
			{} cache create web --image ghcr.io/acme/web:latest --refresh 5m -n shop
			{} cache create web --image nginx:1.29 --dry-run=client -o yaml`),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := o.complete(args, cmd.Flags().Changed("refresh"))
			if _, ok := errors.AsType[advised](err); ok {
				return err
			}
			if err != nil {
				return usageError{err, a.program + " cache create --help"}
			}
			return o.run(cmd.Context(), wanted)
		},
	}
	flags := cmd.Flags()
	o.add(flags)
	o.output.add(flags)
	flags.StringArrayVar(&o.images, "image", nil, "an `image` to keep; may be repeated")
	flags.StringVarP(&o.selector, "selector", "l", "", "nodes by `label`, such as pool=web,zone!=b; unset: every node")
	flags.StringSliceVar(&o.secrets, "pull-secret", nil, "a `Secret` of the namespace with registry credentials; may be repeated")
	flags.DurationVar(&o.refresh, "refresh", 15*time.Minute, "how often tags with policy Always are looked up in the registry; 0s: never")
	flags.BoolVar(&o.noPin, "no-pin", false, "leave the images to the kubelet's garbage collection")
	flags.BoolVar(&o.keep, "keep", false, "leave the images on the nodes when the cache lets them go")
	flags.StringVar(&o.dryRun, "dry-run", "none", "none, client (print only), or server (have it checked)")
	flags.Lookup("dry-run").NoOptDefVal = "server"
	flags.BoolVar(&o.wait, "wait", false, "wait until it is ready")
	flags.DurationVar(&o.timeout, "timeout", waitTimeout, "how long to wait")
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions(dryRuns, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var dryRuns = []string{"none", "client", "server"}

func (o *cacheCreateOptions) complete(args []string, refresh bool) (*v1alpha1.ImageCache, error) {
	switch {
	case len(args) == 0:
		return nil, errors.New("name the ImageCache")
	case len(args) > 1:
		return nil, advised{fmt.Errorf("an ImageCache has one name, and %q is a second one; give images with --image", args[1]), o.withImages(args)}
	}
	name, err := cacheName(args, true)
	if err != nil {
		return nil, err
	}
	switch {
	case len(o.images) == 0:
		return nil, errors.New("name at least one image with --image")
	case o.wait && o.dryRun != "none":
		return nil, errors.New("--wait has nothing to wait for with --dry-run")
	case o.refresh < 0:
		return nil, fmt.Errorf("--refresh is a time span such as 15m, or 0s, not %s", o.refresh)
	}
	if err := errors.Join(oneOf("--dry-run", o.dryRun, dryRuns), o.output.check()); err != nil {
		return nil, err
	}
	cache := &v1alpha1.ImageCache{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ImageCache"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	if cache.Namespace, err = o.of(o.app); err != nil {
		return nil, err
	}
	if cache.Spec, err = o.spec(); err != nil {
		return nil, err
	}
	if refresh {
		cache.Spec.RefreshInterval = o.refresh.String()
	}
	return cache, nil
}

// withImages is the command that was meant by one that names its images behind the name.
func (o *cacheCreateOptions) withImages(args []string) string {
	words := []string{"cache", "create", args[0]}
	for _, image := range append(slices.Clone(o.images), args[1:]...) {
		words = append(words, "--image", image)
	}
	return o.commandLine(words...)
}

func (o *cacheCreateOptions) spec() (v1alpha1.ImageCacheSpec, error) {
	var spec v1alpha1.ImageCacheSpec
	var errs []error
	for _, image := range o.images {
		_, err := oci.Parse(image)
		errs = append(errs, err)
		spec.Images = append(spec.Images, v1alpha1.CachedImage{Image: image})
	}
	for _, secret := range o.secrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, v1alpha1.SecretReference{Name: secret})
	}
	if o.noPin {
		spec.Pin = new(false)
	}
	if o.keep {
		spec.RemovalPolicy = v1alpha1.RemovalPolicyKeep
	}
	var err error
	spec.NodeSelector, spec.Affinity, err = selectNodes(o.selector)
	return spec, errors.Join(append(errs, err)...)
}

// selectNodes makes a selector of labels what our kinds have: equalities as nodeSelector, all else as required affinity.
func selectNodes(selector string) (map[string]string, *v1alpha1.Affinity, error) {
	parsed, err := labels.Parse(selector)
	if err != nil {
		return nil, nil, fmt.Errorf("--selector %q: %w", selector, err)
	}
	requirements, _ := parsed.Requirements()
	var equal map[string]string
	var terms []corev1.NodeSelectorRequirement
	for _, r := range requirements {
		values := r.Values().List()
		operator, known := operators[r.Operator()]
		switch {
		case r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals:
			if equal == nil {
				equal = map[string]string{}
			}
			if other, ok := equal[r.Key()]; ok && other != values[0] {
				return nil, nil, fmt.Errorf("--selector %q: no node has two values of %s", selector, r.Key())
			}
			equal[r.Key()] = values[0]
		case !known:
			return nil, nil, fmt.Errorf("--selector %q: %s is not for nodes", selector, r.Operator())
		default:
			terms = append(terms, corev1.NodeSelectorRequirement{Key: r.Key(), Operator: operator, Values: values})
		}
	}
	if len(terms) == 0 {
		return equal, nil, nil
	}
	return equal, &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: terms}},
	}}}, nil
}

var operators = map[selection.Operator]corev1.NodeSelectorOperator{
	selection.In: corev1.NodeSelectorOpIn, selection.NotIn: corev1.NodeSelectorOpNotIn, selection.NotEquals: corev1.NodeSelectorOpNotIn,
	selection.Exists: corev1.NodeSelectorOpExists, selection.DoesNotExist: corev1.NodeSelectorOpDoesNotExist,
	selection.GreaterThan: corev1.NodeSelectorOpGt, selection.LessThan: corev1.NodeSelectorOpLt,
}

func (o *cacheCreateOptions) run(ctx context.Context, wanted *v1alpha1.ImageCache) error {
	if o.dryRun == "client" {
		return o.told(wanted, " (dry run)")
	}
	op, err := o.mustBeInstalled(ctx)
	if err != nil {
		return err
	}
	if o.wait && term.IsTerminal(o.Err) { // From its first pull on, it is to tell how far it is.
		wanted.Annotations = map[string]string{v1alpha1.AnnotationWatchedUntil: operator.WatchUntil(time.Now())}
	}
	made, err := op.CreateCache(ctx, wanted, o.dryRun == "server")
	switch {
	case apierrors.IsAlreadyExists(err):
		return advised{fmt.Errorf("ImageCache %s/%s already exists", wanted.Namespace, wanted.Name), "kubectl edit imagecache " + wanted.Name + " -n " + wanted.Namespace}
	case apierrors.IsNotFound(err):
		return advised{fmt.Errorf("there is no namespace %s", wanted.Namespace), "kubectl create namespace " + wanted.Namespace}
	case err != nil:
		return err
	}
	if o.dryRun == "server" {
		return o.told(made, " (server dry run)")
	}
	if !o.wait {
		if err := o.told(made, ""); err != nil {
			return err
		}
		fmt.Fprintf(o.Err, "See: %s\n", o.commandLine("status", "imagecache/"+made.Name, "-n", made.Namespace, "--wait"))
		return nil
	}
	fmt.Fprintf(o.Err, "imagecache.orlop.dev/%s created\n", made.Name)
	s := &cacheStatus{app: o.app, output: o.output, op: op, namespace: made.Namespace, name: made.Name}
	return s.await(ctx, o.timeout)
}

// told prints a cache as kubectl prints what it has created.
func (o *cacheCreateOptions) told(cache *v1alpha1.ImageCache, how string) error {
	return o.toldCreated(&o.output, cache, "imagecache.orlop.dev/"+cache.Name, how)
}
