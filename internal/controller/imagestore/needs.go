// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/podimage"
)

// The bounds of what pods name. A node of 100 pods of different images takes a third of it.
const (
	maxNeeds     = 2000
	maxNeedBytes = 32 << 10
	podsAtOnce   = 500
)

// needsAfter tells what becomes of the needs in the spec that will have these entries: they stay as they stand, or the node's
// pods are to be listed.
func (v *view) needsAfter(entries []v1alpha1.StoreImage) (stay *v1alpha1.PodNeeds, list bool) {
	kept, undone, list := v.needsOfReleased(entries)
	if v.jobs != nil && !list {
		keptByJobs, undoneByJobs, listForJobs := v.jobs.needs()
		kept, undone, list = kept || keptByJobs, undone || undoneByJobs, listForJobs
	}
	switch {
	case list:
		return nil, true
	case kept:
		stay = v.store.Spec.Needs
	}
	return stay, undone && !v.tells(stay)
}

// needsOfReleased is what released entries make of the needs: they are kept, or listed. undone: one of these may yet be removed on their word.
func (v *view) needsOfReleased(entries []v1alpha1.StoreImage) (kept, undone, list bool) {
	is := map[string]string{}
	for i := range entries {
		if !entries[i].Released {
			is[entries[i].Image] = entries[i].Digest
		}
	}
	stands, asked := v.store.Spec.Needs, v.store.Status.NeedsAsked
	for i := range entries {
		entry := &entries[i]
		if !entry.Released {
			continue
		}
		kept = true
		if entry.RemovalPolicy == v1alpha1.RemovalPolicyKeep || !v.pulled(entry, is) {
			continue
		}
		undone = true
		had := v.had[entry.Image]
		fresh := had == nil || !had.Released
		if stands == nil || fresh || asked != "" && asked != stands.Answers {
			return true, true, true
		}
	}
	return kept, undone, false
}

// tells reports whether needs have all that is wanted and stands for nothing yet, or else let nothing be removed. A registry that does
// not answer says nothing of what is on the node, and could not give it back.
func (v *view) tells(needs *v1alpha1.PodNeeds) bool {
	if needs.Omitted > 0 {
		return true
	}
	told := map[string]bool{}
	for i := range needs.Images {
		told[needs.Images[i].Image] = true
	}
	return !slices.ContainsFunc(v.unresolved, func(n v1alpha1.NeededImage) bool { return !told[n.Image] })
}

// pulled reports whether the agent has a record of having pulled what is released.
func (v *view) pulled(released *v1alpha1.StoreImage, is map[string]string) bool {
	for i := range v.store.Status.Images {
		if record := &v.store.Status.Images[i]; record.Pulled && concerns(record, released, is) {
			return true
		}
	}
	return false
}

// listNeeds asks the API server, and no cache, which images the node's pods name, and adds those that ImageCaches want besides.
func listNeeds(ctx context.Context, live client.Reader, node, answers string, wanted []v1alpha1.NeededImage, now time.Time) (*v1alpha1.PodNeeds, error) {
	needs := &needList{PodNeeds: v1alpha1.PodNeeds{AsOf: metav1.NewMicroTime(now), Answers: answers}, named: map[string]bool{}}
	unfinished := fields.AndSelectors(
		fields.OneTermEqualSelector("spec.nodeName", node),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	)
	for next := ""; ; {
		var pods corev1.PodList
		err := live.List(ctx, &pods, client.MatchingFieldsSelector{Selector: unfinished}, client.Limit(podsAtOnce), client.Continue(next))
		if err != nil {
			return nil, fmt.Errorf("listing the pods of node %s: %w", node, err)
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			for _, image := range podimage.Names(pod) {
				needs.add(v1alpha1.NeededImage{Image: image, Pod: pod.Namespace + "/" + pod.Name})
			}
		}
		if next = pods.Continue; next == "" {
			break
		}
	}
	for _, image := range wanted {
		needs.add(image)
	}
	return &needs.PodNeeds, nil
}

// needList is what is needed, each image once, as far as there is room.
type needList struct {
	v1alpha1.PodNeeds
	named map[string]bool
	bytes int
}

func (l *needList) add(need v1alpha1.NeededImage) {
	if need.Image == "" || l.named[need.Image] {
		return
	}
	l.named[need.Image] = true
	l.bytes += len(need.Image) + len(need.Pod) + len(need.Cache) + 24
	if len(l.Images) >= maxNeeds || l.bytes > maxNeedBytes || len(need.Image) > maxName {
		l.Omitted++
		return
	}
	l.Images = append(l.Images, need)
}

// maxName is the longest that the API server takes for a name of an image here.
const maxName = 600
