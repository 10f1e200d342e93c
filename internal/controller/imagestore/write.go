// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/apply"
)

// storeOf is the node's store, without a UID if there is none yet. It is nil while that of an earlier node of this name goes.
func (c *Controller) storeOf(ctx context.Context, node *corev1.Node) (*v1alpha1.ImageStore, error) {
	store := &v1alpha1.ImageStore{}
	if err := c.Client.Get(ctx, types.NamespacedName{Name: node.Name}, store); apierrors.IsNotFound(err) {
		store = &v1alpha1.ImageStore{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
	} else if err != nil {
		return nil, fmt.Errorf("reading ImageStore %s: %w", node.Name, err)
	}
	if store.UID == "" {
		return store, nil
	}
	if !ownedBy(store, node) || store.DeletionTimestamp != nil {
		return nil, c.remove(ctx, store)
	}
	return store, nil
}

func ownedBy(object client.Object, node *corev1.Node) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == node.UID })
}

func (c *Controller) remove(ctx context.Context, object client.Object) error {
	if object.GetDeletionTimestamp() != nil {
		return nil
	}
	uid := object.GetUID()
	err := c.Client.Delete(ctx, object, client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %T %s of an earlier node of this name: %w", object, object.GetName(), err)
	}
	return nil
}

// applied is what we own of a store or an inventory.
type applied struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        appliedMeta              `json:"metadata"`
	Spec            *v1alpha1.ImageStoreSpec `json:"spec,omitempty"`
}

type appliedMeta struct {
	Name string `json:"name"`
	// UID makes the API server refuse to write to an object that was made anew.
	UID             types.UID               `json:"uid,omitempty"`
	OwnerReferences []metav1.OwnerReference `json:"ownerReferences"`
}

// write brings the store to the spec, and sees to it that both objects of the node are there.
func (c *Controller) write(ctx context.Context, node *corev1.Node, store *v1alpha1.ImageStore, spec v1alpha1.ImageStoreSpec) error {
	if err := c.ensureInventory(ctx, node); err != nil {
		return err
	}
	spec.Revision = store.Spec.Revision
	if store.UID != "" && same(&store.Spec, &spec) {
		return nil
	}
	if asksOther(&store.Spec, &spec) {
		spec.Revision++
	}
	spec.Retire = false // Another field manager's.
	c.pace.wrote(node.Name, time.Now())
	into := &v1alpha1.ImageStore{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
	return c.apply(ctx, into, applied{TypeMeta: typeMeta("ImageStore"), Metadata: metaFor(node, store.UID), Spec: &spec})
}

// same leaves sizes aside: they serve the next write.
func same(stands, wanted *v1alpha1.ImageStoreSpec) bool {
	if len(stands.Images) != len(wanted.Images) {
		return false
	}
	a, b := *stands, *wanted
	a.Retire, b.Retire = false, false
	if unwatched(stands, wanted) {
		a.WatchedUntil = nil
	}
	a.Images, b.Images = slices.Clone(a.Images), slices.Clone(b.Images)
	for i := range a.Images {
		a.Images[i].Size, b.Images[i].Size = 0, 0
	}
	return equality.Semantic.DeepEqual(&a, &b)
}

// asksOther reports whether the agent is asked something else than before, or nothing was asked yet: then it says that it has seen it.
func asksOther(stands, wanted *v1alpha1.ImageStoreSpec) bool {
	a, b := *stands, *wanted
	a.Jobs, b.Jobs = asked(a.Jobs), asked(b.Jobs)
	return stands.Revision == 0 || !same(&a, &b)
}

// asked are the entries that are for the agent.
func asked(jobs []v1alpha1.StoreJob) []v1alpha1.StoreJob {
	return slices.DeleteFunc(slices.Clone(jobs), func(e v1alpha1.StoreJob) bool { return e.Outcome != nil })
}

func (c *Controller) ensureInventory(ctx context.Context, node *corev1.Node) error {
	inventory := inventoryMeta(node.Name)
	err := c.Client.Get(ctx, client.ObjectKeyFromObject(inventory), inventory)
	switch {
	case apierrors.IsNotFound(err):
		into := inventoryMeta(node.Name)
		return c.apply(ctx, into, applied{TypeMeta: into.TypeMeta, Metadata: metaFor(node, "")})
	case err != nil:
		return fmt.Errorf("reading ImageInventory %s: %w", node.Name, err)
	case !ownedBy(inventory, node):
		return c.remove(ctx, inventory)
	}
	return nil
}

// inventoryMeta is an inventory of which only the metadata is read: there are many, they are large, and the agents write them.
func inventoryMeta(name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: typeMeta("ImageInventory"), ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

func metaFor(node *corev1.Node, uid types.UID) appliedMeta {
	return appliedMeta{Name: node.Name, UID: uid, OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID,
	}}}
}

func (c *Controller) apply(ctx context.Context, into client.Object, what applied) error {
	data, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("writing %s %s as JSON: %w", what.Kind, what.Metadata.Name, err)
	}
	return c.Client.Patch(ctx, into, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner(apply.Owner), client.ForceOwnership)
}

// pause is how long the store of a node is not made again once it was deleted while it was being retired: Orlop is being
// taken out of the cluster, and the controller goes last.
const pause = 10 * time.Minute

// retired knows which stores were being retired.
type retired struct {
	mu   sync.Mutex
	when map[string]time.Time
}

func newRetired() *retired { return &retired{when: map[string]time.Time{}} }

// wait is how long the store is to be left alone.
func (r *retired) wait(store *v1alpha1.ImageStore, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if store.Spec.Retire {
		r.when[store.Name] = now
		return pause
	}
	left := pause - now.Sub(r.when[store.Name])
	if store.UID != "" || left <= 0 {
		delete(r.when, store.Name)
		return 0
	}
	return left
}
