// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package jobrun asks the nodes of a cluster in which Orlop is installed: by a NodeJob, which its agents carry out. It takes the
// same jobs as fleet, which makes pods, and tells of each node in the same words, so that a command is the same either way.
package jobrun

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/session"
)

// Config is how a job is made and followed. Client and Namespace are required.
type Config struct {
	Client    *operator.Client
	Namespace string
	// Spec chooses the nodes, and says how; what is done comes with the job. Of a pull, it has the Secrets.
	Spec v1alpha1.NodeJobSpec
	// MaxParallel is how many nodes work at once.
	MaxParallel int
	// Leave: it is made, and not waited for.
	Leave bool
	// RequestedBy is who asks, for the record.
	RequestedBy string

	// Made is told of the NodeJob. Unheard is told once if no controller takes notice of it.
	Made    func(*v1alpha1.NodeJob)
	Unheard func(*v1alpha1.NodeJob)
	// Again is asked after an interruption, while the job goes on: a yes cancels it.
	Again func(*v1alpha1.NodeJob) bool
}

// How a job can end that is not waited for to the end.
var (
	// ErrLeft: it goes on without us.
	ErrLeft = errors.New("the NodeJob goes on")
	// ErrCancelled: it was deleted while it went on.
	ErrCancelled = errors.New("the NodeJob was deleted")
)

const (
	// requestTimeout bounds requests that must be made although the command was interrupted.
	requestTimeout = 20 * time.Second
	// unheardAfter is how soon a controller that works has looked at a new job; it does within a second.
	unheardAfter = 10 * time.Second
	// maxAttempts bounds the search for a name that is free.
	maxAttempts = 5
	// suffix is how many random letters a name ends in, as those that the API server makes.
	suffix = 5
)

// Run makes the NodeJob, and returns when every node has answered or cannot any more: one outcome for each, in their order. The
// error says why none was asked, or that the job was left or cancelled.
func Run(ctx context.Context, cfg Config, nodes []fleet.Node, job fleet.Job) ([]fleet.Outcome, error) {
	request := job.Ask(fleet.Node{})
	spec, err := specOf(cfg.Spec, request)
	if err != nil {
		return nil, err
	}
	spec.DryRun = request.DryRun || job.Confirm != nil
	wanted := New(cfg.Namespace, job.Verb, spec)
	if cfg.RequestedBy != "" {
		wanted.Annotations = map[string]string{v1alpha1.AnnotationRequestedBy: cfg.RequestedBy}
	}
	made, err := Create(ctx, cfg.Client, wanted)
	if err != nil {
		return nil, err
	}
	if cfg.Made != nil {
		cfg.Made(made)
	}
	r := newRun(cfg, job, made, nodes)
	switch {
	case request.DryRun:
		defer r.discard(ctx)
		return r.phase(ctx, true)
	case job.Confirm == nil:
		return r.act(ctx)
	}
	if out, err := r.phase(ctx, true); err != nil || ctx.Err() != nil {
		r.discard(ctx)
		return out, err
	}
	yes := r.confirm(ctx)
	if ctx.Err() != nil || !yes && r.goes() {
		r.discard(ctx)
		r.decline(ctx.Err() != nil)
		return r.outcomes, nil
	}
	if !yes { // A plan to do nothing needs no yes, and nobody to carry it out.
		r.discard(ctx)
		r.settleEmpty()
		return r.outcomes, nil
	}
	if err := r.proceed(ctx); err != nil {
		return nil, err
	}
	return r.act(ctx)
}

// New is a NodeJob of the command line. Its name is the verb's, with what the API server would add.
func New(namespace, verb string, spec v1alpha1.NodeJobSpec) *v1alpha1.NodeJob {
	return &v1alpha1.NodeJob{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeJob"},
		ObjectMeta: metav1.ObjectMeta{
			Name: words[verb] + "-" + strings.ToLower(rand.Text()[:suffix]), Namespace: namespace,
			Labels: map[string]string{fleet.LabelName: operator.Product, fleet.LabelComponent: "nodejob", fleet.LabelManagedBy: manager},
		},
		Spec: spec,
	}
}

// Again is the name of a NodeJob that does the same as another: it begins as that one's does, and ends anew.
func Again(job *v1alpha1.NodeJob) string {
	if job.Labels[fleet.LabelManagedBy] == manager {
		return Named(madeEnd.ReplaceAllString(job.Name, ""))
	}
	return Named(job.Name)
}

// Named is a name that begins as another, and ends as those that the API server makes.
func Named(after string) string {
	return after[:min(len(after), maxName-suffix-1)] + "-" + strings.ToLower(rand.Text()[:suffix])
}

// manager is who has made a NodeJob, in its labels.
const manager = "kubectl-orlop"

// madeEnd is the end of a name that New made.
var madeEnd = regexp.MustCompile(`-[a-z2-7]{5}$`)

// maxName is the longest name of a NodeJob: it becomes a label of its pods.
const maxName = 63

// words are what names begin with, by verb.
var words = map[string]string{
	string(session.VerbPull): "pull", string(session.VerbRemove): "rm", string(session.VerbPrune): "prune", "run": "run", "check": "check",
}

// Create makes a NodeJob of New; a name that is taken gets another end.
func Create(ctx context.Context, client *operator.Client, wanted *v1alpha1.NodeJob) (*v1alpha1.NodeJob, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not broken off by Ctrl-C: a request that was sent may be carried out, and its job must be known to be deleted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		made, err := client.CreateJob(ctx, wanted)
		if !apierrors.IsAlreadyExists(err) || attempt == maxAttempts {
			return made, err
		}
		stem := wanted.Name[:len(wanted.Name)-suffix]
		wanted.Name = stem + strings.ToLower(rand.Text()[:suffix])
	}
}

// specOf is what a request is as a NodeJob.
func specOf(spec v1alpha1.NodeJobSpec, request session.Request) (v1alpha1.NodeJobSpec, error) {
	switch {
	case request.Pull != nil:
		pull := v1alpha1.PullAction{}
		if spec.Pull != nil { // The Secrets.
			pull = *spec.Pull
		}
		for _, ref := range request.Pull.Images {
			pull.Images = append(pull.Images, ref.String())
		}
		pull.ImagePullPolicy = pullPolicy(request.Pull.Policy)
		spec.Pull = &pull
	case request.Remove != nil:
		spec.Remove = action.FromRemove(*request.Remove)
	case request.Prune != nil:
		spec.Prune = action.FromPrune(*request.Prune)
	default:
		return spec, fmt.Errorf("a NodeJob cannot %s", request.Verb)
	}
	return spec, nil
}

// discard deletes a job that has nothing more to do.
func (r *run) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	_ = r.cfg.Client.DeleteJob(ctx, r.namespace, r.name) // It goes by its time to live, then.
}
