// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/metadata"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// order is what a process on a node does once it is given the word.
type order struct {
	// Images are names, and the digests of the manifests that they must stand for. They are waited for.
	Images map[string]string
	// Gone: they are waited for to be gone.
	Gone bool
	// Pull is what it pulls itself, through the raw CRI, Workers at once.
	Pull    []string
	Workers int
}

// sight is what a process on a node has seen. Its times are those of the machine's monotonic clock, which the nodes and this
// machine share.
type sight struct {
	// Early is how many images were as they are waited for before the word was given.
	Early int
	Each  map[string]time.Duration
	All   time.Duration
	// Wall is All as people tell time: runtimes tell it so.
	Wall time.Time
}

// presenceEvery is how exactly presence is seen: 200 lists a second take little from the work that is measured, and as much in both
// of what is compared.
const presenceEvery = 5 * time.Millisecond

// monotonic is the machine's clock, which no one sets.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // The clock is part of every Linux.
	}
	return time.Duration(now.Nano())
}

// obey reads an order, says that it is ready, and begins when it is given the word.
func obey(ctx context.Context) error {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	var o order
	if err := in.Decode(&o); err != nil {
		return err
	}
	w, err := connect()
	if err != nil {
		return err
	}
	seen, err := follow(ctx, w, o, func(early int) error {
		var word bool
		return errors.Join(out.Encode(early), in.Decode(&word))
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	return out.Encode(seen)
}

// follow carries out an order; ready is told how much is there already, and returns when the word was given.
func follow(ctx context.Context, w *watch, o order, ready func(early int) error) (sight, error) {
	seen := sight{Each: map[string]time.Duration{}}
	if err := w.sweep(ctx, o, &seen); err != nil {
		return seen, err
	}
	seen.Early = len(seen.Each)
	if err := ready(seen.Early); err != nil {
		return seen, err
	}
	group, ctx := errgroup.WithContext(ctx)
	if len(o.Pull) > 0 {
		group.Go(func() error { return rawPull(ctx, o.Workers, o.Pull) })
	}
	group.Go(func() error {
		tick := time.NewTicker(presenceEvery)
		defer tick.Stop()
		for len(seen.Each) < len(o.Images) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%d of %d images seen: %w", len(seen.Each), len(o.Images), context.Cause(ctx))
			case <-tick.C:
			}
			if err := w.sweep(ctx, o, &seen); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	return seen, err
}

// sweep looks once for the images that were not seen yet.
func (w *watch) sweep(ctx context.Context, o order, seen *sight) error {
	list, err := w.images.List(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "k8s.io"), &imagesapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	targets := map[string]string{}
	for _, record := range list.Images {
		targets[record.Name] = record.Target.Digest
	}
	for name, digest := range o.Images {
		if _, done := seen.Each[name]; done {
			continue
		}
		ok := targets[name] == "" == o.Gone && (o.Gone || targets[name] == digest)
		if ok && !o.Gone {
			if ok, err = w.usable(ctx, name); err != nil {
				return err
			}
		}
		if ok {
			seen.All, seen.Wall = monotonic(), time.Now()
			seen.Each[name] = seen.All
		}
	}
	return nil
}

// usable reports whether the CRI too has the image: then the kubelet starts a container of it without a pull.
func (w *watch) usable(ctx context.Context, name string) (bool, error) {
	answer, err := cri.NewImageServiceClient(w).ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	return err == nil && answer.Image != nil, err
}
