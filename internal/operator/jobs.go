// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"encoding/json"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
)

// kind is one of Orlop's kinds that live in namespaces.
type kind struct{ resource, name string }

var (
	jobKind  = kind{"nodejobs", "NodeJob"}
	cronKind = kind{"nodecronjobs", "NodeCronJob"}
)

func (k kind) titled(namespace, name string) string { return k.name + " " + namespace + "/" + name }

// get reads one object into what is given.
func (c *Client) get(ctx context.Context, k kind, namespace, name string, into runtime.Object) error {
	if err := c.orlop.Get().Namespace(namespace).Resource(k.resource).Name(name).Do(ctx).Into(into); err != nil {
		return fmt.Errorf("getting %s: %w", k.titled(namespace, name), err)
	}
	into.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(k.name))
	return nil
}

// create makes an object; what it has become is read into the second.
func (c *Client) create(ctx context.Context, k kind, wanted metav1.Object, into runtime.Object, dryRun bool) error {
	options := metav1.CreateOptions{FieldManager: manager}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	err := c.orlop.Post().Namespace(wanted.GetNamespace()).Resource(k.resource).VersionedParams(&options, c.params).Body(wanted).Do(ctx).Into(into)
	if err != nil {
		return fmt.Errorf("creating %s: %w", k.titled(wanted.GetNamespace(), wanted.GetName()), err)
	}
	into.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(k.name))
	return nil
}

// pages reads a collection of a namespace, or of all where that is empty; more tells what a page has left.
func (c *Client) pages(ctx context.Context, k kind, namespace string, options metav1.ListOptions, page func() runtime.Object, more func(runtime.Object) string) error {
	options.Limit = pageSize
	for {
		list := page()
		err := c.orlop.Get().NamespaceIfScoped(namespace, namespace != "").Resource(k.resource).VersionedParams(&options, c.params).Do(ctx).Into(list)
		if err != nil {
			return fmt.Errorf("listing the %ss: %w", k.name, err)
		}
		if options.Continue = more(list); options.Continue == "" {
			return nil
		}
	}
}

// Jobs are the NodeJobs of a namespace that a selector of labels fits; an empty namespace is all.
func (c *Client) Jobs(ctx context.Context, namespace, selector string) ([]v1alpha1.NodeJob, error) {
	var found []v1alpha1.NodeJob
	err := c.pages(ctx, jobKind, namespace, metav1.ListOptions{LabelSelector: selector}, func() runtime.Object { return &v1alpha1.NodeJobList{} },
		func(page runtime.Object) string {
			list, _ := page.(*v1alpha1.NodeJobList)
			found = append(found, list.Items...)
			return list.Continue
		})
	return found, err
}

// Job is one NodeJob.
func (c *Client) Job(ctx context.Context, namespace, name string) (*v1alpha1.NodeJob, error) {
	found := &v1alpha1.NodeJob{}
	return found, c.get(ctx, jobKind, namespace, name, found)
}

// CreateJob makes a NodeJob, and gives it as the API server has it.
func (c *Client) CreateJob(ctx context.Context, wanted *v1alpha1.NodeJob) (*v1alpha1.NodeJob, error) {
	made := &v1alpha1.NodeJob{}
	return made, c.create(ctx, jobKind, wanted, made, false)
}

// PatchJob changes a NodeJob by a JSON merge patch, and gives what it has become.
func (c *Client) PatchJob(ctx context.Context, namespace, name string, patch map[string]any) (*v1alpha1.NodeJob, error) {
	text, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("changing %s: %w", jobKind.titled(namespace, name), err)
	}
	found := &v1alpha1.NodeJob{}
	if err := c.orlop.Patch(types.MergePatchType).Namespace(namespace).Resource(jobKind.resource).Name(name).
		VersionedParams(&metav1.PatchOptions{FieldManager: manager}, c.params).Body(text).Do(ctx).Into(found); err != nil {
		return nil, fmt.Errorf("changing %s: %w", jobKind.titled(namespace, name), err)
	}
	return found, nil
}

// AnnotateJob sets one annotation of a NodeJob.
func (c *Client) AnnotateJob(ctx context.Context, namespace, name, key, value string) (*v1alpha1.NodeJob, error) {
	return c.PatchJob(ctx, namespace, name, map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
}

// DeleteJob deletes a NodeJob; one that is gone already is no error.
func (c *Client) DeleteJob(ctx context.Context, namespace, name string) error {
	background := metav1.DeletePropagationBackground
	err := c.orlop.Delete().Namespace(namespace).Resource(jobKind.resource).Name(name).Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s: %w", jobKind.titled(namespace, name), err)
	}
	return nil
}

// CronJobs are the NodeCronJobs of a namespace; empty is all.
func (c *Client) CronJobs(ctx context.Context, namespace string) ([]v1alpha1.NodeCronJob, error) {
	var found []v1alpha1.NodeCronJob
	err := c.pages(ctx, cronKind, namespace, metav1.ListOptions{}, func() runtime.Object { return &v1alpha1.NodeCronJobList{} },
		func(page runtime.Object) string {
			list, _ := page.(*v1alpha1.NodeCronJobList)
			found = append(found, list.Items...)
			return list.Continue
		})
	return found, err
}

// CronJob is one NodeCronJob.
func (c *Client) CronJob(ctx context.Context, namespace, name string) (*v1alpha1.NodeCronJob, error) {
	found := &v1alpha1.NodeCronJob{}
	return found, c.get(ctx, cronKind, namespace, name, found)
}

// CreateCronJob makes a NodeCronJob, and gives it as the API server has it; dryRun: it only says whether it would.
func (c *Client) CreateCronJob(ctx context.Context, wanted *v1alpha1.NodeCronJob, dryRun bool) (*v1alpha1.NodeCronJob, error) {
	made := &v1alpha1.NodeCronJob{}
	return made, c.create(ctx, cronKind, wanted, made, dryRun)
}

// WhoAmI is the name under which the API server knows us, for the record; empty where it does not tell.
func (c *Client) WhoAmI(ctx context.Context) string {
	review, err := c.core.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}
