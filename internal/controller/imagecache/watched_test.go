// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
)

func TestBytesLeft(t *testing.T) {
	const size = 1000
	resolved := digest.FromString("one")
	pulls := func(done, total int64) v1alpha1.StoreImageStatus {
		return v1alpha1.StoreImageStatus{Image: one, State: v1alpha1.ImagePulling, Progress: &v1alpha1.PullProgress{DoneBytes: done, TotalBytes: total}}
	}
	failing := failed(one, "Timeout", "too slow")
	again := failing
	again.Progress = &v1alpha1.PullProgress{DoneBytes: 100, TotalBytes: 900}
	for name, test := range map[string]struct {
		nodes []view
		want  int64
	}{
		"nothing has begun":        {[]view{viewOf("n1"), viewOf("n2")}, 2 * size},
		"one is there":             {[]view{viewOf("n1", present(one, resolved.String())), viewOf("n2")}, size},
		"one is half done":         {[]view{viewOf("n1", pulls(500, 900)), viewOf("n2")}, 400 + size},
		"it does not know the sum": {[]view{viewOf("n1", pulls(0, 0))}, size},
		"one has failed":           {[]view{viewOf("n1", failing), viewOf("n2")}, size},
		"and tries again":          {[]view{viewOf("n1", again), viewOf("n2")}, 800 + size},
		"one is away":              {[]view{{node: viewOf("n1").node, store: viewOf("n1").store}, viewOf("n2")}, size},
	} {
		t.Run(name, func(t *testing.T) {
			d := read(t, cacheOf(one))
			f := fact{Image: d.Images[0], name: one, entry: catalog.Entry{Digest: resolved, Sizes: map[string]int64{"linux/amd64": size}}}
			for i := range test.nodes {
				test.nodes[i].node.Status.NodeInfo.OperatingSystem, test.nodes[i].node.Status.NodeInfo.Architecture = "linux", "amd64"
			}
			if got := total(d, []fact{f}, test.nodes, earlier{}, nil).bytesLeft; got != test.want {
				t.Errorf("%d bytes are left, want %d", got, test.want)
			}
		})
	}
}

// TestBytesLeftAreToldWhileSomebodyLooksOn: and are taken away once when nobody does any more.
func TestBytesLeftAreToldWhileSomebodyLooksOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		b.shelf.set(one, "one")
		b.create(web, nil, one)
		b.run(10*time.Second, web)
		if left := b.cache(web).Status.BytesLeft; left != nil {
			t.Errorf("nobody looks on, and %d bytes are left", *left)
		}
		until := time.Now().Add(time.Minute)
		b.edit(web, func(c *v1alpha1.ImageCache) {
			c.Annotations = map[string]string{v1alpha1.AnnotationWatchedUntil: until.UTC().Format(time.RFC3339)}
		})
		before := b.writes
		b.run(10*time.Second, web)
		if left := b.cache(web).Status.BytesLeft; left == nil || demand.WatchedUntil(b.cache(web).Annotations, time.Now()).IsZero() {
			t.Errorf("somebody looks on, and it does not tell what is left")
		}
		if b.writes != before+1 {
			t.Errorf("%d writes for what does not change", b.writes-before)
		}
		b.run(2 * time.Minute)
		if left := b.cache(web).Status.BytesLeft; left != nil || b.writes != before+2 {
			t.Errorf("nobody looks on any more: %v left, %d writes", left, b.writes-before)
		}
	})
}
