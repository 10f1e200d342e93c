// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
)

// maxNote is somewhat under what the API server takes.
const maxNote = 1000

// news is one event.
type news struct{ kind, reason, action, note string }

// transitions are what became otherwise between two statuses.
func transitions(before, after *v1alpha1.NodeJobStatus) (all []news) {
	if before.Phase == after.Phase {
		return nil
	}
	switch after.Phase {
	case phaseComplete:
		all = append(all, news{corev1.EventTypeNormal, phaseComplete, "Complete", after.Message})
	case phaseFailed:
		all = append(all, news{corev1.EventTypeWarning, phaseFailed, "Fail", after.Message})
	case phasePaused:
		all = append(all, news{corev1.EventTypeWarning, phasePaused, "Pause", after.Message})
	case phaseSuspended:
		all = append(all, news{corev1.EventTypeNormal, phaseSuspended, "Suspend", after.Message})
	case phaseRunning:
		if before.Phase != "" && before.Phase != phaseWaiting {
			all = append(all, news{corev1.EventTypeNormal, "Resumed", "Resume", "It goes on, after it was " + before.Phase})
		}
	}
	return all
}

func (c *Controller) tell(job *v1alpha1.NodeJob, all []news) {
	for _, n := range all {
		c.cfg.Recorder.Eventf(job, nil, n.kind, n.reason, n.action, "%s", condition.Cut(n.note, maxNote))
	}
}
