// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/agent/apiserver"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/nodecli"
)

const (
	// tokenFile is where the kubelet keeps the token of a pod's ServiceAccount.
	tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

	// Memory is dearer than the agent's little time: it is on every node, and works for seconds a day.
	gcPercent   = 40
	memoryLimit = 48 << 20

	// serveTimeout bounds each request for metrics or health.
	serveTimeout = 10 * time.Second
)

// runAgent wires the agent to the API server and to the runtime.
func runAgent(ctx context.Context, o nodecli.AgentOptions) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	klog.SetSlogLogger(log) // What client-go has to say.
	cfg, err := restConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	api, err := apiserver.New(cfg, log)
	if err != nil {
		return err
	}
	uid, err := nodeUID()
	if err != nil {
		log.Warn("no credentials can be sealed to this node", "error", err)
	}
	metrics := agent.NewMetrics(version)
	a, err := agent.New(agent.Config{
		Node: o.Node, NodeUID: uid, Version: version, API: api, Log: log, Metrics: metrics,
		Open: func(ctx context.Context, runtime string) (engine.Interface, error) {
			return observer(metrics.Called).open(ctx, o.Endpoint, runtime)
		},
		Tidy:             debug.FreeOSMemory,
		MaxParallelPulls: o.MaxParallelPulls, PullTimeout: o.PullTimeout, Resync: o.Resync, DiskLimit: o.DiskLimit, PinLimit: o.PinLimit,
	})
	if err != nil {
		return err
	}
	log.Info("starting", "node", o.Node, "version", version)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(ctx) })
	if o.MetricsAddress != "" {
		group.Go(func() error { return serve(ctx, o.MetricsAddress, a.Handler()) })
	}
	return group.Wait()
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	cfg, err := rest.InClusterConfig()
	if kubeconfig != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	cfg.UserAgent = "orlop-node/" + version
	return cfg, nil
}

func nodeUID() (string, error) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return "", err
	}
	return agent.NodeUID(string(token))
}

func serve(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serving metrics and health: %w", err)
	}
	server := &http.Server{Handler: handler, ReadTimeout: serveTimeout, WriteTimeout: serveTimeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics and health: %w", err)
	}
	return nil
}
