// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"context"
	"encoding/base64"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/action"
	"orlop.dev/orlop/internal/pullsecret"
)

// keys are the Secrets that pulls of a node may use: those of caches, and those of NodeJobs by their uid.
type keys struct {
	caches map[types.NamespacedName][]pullsecret.Secret
	jobs   map[string][]pullsecret.Secret
}

// keys adds the Secrets of jobs that pull. What is wrong with one is told in the status of its job.
func (c *Controller) keys(ctx context.Context, a *assigned, caches map[types.NamespacedName][]pullsecret.Secret) keys {
	all := keys{caches: caches, jobs: map[string][]pullsecret.Secret{}}
	for i := range a.entries {
		e := &a.entries[i]
		if job := a.of[e.UID]; e.Pull != nil && job != nil && job.Spec.Pull != nil && !a.finished(e) {
			all.jobs[e.UID], _ = c.Secrets.For(ctx, pullsecret.OfPull(job.Namespace, job.Spec.Pull))
		}
	}
	return all
}

// forJobs names for each pull the envelopes to open. What a pull that is done was given stays as it is, so that neither a new key nor
// another state of its Secret is a write; it comes last, or those who still need the envelope would get an old one.
func (s *safe) forJobs() error {
	if s.view.jobs == nil {
		return nil
	}
	var done []*v1alpha1.StoreJob
	for i := range s.view.jobs.entries {
		e := &s.view.jobs.entries[i]
		if e.Pull == nil {
			continue
		}
		pull := *e.Pull // The ledger's own is shared by all nodes.
		pull.Credentials = nil
		e.Pull = &pull
		if s.view.jobs.finished(e) {
			done = append(done, e)
			continue
		}
		if err := s.forPull(e); err != nil {
			return err
		}
	}
	for _, e := range done {
		if had := s.view.jobs.store.Job(e.UID); had != nil && had.Pull != nil {
			e.Pull.Credentials = had.Pull.Credentials
			s.keep(had.Pull.Credentials)
		}
	}
	return nil
}

func (s *safe) forPull(e *v1alpha1.StoreJob) error {
	refs, _ := action.PullRefs(e.Pull.Images) // What is no reference, the job's status tells.
	secrets := s.secrets.jobs[e.UID]
	for i := range secrets {
		for _, ref := range refs {
			var err error
			if e.Pull.Credentials, err = s.name(e.Pull.Credentials, &secrets[i], ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep leaves envelopes as they stand.
func (s *safe) keep(names []string) {
	for _, name := range names {
		stands := s.stands[name]
		if _, ok := s.envelopes[name]; ok || stands == nil {
			continue
		}
		s.room -= base64.StdEncoding.EncodedLen(len(stands.Sealed)) + envelopeBytes
		s.envelopes[name] = *stands
	}
}
