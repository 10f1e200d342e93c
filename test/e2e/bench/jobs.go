// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/lab"
)

const (
	jobRounds = 5
	// removeWithin is from the start of kubectl apply to the answer of every node in the NodeJob's status.
	removeWithin = 2 * time.Second
	// jobWrites is for each node and job, from its making until its deletion has reached the node.
	jobWrites = 6
	// podExtra is how many requests more than a DaemonSet a template may cost for each pod.
	podExtra = 3
)

// jobRemove measures the removal of one image on every node, asked for by kubectl apply.
func (b *bench) jobRemove(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	images, err := b.pushSet(ctx, "job", 1)
	if err != nil {
		return err
	}
	var answered []taken
	var writes []int
	for round := range jobRounds + 1 {
		at, n, err := b.removeRound(ctx, names(images)[0])
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if round > 0 {
			b.say("round %d: answered after %s, %d writes", round, short(at), n)
			answered, writes = append(answered, taken{Done: at}), append(writes, n)
		}
	}
	b.report.bound(fmt.Sprintf("a NodeJob that removes one image on %d nodes, from kubectl apply to every node's answer", nodes), answered, removeWithin)
	b.report.atMost(fmt.Sprintf("its API writes for each of %d nodes, with its making and its deletion, without the lease", nodes), perNode(writes), jobWrites)
	return nil
}

// perNode rounds up.
func perNode(writes []int) []int {
	var each []int
	for _, n := range writes {
		each = append(each, (n+nodes-1)/nodes)
	}
	return each
}

const jobName = "bench"

func (b *bench) removeRound(ctx context.Context, image string) (time.Duration, int, error) {
	for _, node := range b.workers() {
		if _, err := b.lab.Crictl(ctx, node, "pull", image); err != nil {
			return 0, 0, err
		}
	}
	if err := b.hush(ctx); err != nil {
		return 0, 0, err
	}
	mark, err := b.lab.AuditMark()
	if err != nil {
		return 0, 0, err
	}
	f, err := b.follow(ctx, &v1alpha1.NodeJobList{}, jobName)
	if err != nil {
		return 0, 0, err
	}
	defer f.stop()
	start := monotonic()
	manifest := fmt.Sprintf(`{"apiVersion": "orlop.dev/v1alpha1", "kind": "NodeJob", "metadata": {"name": %q, "namespace": %q}, "spec": {"remove": {"images": [%q]}}}`, jobName, inNamespace, image)
	apply := exec.CommandContext(ctx, b.lab.Program("kubectl"), "--kubeconfig", b.lab.Kubeconfig(), "apply", "-f", "-")
	apply.Stdin = strings.NewReader(manifest)
	if out, err := apply.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("kubectl apply: %w: %s", err, out)
	}
	at, job, err := until(ctx, f, "the end", ended)
	if err != nil {
		return 0, 0, err
	}
	if job.Status.Succeeded != nodes {
		return 0, 0, fmt.Errorf("it ended with %+v", job.Status)
	}
	for _, node := range b.workers() {
		// With a name that is not there, crictl lists everything.
		if out, err := b.lab.Crictl(ctx, node, "images", "-o", "json"); err != nil || strings.Contains(out, fmt.Sprintf("%q", image)) {
			return 0, 0, errors.Join(err, fmt.Errorf("%s is still on %s", image, node))
		}
	}
	if err := b.dropJob(ctx); err != nil {
		return 0, 0, err
	}
	writes, err := b.settled(ctx, mark, nodes)
	return at - start, tallyOf(writes).withoutLease().writes, err
}

func ended(job *v1alpha1.NodeJob) bool {
	return meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionComplete) || meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionFailed)
}

// dropJob deletes the NodeJob, and waits until no node speaks of it.
func (b *bench) dropJob(ctx context.Context) error {
	job := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: inNamespace, Name: jobName}}
	if err := b.api.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		return err
	}
	return eventually(ctx, "no node speaks of the job", func() (bool, error) {
		var stores v1alpha1.ImageStoreList
		if err := b.api.List(ctx, &stores); err != nil {
			return false, err
		}
		left := 0
		for i := range stores.Items {
			left += len(stores.Items[i].Spec.Jobs) + len(stores.Items[i].Status.Jobs)
		}
		return left == 0, fmt.Errorf("%d entries are left", left)
	})
}

