// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package demand reads ImageCaches: which images each asks for, of which nodes, and whether a pull may start there now. It is
// made of functions of values; both reconcilers ask it, so that what is written to the nodes and what is counted as
// ready cannot differ.
package demand

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

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

	// Selection is of the nodes that should hold them.
	Selection

	parallel intstr.IntOrString
}

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
	}
	var wrong error
	read.Selection, wrong = Select(c.Spec.NodeSelector, c.Spec.Affinity, c.Spec.Tolerations)
	err = errors.Join(err, wrong)
	if read.Policy == "" {
		read.Policy = v1alpha1.RemovalPolicyRemove
	}
	if c.Spec.MaxParallelNodes != nil {
		read.parallel = *c.Spec.MaxParallelNodes
	}
	for _, secret := range c.Spec.ImagePullSecrets {
		read.Secrets = append(read.Secrets, secret.Name)
	}
	if !read.Purged {
		err = errors.Join(err, read.add(c.Spec.Images))
	}
	return read, err
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

// MaxParallel is how many of so many nodes may pull at once, never less than one.
func (c Cache) MaxParallel(nodes int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&c.parallel, nodes, true)
	if err != nil {
		return 1
	}
	return max(1, n)
}
