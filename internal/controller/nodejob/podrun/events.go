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

func (r *Runner) sayLost(job *v1alpha1.NodeJob, pod *corev1.Pod, node string) {
	r.Recorder.Eventf(job, nil, corev1.EventTypeNormal, "PodDeleted", "CreatePod", "Pod %s on node %s was deleted before it ended: it is run again", pod.Name, node)
}
