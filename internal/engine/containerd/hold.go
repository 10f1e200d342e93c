// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/metadata"

	"orlop.dev/orlop/internal/engine/socket"
)

// headerLease makes what a call creates part of a lease.
const headerLease = "containerd-lease"

// holdAll keeps everything below the digests, which are of indexes and manifests, by one small blob in the lease that
// refers to them. To put each into the lease would be a transaction of containerd's, which waits for the disk, for each
// image. The blob goes with the lease. It needs room for several files, which a full disk may not have.
func (b *batch) holdAll(ctx context.Context, digests []string) error {
	if len(digests) == 0 {
		return nil
	}
	text := []byte("held by orlop under lease " + b.lease.id)
	labels := map[string]string{}
	for n, held := range digests {
		labels[fmt.Sprintf("%s.%d", labelChild, n)] = held
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, headerLease, b.lease.id), callTimeout)
	defer cancel()
	if err := b.runtime.write(ctx, &contentapi.WriteContentRequest{
		Action:   contentapi.WriteAction_COMMIT,
		Ref:      "orlop-" + b.lease.id,
		Total:    int64(len(text)),
		Expected: digest.FromBytes(text).String(),
		Data:     text,
		Labels:   labels,
	}); err != nil {
		return fmt.Errorf("holding the content of %d images: %w", len(digests), err)
	}
	for _, held := range digests {
		b.held[held] = true
	}
	return nil
}

// holdEach writes to containerd's database alone, which most often has room inside.
func (b *batch) holdEach(ctx context.Context, digests []string) error {
	for _, held := range digests {
		if err := b.hold(ctx, held); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) write(ctx context.Context, whole *contentapi.WriteContentRequest) error {
	stream, err := r.content.Write(ctx)
	if err == nil {
		err = stream.Send(whole)
	}
	if err == nil || errors.Is(err, io.EOF) { // The end of the stream's way there: why is told on the way back.
		_, err = stream.Recv()
	}
	return socket.Why(err)
}

// hold keeps a manifest or an index, and through the labels on it everything below: config, layers, snapshots.
func (b *batch) hold(ctx context.Context, digest string) error {
	b.mu.Lock()
	known := b.held[digest]
	b.mu.Unlock()
	if known {
		return nil
	}
	_, err := b.runtime.leases.AddResource(ctx, &leasesapi.AddResourceRequest{
		ID:       b.lease.id,
		Resource: &leasesapi.Resource{ID: digest, Type: "content"},
	})
	if err != nil {
		return fmt.Errorf("holding %s: %w", digest, socket.Why(err))
	}
	b.mu.Lock()
	b.held[digest] = true
	b.mu.Unlock()
	return nil
}
