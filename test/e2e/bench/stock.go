// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// stock is how much a node holds: containerd's image records, and, as folders and files on its disk, snapshots and
// content. containerd's own lists leave things out before the disk has their space back.
type stock struct{ Records, Snapshots, Blobs int }

func (s stock) within(limit stock) bool {
	return s.Records <= limit.Records && s.Snapshots <= limit.Snapshots && s.Blobs <= limit.Blobs
}

const (
	snapshotsDir = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
	blobsDir     = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
)

// watch looks at the stock.
type watch struct {
	*grpc.ClientConn
	images imagesapi.ImagesClient
}

func connect() (*watch, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &watch{conn, imagesapi.NewImagesClient(conn)}, nil
}

func (w *watch) look(ctx context.Context) (stock, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "k8s.io")
	list, err := w.images.List(ctx, &imagesapi.ListImagesRequest{})
	if err != nil {
		return stock{}, err
	}
	snapshots, err := entries(snapshotsDir)
	if err != nil {
		return stock{}, err
	}
	blobs, err := entries(blobsDir)
	return stock{Records: len(list.Images), Snapshots: snapshots, Blobs: blobs}, err
}

func entries(dir string) (int, error) {
	found, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	return len(found), err
}
