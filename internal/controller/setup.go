// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package controller puts the reconcilers together to one program.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/assign"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/controller/apply"
	"orlop.dev/orlop/internal/controller/imagecache"
	"orlop.dev/orlop/internal/controller/imagestore"
	"orlop.dev/orlop/internal/controller/nodecronjob"
	"orlop.dev/orlop/internal/controller/nodejob"
	"orlop.dev/orlop/internal/controller/nodejob/podrun"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/registry"
)

// Config is what the program was asked for.
type Config struct {
	Version                                  string
	Namespace, MetricsAddress, HealthAddress string
	LeaderElect                              bool
	// DriftSeries is how many tags have a series in orlop_tag_drift_nodes; 0: none has.
	DriftSeries   int
	RetireTimeout time.Duration
	// NoTemplates: the pods of NodeJobs are not to be run.
	NoTemplates bool
	// Mirrors are asked instead of registries, host by host; "*" stands for every other.
	Mirrors map[string]string
}

// AddMirror reads HOST=MIRROR[/PATH].
func (c *Config) AddMirror(text string) error {
	host, mirror, ok := strings.Cut(text, "=")
	if !ok || host == "" || mirror == "" {
		return fmt.Errorf("%q is not HOST=MIRROR[/PATH]", text)
	}
	if c.Mirrors == nil {
		c.Mirrors = map[string]string{}
	}
	c.Mirrors[host] = mirror
	return nil
}

// facts is how many caches may be waiting for their nodes to be told.
const facts = 1024

// RESTConfig tells how to reach the API server: from within the cluster, unless a kubeconfig is given.
func RESTConfig(kubeconfig, version string) (*rest.Config, error) {
	cfg, err := rest.InClusterConfig()
	if kubeconfig != "" || errors.Is(err, rest.ErrNotInCluster) {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = kubeconfig
		cfg, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	// The API server shares out its capacity by itself, by priority and fairness.
	cfg.QPS = -1
	cfg.UserAgent = "orlop-controller/" + version
	return cfg, nil
}

func scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, eventsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return s, nil
}

// Run works until the context ends.
func Run(ctx context.Context, cfg *rest.Config, c Config) error {
	if c.Namespace == "" {
		return errors.New("--namespace is not set, nor POD_NAMESPACE: it is where Orlop is installed")
	}
	options, err := managerOptions(cfg, c)
	if err != nil {
		return err
	}
	mgr, err := manager.New(cfg, options)
	if err != nil {
		return fmt.Errorf("building the manager: %w", err)
	}
	if err := setup(ctx, mgr, c); err != nil {
		return err
	}
	introduce(c.Version)
	slog.Info("starting", "version", c.Version, "namespace", c.Namespace)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

func managerOptions(cfg *rest.Config, c Config) (manager.Options, error) {
	s, err := scheme()
	if err != nil {
		return manager.Options{}, err
	}
	withRole, err := labels.Parse(v1alpha1.LabelRole)
	if err != nil {
		return manager.Options{}, fmt.Errorf("choosing pods: %w", err)
	}
	options := manager.Options{
		Scheme:                 s,
		Metrics:                metricsserver.Options{BindAddress: c.MetricsAddress},
		HealthProbeBindAddress: c.HealthAddress,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Node{}: {Transform: imagestore.SlimNode},
				&corev1.Pod{}:  {Label: withRole, Transform: slimPod},
			},
		},
		Client: client.Options{
			FieldOwner: apply.Owner,
			Cache: &client.CacheOptions{
				DisableFor:                      []client.Object{&corev1.Secret{}, &corev1.ServiceAccount{}},
				EnableReadYourWritesConsistency: new(true),
			},
		},
		LeaderElection:                c.LeaderElect,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	}
	if c.LeaderElect {
		options.LeaderElectionResourceLockInterface, err = lock(cfg, c.Namespace)
	}
	return options, err
}

// slimPod leaves of each pod in the cache what its readers need.
func slimPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok && pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleNodeJob {
		return podrun.Slim(pod), nil
	}
	return imagestore.SlimPod(object)
}

func setup(ctx context.Context, mgr manager.Manager, c Config) error {
	if err := errors.Join(imagestore.IndexPods(ctx, mgr.GetFieldIndexer()), podrun.IndexPods(ctx, mgr.GetFieldIndexer())); err != nil {
		return err
	}
	known := catalog.New()
	agents := imagestore.NewAgents(mgr.GetClient(), c.Namespace)
	secrets := pullsecret.New(mgr.GetAPIReader())
	changed := make(chan event.GenericEvent, facts)
	recorder := mgr.GetEventRecorder(apply.Owner)
	var caches *imagecache.Controller
	stores := imagestore.New(imagestore.Config{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Agents: agents, Catalog: known, Secrets: secrets, Changed: changed, Recorder: recorder,
		Wake: func(ctx context.Context, cache types.NamespacedName) { caches.Wake(ctx, cache) },
	})
	caches = imagecache.New(imagecache.Config{
		Client: mgr.GetClient(), Secrets: secrets, Registry: &registry.Resolver{Mirrors: c.Mirrors}, Catalog: known, Changed: changed, Recorder: recorder, DriftSeries: c.DriftSeries,
		AgentReady: func(node string) bool { return agents.Ready(ctx, node) }, Refusal: stores.Refusal, LeftOut: stores.LeftOut,
	})
	ledger := assign.New(stores.Ask)
	stores.Jobs = ledger
	jobs := nodejob.New(nodejob.Config{
		Client: mgr.GetClient(), Ledger: ledger, Secrets: secrets, Recorder: recorder, Agent: agents.Expected, Refusal: stores.Refusal, Wake: stores.Ask, NoTemplates: c.NoTemplates,
		Pods: &podrun.Runner{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: recorder},
	})
	crons := nodecronjob.New(nodecronjob.Config{Client: mgr.GetClient(), Recorder: recorder, NoTemplates: c.NoTemplates})
	orphans := &podrun.Orphans{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}
	if err := errors.Join(stores.SetupWithManager(mgr), caches.SetupWithManager(mgr), jobs.SetupWithManager(mgr), crons.SetupWithManager(ctx, mgr), orphans.SetupWithManager(mgr),
		mgr.Add(manager.RunnableFunc(crew.lead(agents)))); err != nil {
		return err
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping))
}

// stopTimeout is how long the controller may take to end; it is given 10 seconds to return its lease.
const stopTimeout = 15 * time.Second

// Retire makes every node let go, says which did not, stops the controller, and takes away what only that would: the nodes' objects, and
// the finalizers of pods. A node that does not answer is no error.
func Retire(ctx context.Context, cfg *rest.Config, c Config) error {
	installed, err := operator.New(cfg)
	if err != nil {
		return err
	}
	if err := letGo(ctx, installed, c.RetireTimeout); err != nil {
		return err
	}
	if c.Namespace != "" {
		stopping, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		if err := installed.StopController(stopping, c.Namespace); err != nil {
			slog.Warn("going on beside a controller that may undo it", "error", err.Error())
		}
	}
	released, err := installed.ReleasePods(ctx)
	slog.Info("pods of NodeJobs released", "released", released)
	return errors.Join(err, installed.DeleteNodeObjects(ctx))
}

func letGo(ctx context.Context, installed *operator.Client, timeout time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answered, silent, err := installed.Retire(waiting, func(string) bool { return true })
	if apierrors.IsNotFound(err) {
		slog.Info("nobody to retire: the kinds are not there")
		return nil
	}
	if err == nil {
		slog.Info("retired", "answered", len(answered), "silent", len(silent), "silentNodes", strings.Join(silent, ","))
	}
	return err
}
