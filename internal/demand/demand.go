// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package demand reads ImageCaches: which images each asks for, of which nodes, and whether a pull may start there now. It is
// made of functions of values; both reconcilers ask it, so that what is written to the nodes and what is counted as
// ready cannot differ.
package demand

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

// Image is one image that a cache asks for.
type Image struct {
	// Ref has a tag, or a digest, or both: then the tag must stand for the digest.
	Ref oci.Ref
	// Written is the name as it stands in the spec.
	Written string
	// Always: the tag is resolved anew at each refresh.
	Always bool
}

// Cache is what one ImageCache asks for.
type Cache struct {
	Key types.NamespacedName
	// Images are different once normalised; Merged are the entries that were not, as they are written.
	Images []Image
	Merged []string
	// Purged: what it asked for is let go, until it is refreshed or edited. Images is empty then.
	Purged bool
	// Suspended: no pulls start.
	Suspended      bool
	Pin            bool
	Policy         v1alpha1.RemovalPolicy
	Refresh        time.Duration
	Secrets        []string
	ServiceAccount string
	// WatchedUntil is until when somebody looks on; zero: nobody does.
	WatchedUntil time.Time

	parallel    intstr.IntOrString
	tolerations []corev1.Toleration
	required    nodeaffinity.RequiredNodeAffinity
	// unreadable: the API server took an affinity that means nothing, such as one with a misspelt operator.
	unreadable bool
}

// ErrAffinity is about an affinity that cannot be read. No node is let go for it, and none comes.
var ErrAffinity = errors.New("spec.affinity cannot be read")

// defaultParallel is maxParallelNodes where the API server has set no default.
var defaultParallel = intstr.FromInt32(50)

// Of reads a cache. What the API server's validation lets through and no runtime would take is left out, and told.
func Of(c *v1alpha1.ImageCache) (Cache, error) {
	refresh, err := interval(c.Spec.RefreshInterval)
	read := Cache{
		Key:            types.NamespacedName{Namespace: c.Namespace, Name: c.Name},
		Purged:         c.Status.PurgedGeneration != 0 && c.Status.PurgedGeneration == c.Generation,
		Suspended:      c.Spec.Suspend,
		Pin:            c.Spec.Pin == nil || *c.Spec.Pin,
		Policy:         c.Spec.RemovalPolicy,
		Refresh:        refresh,
		ServiceAccount: c.Spec.ServiceAccountName,
		parallel:       defaultParallel,
		tolerations:    c.Spec.Tolerations,
		required:       nodeaffinity.NewRequiredNodeAffinity(c.Spec.NodeSelector, affinity(c.Spec.Affinity)),
	}
	if read.Policy == "" {
		read.Policy = v1alpha1.RemovalPolicyRemove
	}
	if c.Spec.MaxParallelNodes != nil {
		read.parallel = *c.Spec.MaxParallelNodes
	}
	for _, secret := range c.Spec.ImagePullSecrets {
		read.Secrets = append(read.Secrets, secret.Name)
	}
	if wrong := readable(c.Spec.Affinity); wrong != nil {
		read.unreadable = true
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrAffinity, wrong))
	}
	if !read.Purged {
		err = errors.Join(err, read.add(c.Spec.Images))
	}
	return read, err
}

func readable(a *v1alpha1.Affinity) error {
	if required := affinity(a); required != nil && required.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		_, err := nodeaffinity.NewNodeSelector(required.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		return err
	}
	return nil
}

func interval(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	span, err := time.ParseDuration(text)
	if err != nil || span < 0 {
		return 0, fmt.Errorf("refreshInterval %q is not a duration: write it as 15m, or 0s for never", text)
	}
	return span, nil
}

func affinity(a *v1alpha1.Affinity) *corev1.Affinity {
	if a == nil || a.NodeAffinity == nil {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
	}}
}

func (c *Cache) add(images []v1alpha1.CachedImage) error {
	var wrong []string
	at := map[oci.Ref]int{}
	for _, entry := range images {
		ref, err := oci.Parse(entry.Image)
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		always := entry.ImagePullPolicy == corev1.PullAlways || entry.ImagePullPolicy == "" && ref.Tag() == oci.DefaultTag
		if i, ok := at[ref]; ok {
			c.Merged = append(c.Merged, entry.Image)
			c.Images[i].Always = c.Images[i].Always || always
			continue
		}
		at[ref] = len(c.Images)
		c.Images = append(c.Images, Image{Ref: ref, Written: entry.Image, Always: always && ref.Digest() == ""})
	}
	if wrong != nil {
		return fmt.Errorf("not an image reference: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// Selects reports whether the node's labels fit the selector and the affinity. Nothing else decides what a node
// should hold, and nothing else lets it go. Where that cannot be read, a node stays what it is: see Place.
func (c Cache) Selects(node *corev1.Node) bool {
	fits, err := c.required.Match(node)
	return fits || err != nil
}

// Place is what a selected node is to a cache at this moment.
type Place int

// The places.
const (
	// Usable: pulls may start.
	Usable Place = iota
	// Unavailable: it should hold the images, and no pull may start there now: cordoned, not ready, being drained.
	Unavailable
	// Tainted: it does not count, since a taint of the cluster's own is not tolerated, or since nobody can tell whether it is
	// meant. What it holds it keeps.
	Tainted
)

// Place looks at a node that is selected; ready is whether the node and its agent are. why is for a person to read.
func (c Cache) Place(node *corev1.Node, ready bool) (place Place, why string) {
	if c.unreadable {
		if _, err := c.required.Match(node); err != nil {
			return Tainted, ErrAffinity.Error()
		}
	}
	place = Usable
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || c.tolerates(taint) {
			continue
		}
		if !passing(taint.Key) {
			return Tainted, "has the taint " + taint.ToString()
		}
		if place == Usable {
			place, why = Unavailable, "has the taint "+taint.ToString()
		}
	}
	switch {
	case node.DeletionTimestamp != nil:
		return Unavailable, "is being deleted"
	case node.Spec.Unschedulable && !c.tolerates(&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}):
		return Unavailable, "is cordoned"
	case place == Usable && !ready:
		return Unavailable, "is not ready"
	}
	return place, why
}

// passingTaints say that a node goes, or comes: it is still the cache's.
var passingTaints = []string{
	"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler", // cluster-autoscaler
	"karpenter.sh/disrupted", "karpenter.sh/disruption", "karpenter.sh/unregistered",
}

func passing(key string) bool {
	return strings.HasPrefix(key, "node.kubernetes.io/") || strings.HasPrefix(key, "node.cloudprovider.kubernetes.io/") ||
		slices.Contains(passingTaints, key)
}

func (c Cache) tolerates(taint *corev1.Taint) bool {
	return slices.ContainsFunc(c.tolerations, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), taint, false) })
}

// MaxParallel is how many of so many nodes may pull at once, never less than one.
func (c Cache) MaxParallel(nodes int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&c.parallel, nodes, true)
	if err != nil {
		return 1
	}
	return max(1, n)
}
