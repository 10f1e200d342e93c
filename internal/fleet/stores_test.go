// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/plan"
)

const aDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func aStore(node string, images ...v1alpha1.StoreImage) *v1alpha1.ImageStore {
	return &v1alpha1.ImageStore{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: v1alpha1.ImageStoreSpec{Images: images}}
}

// inWords is a need in words.
func inWords(needs []plan.Need) []string {
	var all []string
	for _, n := range needs {
		text := n.Ref.Familiar() + " by " + n.By
		if n.Pinned {
			text += ", pinned"
		}
		if !n.Cache {
			text += ", a pod"
		}
		all = append(all, text)
	}
	return all
}

func TestKeptBy(t *testing.T) {
	store := aStore("a",
		v1alpha1.StoreImage{Image: "docker.io/library/nginx:1", Digest: aDigest, Caches: []string{"shop/web", "b/c"}},
		v1alpha1.StoreImage{Image: "docker.io/library/redis:8"},
		v1alpha1.StoreImage{Image: "docker.io/library/app@" + aDigest, Digest: aDigest, Caches: []string{"shop/web"}},
		v1alpha1.StoreImage{Image: "docker.io/library/old:1", Released: true, Caches: []string{"shop/web"}},
	)
	store.Status.Images = []v1alpha1.StoreImageStatus{{Image: "docker.io/library/redis:8", Digest: aDigest, Pinned: true}}
	want := []string{
		"nginx:1 by shop/web", "nginx:1 by b/c", "nginx@" + aDigest + " by shop/web", "nginx@" + aDigest + " by b/c",
		"redis:8 by of this cluster, pinned", "redis@" + aDigest + " by of this cluster, pinned",
		"app@" + aDigest + " by shop/web",
	}
	if diff := cmp.Diff(want, inWords(KeptBy(store))); diff != "" {
		t.Error(diff)
	}
}

// TestNeedsOfCaches: what caches want is sent with what pods name, a node hears when it is more, and it grows old while the
// stores cannot be seen.
func TestNeedsOfCaches(t *testing.T) {
	source := watch.NewFake()
	broken := errors.New("gone away")
	lw := &cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return &v1alpha1.ImageStoreList{Items: []v1alpha1.ImageStore{*aStore("a", v1alpha1.StoreImage{Image: "docker.io/library/nginx:1", Caches: []string{"shop/web"}})}}, nil
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return source, nil },
	}
	f := newFleet(Config{}, fake.NewClientset())
	n := newNeeds(f, []Node{{Name: "a"}, {Name: "b"}})
	n.stores = newKept(lw)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { n.watchStores(ctx); close(done) }()
	if err := n.storesReady(ctx); err != nil {
		t.Fatal(err)
	}
	now, last := n.of("a")
	if diff := cmp.Diff([]string{"nginx:1 by shop/web"}, inWords(now.Items)); diff != "" {
		t.Error(diff)
	}
	more := n.more("b")
	source.Modify(aStore("b", v1alpha1.StoreImage{Image: "docker.io/library/redis:8", Caches: []string{"shop/web"}}))
	select {
	case <-more:
	case <-ctx.Done():
		t.Fatal("the node did not hear")
	}
	if now, _ := n.of("b"); len(now.Items) != 1 {
		t.Errorf("%v", inWords(now.Items))
	}
	if u, _ := n.news("a", last); u.Needs != nil {
		t.Error("a node is told what concerns another")
	}
	if n.stores.note(broken); !n.storesUnseen() {
		t.Error("the stores cannot be seen, and that is not known")
	}
	cancel()
	<-done
}