// jobTemplate compares what pods of a template cost the API server with what a DaemonSet's do, from their making until they are gone.
func (b *bench) jobTemplate(ctx context.Context) error {
	if err := b.operator(ctx); err != nil {
		return err
	}
	image := lab.PlainHost + "/bench/task:1"
	if _, err := b.lab.PushImage(ctx, image, lab.ImageSpec{}); err != nil {
		return err
	}
	for _, node := range b.workers() {
		if _, err := b.lab.Crictl(ctx, node, "pull", image); err != nil {
			return err
		}
	}
	theirs, err := b.requests(ctx, func() error { return b.daemonSetRound(ctx, image) })
	if err != nil {
		return fmt.Errorf("a DaemonSet: %w", err)
	}
	ours, err := b.requests(ctx, func() error { return b.templateRound(ctx, image) })
	if err != nil {
		return fmt.Errorf("a NodeJob: %w", err)
	}
	b.say("a DaemonSet: %s", theirs)
	b.say("a NodeJob: %s", ours)
	each := func(t tally) float64 { return float64(t.writes) / nodes }
	more := each(ours) - each(theirs)
	b.report.rows = append(b.report.rows, row{
		what: fmt.Sprintf("API writes for each pod of a NodeJob's template on %d nodes, from their making until all is gone", nodes), value: fmt.Sprintf("%.1f", each(ours)),
		against: fmt.Sprintf("those of a DaemonSet %.1f", each(theirs)), ratio: fmt.Sprintf("%+.1f", more),
		limit: fmt.Sprintf("%d more", podExtra), kept: verdictOf(more <= podExtra),
	})
	return nil
}

// requests are all writes about pods named after the job, their events, and whatever makes them, while something is done.
func (b *bench) requests(ctx context.Context, do func() error) (tally, error) {
	if err := b.hush(ctx); err != nil {
		return tally{}, err
	}
	mark, err := b.lab.AuditMark()
	if err != nil {
		return tally{}, err
	}
	if err := do(); err != nil {
		return tally{}, err
	}
	writes, err := b.settled(ctx, mark, 0)
	if err != nil {
		return tally{}, err
	}
	t := tally{kinds: map[string]int{}}
	for _, w := range writes {
		of := strings.HasPrefix(w.Object.Name, jobName) || w.Object.Resource == "imagestores" || makesPod(w) ||
			w.Verb == "create" && w.Object.Resource == "pods" && w.Object.Namespace == inNamespace
		if of && !isLease(w) {
			t.writes++
			t.kinds[kindOf(w)]++
		}
	}
	return t, nil
}

func taskPod(image string, policy corev1.RestartPolicy, args ...string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"bench": jobName}},
		Spec: corev1.PodSpec{
			RestartPolicy: policy, TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{Name: "task", Image: image, Args: args}},
		},
	}
}

func (b *bench) daemonSetRound(ctx context.Context, image string) error {
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: inNamespace, Name: jobName},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"bench": jobName}}, Template: taskPod(image, corev1.RestartPolicyAlways, "wait"),
		},
	}
	if err := b.api.Create(ctx, set); err != nil {
		return err
	}
	err := eventually(ctx, "its pods are ready", func() (bool, error) {
		err := b.api.Get(ctx, client.ObjectKeyFromObject(set), set)
		return set.Status.NumberReady == nodes, errors.Join(err, fmt.Errorf("%d are", set.Status.NumberReady))
	})
	if err != nil {
		return err
	}
	if err := b.api.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		return err
	}
	return b.podsGone(ctx)
}

func (b *bench) templateRound(ctx context.Context, image string) error {
	f, err := b.follow(ctx, &v1alpha1.NodeJobList{}, jobName)
	if err != nil {
		return err
	}
	defer f.stop()
	template := taskPod(image, corev1.RestartPolicyNever, "exit", "0")
	job := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: inNamespace, Name: jobName}, Spec: v1alpha1.NodeJobSpec{Template: &template}}
	if err := b.api.Create(ctx, job); err != nil {
		return err
	}
	_, done, err := until(ctx, f, "the end", ended)
	if err != nil {
		return err
	}
	if done.Status.Succeeded != nodes {
		return fmt.Errorf("it ended with %+v", done.Status)
	}
	return errors.Join(b.dropJob(ctx), b.podsGone(ctx))
}

func (b *bench) podsGone(ctx context.Context) error {
	return eventually(ctx, "the pods are gone", func() (bool, error) {
		var pods corev1.PodList
		err := b.api.List(ctx, &pods, client.InNamespace(inNamespace), client.MatchingLabels{"bench": jobName})
		return err == nil && len(pods.Items) == 0, errors.Join(err, fmt.Errorf("%d are left", len(pods.Items)))
	})
}
