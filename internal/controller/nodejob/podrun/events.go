// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

// maxNote is what the API server takes for an event's note, less our own words.
const maxNote = 900

func (r *Runner) sayRefused(job *v1alpha1.NodeJob, refused *Refused) {
	r.Recorder.Eventf(job, nil, corev1.EventTypeWarning, v1alpha1.ReasonPodRefused, "CreatePod", "The API server refused a pod of the template: %s", head(refused.Text, maxNote))
}

// reasonDeleted is why a pod that somebody deleted does not get on.
const reasonDeleted = "PodDeleted"

func (r *Runner) sayLost(job *v1alpha1.NodeJob, pod *corev1.Pod, node string) {
	r.Recorder.Eventf(job, nil, corev1.EventTypeNormal, reasonDeleted, "ReleasePod", "Pod %s on node %s was deleted before it ended: it counts as neither done nor failed", pod.Name, node)
}
