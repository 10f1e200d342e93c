// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// weight is the resident memory of what a cluster's size weighs on, and the CPU time that it has used so far.
type weight struct {
	apiserver, etcd, controller int64
	cpu                         work
}

// work is CPU time; agents are all hollow agents, and what else this process does.
type work struct{ apiserver, etcd, controller, agents time.Duration }

func (w work) since(o work) work {
	return work{w.apiserver - o.apiserver, w.etcd - o.etcd, w.controller - o.controller, w.agents - o.agents}
}

func (w work) String() string {
	return fmt.Sprintf("API server %s, controller %s, etcd %s, all hollow agents %s", short(w.apiserver), short(w.controller), short(w.etcd), short(w.agents))
}

func (b *bench) weigh(ctx context.Context) (w weight, err error) {
	server, err := b.planeProcess("kube-apiserver")
	if err != nil {
		return w, fmt.Errorf("weighing the API server: %w", err)
	}
	etcd, err := b.planeProcess("etcd")
	if err != nil {
		return w, fmt.Errorf("weighing etcd: %w", err)
	}
	pod, err := b.controllerPod(ctx)
	if err != nil {
		return w, err
	}
	self, err := readLife(os.Getpid())
	if err != nil {
		return w, err
	}
	controller, err := b.process(ctx, pod.Spec.NodeName, "orlop-controller", "")
	return weight{server.RSS, etcd.RSS, controller.RSS, work{server.CPU, etcd.CPU, controller.CPU, self.CPU}}, err
}

// most takes the larger memory of each, and the work until the later.
func (w weight) most(o weight) weight {
	return weight{max(w.apiserver, o.apiserver), max(w.etcd, o.etcd), max(w.controller, o.controller), o.cpu}
}

// beside tells three weights of each.
func (w weight) beside(rest, most weight) string {
	line := func(name string, of func(weight) int64) string {
		return fmt.Sprintf("%s %s, %s, %s", name, megabytes(of(w)), megabytes(of(rest)), megabytes(of(most)))
	}
	return strings.Join([]string{
		line("API server", func(w weight) int64 { return w.apiserver }),
		line("controller", func(w weight) int64 { return w.controller }),
		line("etcd", func(w weight) int64 { return w.etcd }),
	}, "; ")
}

// scale weighs again and again.
type scale struct {
	end  context.CancelFunc
	done chan struct{}
	most weight
	err  error
}

// weighEvery leaves the machine to what is weighed: each time takes a process on a node.
const weighEvery = 2 * time.Second

func (b *bench) startScale(ctx context.Context) *scale {
	ctx, end := context.WithCancel(ctx)
	s := &scale{end: end, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for ctx.Err() == nil {
			now, err := b.weigh(ctx)
			if ctx.Err() == nil {
				s.most, s.err = s.most.most(now), errors.Join(s.err, err)
			}
			_ = pause(ctx, weighEvery) // It ends early only when the loop does.
		}
	}()
	return s
}

// stop gives the most of each.
func (s *scale) stop() (weight, error) {
	s.end()
	<-s.done
	return s.most, s.err
}

// objects are the bytes of objects as the API server gives them in JSON, which is how etcd has those of such kinds.
type objects struct {
	stores, inventories                int64
	largestStore, largestInventory     int64
	storeCount, inventoryCount, dbSize int64
}

func (b *bench) weighObjects(ctx context.Context) (o objects, err error) {
	if o.storeCount, o.stores, o.largestStore, err = b.weighKind(ctx, "imagestores"); err != nil {
		return o, err
	}
	if o.inventoryCount, o.inventories, o.largestInventory, err = b.weighKind(ctx, "imageinventories"); err != nil {
		return o, err
	}
	o.dbSize, err = b.storageSize(ctx)
	return o, err
}

func (b *bench) weighKind(ctx context.Context, resource string) (count, sum, largest int64, err error) {
	text, err := b.read(ctx, "/apis/orlop.dev/v1alpha1/"+resource)
	if err != nil {
		return 0, 0, 0, err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return 0, 0, 0, fmt.Errorf("reading %s: %w", resource, err)
	}
	for _, item := range list.Items {
		sum, largest = sum+int64(len(item)), max(largest, int64(len(item)))
	}
	return int64(len(list.Items)), sum, largest, nil
}

// storageSize is how large the API server says that etcd's file is, with all that is not compacted yet.
func (b *bench) storageSize(ctx context.Context) (int64, error) {
	text, err := b.read(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "apiserver_storage_size_bytes{") {
			var size float64
			_, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &size)
			return int64(size), err
		}
	}
	return 0, errors.New("the API server does not tell the size of its storage")
}

// readLimit is more than any answer that is read here.
const readLimit = 1 << 30

func (b *bench) read(ctx context.Context, path string) ([]byte, error) {
	client, err := rest.HTTPClientFor(b.config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.config.Host+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // Nothing more is wanted of it.
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading %s: %s", path, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, readLimit))
}

func (o objects) String() string {
	return fmt.Sprintf("%d stores %s (the largest %.1f kB), %d inventories %s (the largest %.1f kB); etcd's file %s, old states included",
		o.storeCount, megabytes(o.stores), float64(o.largestStore)/1e3, o.inventoryCount, megabytes(o.inventories), float64(o.largestInventory)/1e3, megabytes(o.dbSize))
}
