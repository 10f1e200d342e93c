// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package hollow

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/agent/apiserver"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/plan"
)

// The claims of a token that is bound to a pod on a node: what the admission policy holds an agent to.
const (
	claimNode    = "authentication.kubernetes.io/node-name"
	claimNodeUID = "authentication.kubernetes.io/node-uid"
)

// employ starts the node's agent.
func (f *Fleet) employ(living context.Context, n *node) error {
	n.runtime = enginetest.NewContainerd(f.registry)
	n.runtime.BytesPerSecond = int64(layerBytes / f.Pull.Seconds())
	for i := range f.Held {
		name := fmt.Sprintf("docker.io/hollow/held-%03d:1", i)
		n.runtime.Load(enginetest.Content{Seed: name, Layers: []enginetest.Blob{{Seed: name, Size: layerBytes}}}, name)
	}
	log := slog.New(&f.warnings)
	api, err := apiserver.New(f.identity(n), log)
	if err != nil {
		return err
	}
	n.agent, err = agent.New(agent.Config{
		Node: n.object.Name, NodeUID: string(n.object.UID), Version: "hollow", API: api, Log: log, Disk: emptyDisk,
		Open: func(context.Context, string) (engine.Interface, error) { return &counted{n.runtime, f}, nil },
	})
	if err != nil {
		return err
	}
	f.jobs.Go(func() {
		if err := n.agent.Run(living); err != nil {
			f.warnings.add("running the agent of " + n.object.Name + ": " + err.Error())
		}
	})
	return nil
}

// identity is the administrator's configuration in the role of the agent on that node. Its own way to dial gives it a
// connection of its own: connections are shared by clients of equal configurations.
func (f *Fleet) identity(n *node) *rest.Config {
	config := rest.CopyConfig(f.Config)
	config.QPS = 0 // The agent leaves it at that.
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + f.Namespace + ":orlop-agent",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + f.Namespace, "system:authenticated"},
		Extra:    map[string][]string{claimNode: {n.object.Name}, claimNodeUID: {string(n.object.UID)}},
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}
	return config
}

func emptyDisk(string) plan.Disk {
	const size = 1 << 40
	return plan.Disk{Capacity: size, Available: size, Inodes: 1 << 26}
}

// counted is a runtime whose pulls are counted.
type counted struct {
	*enginetest.Containerd
	fleet *Fleet
}

// Pull is part of engine.Interface.
func (c *counted) Pull(ctx context.Context, req engine.PullRequest) (engine.Image, error) {
	img, err := c.Containerd.Pull(ctx, req)
	if err == nil {
		c.fleet.pulls.Add(1)
		c.fleet.lastPull.Store(time.Now().UnixNano())
	}
	return img, err
}

// warnings counts what agents warn of, and keeps the first.
type warnings struct {
	mu    sync.Mutex
	count int
	first string
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count++; w.count == 1 {
		w.first = text
	}
}

// Warnings is how often the agents warned of something, and what of at first.
func (f *Fleet) Warnings() (count int, first string) {
	f.warnings.mu.Lock()
	defer f.warnings.mu.Unlock()
	return f.warnings.count, f.warnings.first
}

// Enabled is part of slog.Handler.
func (w *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle is part of slog.Handler.
func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	w.add(text)
	return nil
}

// WithAttrs is part of slog.Handler.
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup is part of slog.Handler.
func (w *warnings) WithGroup(string) slog.Handler { return w }
