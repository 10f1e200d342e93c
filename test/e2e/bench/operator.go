// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

const (
	// agentWorkers is what an agent pulls at once by default.
	agentWorkers = 3

	imagesOrlop = "ghcr.io/orlop-dev"
	benchTag    = "bench"
	inNamespace = "default"
	cacheName   = "bench"
)

// values are what the chart is installed with.
const values = "{registry: " + imagesOrlop + ", image: {tag: " + benchTag + "}, namespace: {create: true}}\n"

// system is the namespace that it is installed into.
const system = stage.Namespace

// operator installs Orlop, once, and lets go of everything that an earlier part had it hold.
func (b *bench) operator(ctx context.Context) error {
	if b.api != nil {
		return b.emptied(ctx)
	}
	for _, name := range []string{"orlop-node", "orlop-controller"} {
		if err := b.pushOwn(ctx, name); err != nil {
			return err
		}
	}
	b.say("installing the operator")
	if err := b.install(ctx); err != nil {
		return err
	}
	if err := b.dial(); err != nil {
		return err
	}
	return b.emptied(ctx)
}

// install puts what the chart renders into the cluster, and waits until all of it is ready.
func (b *bench) install(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "orlop-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		return err
	}
	return stage.Install(ctx, b.lab, filepath.Dir(b.bin), file)
}

// pushOwn makes an image of one of the binaries and puts it where the nodes find it.
func (b *bench) pushOwn(ctx context.Context, name string) error {
	where := fmt.Sprintf("%s/%s/%s:%s", b.lab.Registry(), imagesOrlop, name, benchTag)
	cmd := exec.CommandContext(ctx, "go", "run", "./hack/image", "--insecure", "--push", where, filepath.Join(b.bin, name))
	cmd.Dir = filepath.Dir(b.bin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pushing %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// emptied deletes every cache and every job, and waits until no node is asked for anything, and nothing more is written.
func (b *bench) emptied(ctx context.Context) error {
	mark, err := b.lab.AuditMark()
	if err != nil {
		return err
	}
	if err := errors.Join(b.deleteCaches(ctx), b.api.DeleteAllOf(ctx, &v1alpha1.NodeJob{}, client.InNamespace(inNamespace))); err != nil {
		return err
	}
	err = eventually(ctx, "no node is asked for anything", func() (bool, error) {
		var stores v1alpha1.ImageStoreList
		if err := b.api.List(ctx, &stores); err != nil {
			return false, err
		}
		asks := func(s v1alpha1.ImageStore) bool { return len(s.Spec.Images)+len(s.Status.Images)+len(s.Spec.Jobs) > 0 }
		if i := slices.IndexFunc(stores.Items, asks); i >= 0 {
			return false, fmt.Errorf("%s is asked for %d images and has records of %d", stores.Items[i].Name, len(stores.Items[i].Spec.Images), len(stores.Items[i].Status.Images))
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	_, err = b.settled(ctx, mark, 0)
	return err
}

func (b *bench) deleteCaches(ctx context.Context) error {
	return b.api.DeleteAllOf(ctx, &v1alpha1.ImageCache{}, client.InNamespace(inNamespace))
}

// newCache is a cache of these images, made as a person would.
func newCache(images []string) *v1alpha1.ImageCache {
	c := &v1alpha1.ImageCache{ObjectMeta: metav1.ObjectMeta{Namespace: inNamespace, Name: cacheName}}
	for _, image := range images {
		c.Spec.Images = append(c.Spec.Images, v1alpha1.CachedImage{Image: image})
	}
	return c
}

// bases are what each node holds with no image that is not in use.
func (b *bench) bases(ctx context.Context, nodes []string) (map[string]stock, error) {
	bases := map[string]stock{}
	for _, node := range nodes {
		base, err := b.bareOn(ctx, node)
		if err != nil {
			return nil, err
		}
		bases[node] = base
	}
	return bases, nil
}

// clearAll takes away what is not in use on each node, and waits until the disks have their space back.
func (b *bench) clearAll(ctx context.Context, bases map[string]stock) error {
	group, ctx := errgroup.WithContext(ctx)
	for node, base := range bases {
		group.Go(func() error {
			_, err := b.clockOn(ctx, node, task{Argv: crictlPrune, Until: &base})
			return err
		})
	}
	return group.Wait()
}

// workers are the nodes of the lab that are meant to hold images, all of those that it began with.
func (b *bench) workers() []string {
	var all []string
	for n := range nodes {
		all = append(all, fmt.Sprintf("node%d", n+1))
	}
	return all
}

// pushSet makes images of 20 MB under the host that nodes and the controller know by one name.
func (b *bench) pushSet(ctx context.Context, set string, count int) (map[string]string, error) {
	b.say("pushing %d images %s", count, set)
	layer := lab.Layer{Size: 5 << 20}
	return b.pushTo(ctx, lab.PlainHost+"/bench/"+set, count, lab.ImageSpec{Program: lab.NoProgram, Layers: []lab.Layer{layer, layer, layer, layer}})
}

func names(images map[string]string) []string { return slices.Sorted(maps.Keys(images)) }

// controllerPod is the controller's pod, of which this lab has one.
func (b *bench) controllerPod(ctx context.Context) (corev1.Pod, error) {
	var pods corev1.PodList
	err := b.api.List(ctx, &pods, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/component": "controller"})
	if err != nil {
		return corev1.Pod{}, err
	}
	living := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if len(living) != 1 {
		return corev1.Pod{}, fmt.Errorf("there are %d pods of the controller, not one", len(living))
	}
	return living[0], nil
}
