// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package podrun

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time {
	return metav1.NewTime(noon.Add(time.Duration(seconds) * time.Second))
}

// exit is a container's end.
func exit(code int32, second int, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message, FinishedAt: at(second)}}
}

func waits(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

var runs = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

func statuses(states ...corev1.ContainerState) (all []corev1.ContainerStatus) {
	for i, state := range states {
		all = append(all, corev1.ContainerStatus{Name: string(rune('a' + i)), State: state})
	}
	return all
}

// deleted is a pod of which somebody asked after 10 s, with a grace of 30 s, that it go.
func deleted(pod corev1.Pod) corev1.Pod {
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = new(at(10+30)), new(int64(30))
	return pod
}

func forced(pod corev1.Pod) corev1.Pod {
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = new(at(0)), new(int64(0))
	return pod
}

func podIn(phase corev1.PodPhase, states ...corev1.ContainerState) corev1.Pod {
	pod := corev1.Pod{Status: corev1.PodStatus{Phase: phase, ContainerStatuses: statuses(states...)}}
	pod.Name, pod.Spec.NodeName, pod.Spec.RestartPolicy = "p", "node1", corev1.RestartPolicyNever
	return pod
}

func edit(pod corev1.Pod, by func(*corev1.Pod)) corev1.Pod {
	by(&pod)
	return pod
}

func aJob(limit int32, policy corev1.RestartPolicy) *v1alpha1.NodeJob {
	job := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "sweep", UID: "u-1"}}
	job.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "a", Image: "a"}}}}
	job.Spec.FailurePolicy.RestartLimit = &limit
	return job
}

func TestJudge(t *testing.T) {
	taint := func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: deletionByTaintManager, Message: "Taint manager: deleting due to NoExecute taint"}}
	}
	because := func(reason, message string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Status.Reason, pod.Status.Message = reason, message }
	}
	beside := corev1.Container{Name: "log", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}
	for name, c := range map[string]struct {
		pod  corev1.Pod
		init []corev1.Container
		lost bool
		want *v1alpha1.PodOutcome
	}{
		"waits":       {pod: podIn(corev1.PodPending, waits("ErrImagePull", "no such host"))},
		"runs":        {pod: podIn(corev1.PodRunning, runs)},
		"one is done": {pod: podIn(corev1.PodRunning, runs, exit(1, 5, "Error", ""))},
		"done": {
			pod:  podIn(corev1.PodSucceeded, exit(0, 5, "Completed", ""), exit(0, 7, "Completed", "12 files\n")),
			want: &v1alpha1.PodOutcome{State: v1alpha1.JobSucceeded, Message: "12 files", ExitCode: new(int32(0)), CompletionTime: new(at(7))},
		},
		"failed": {
			pod: podIn(corev1.PodFailed, exit(3, 5, "Error", "no room\n")),
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: v1alpha1.ReasonPodFailed, Message: "the container exited with code 3: no room", ExitCode: new(int32(3)), CompletionTime: new(at(5)),
			},
		},
		"the first that failed is to blame": {
			pod: podIn(corev1.PodFailed, exit(143, 9, "Error", ""), exit(137, 5, "OOMKilled", ""), exit(0, 1, "Completed", "fine")),
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: "OOMKilled", Message: "container b exited with code 137", ExitCode: new(int32(137)), CompletionTime: new(at(9)),
			},
		},
		"one that runs beside the others is not": {
			pod: edit(podIn(corev1.PodFailed, exit(4, 9, "Error", "")), func(pod *corev1.Pod) {
				pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "log", State: exit(143, 5, "Error", "bye")}}
			}),
			init: []corev1.Container{beside},
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: v1alpha1.ReasonPodFailed, Message: "container a exited with code 4", ExitCode: new(int32(4)), CompletionTime: new(at(9)),
			},
		},
		"evicted by the kubelet": {
			pod: edit(podIn(corev1.PodFailed, exit(137, 5, "Error", "")), because("Evicted", "The node was low on resource: memory.")),
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: "Evicted", Message: "The node was low on resource: memory.", ExitCode: new(int32(137)), CompletionTime: new(at(5)),
			},
		},
		"refused by the kubelet": {
			pod:  edit(podIn(corev1.PodFailed), because("OutOfcpu", "Node didn't have enough resource: cpu")),
			want: &v1alpha1.PodOutcome{State: v1alpha1.JobFailed, Reason: "OutOfcpu", Message: "Node didn't have enough resource: cpu"},
		},
		"failed, and nobody says why": {
			pod: podIn(corev1.PodFailed), want: &v1alpha1.PodOutcome{State: v1alpha1.JobFailed, Reason: v1alpha1.ReasonPodFailed},
		},
		"being deleted":            {pod: deleted(podIn(corev1.PodRunning, runs))},
		"deleted, killed for it":   {pod: deleted(podIn(corev1.PodFailed, exit(137, 12, "Error", ""))), lost: true},
		"deleted, ended well":      {pod: deleted(podIn(corev1.PodSucceeded, exit(0, 12, "Completed", ""))), want: &v1alpha1.PodOutcome{State: v1alpha1.JobSucceeded, ExitCode: new(int32(0)), CompletionTime: new(at(12))}},
		"deleted by force":         {pod: forced(podIn(corev1.PodRunning, runs)), lost: true},
		"deleted, never on a node": {pod: edit(deleted(podIn(corev1.PodPending)), func(pod *corev1.Pod) { pod.Spec.NodeName = "" }), lost: true},
		"deleted after it failed": {
			pod: deleted(podIn(corev1.PodFailed, exit(1, 8, "Error", ""))),
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: v1alpha1.ReasonPodFailed, Message: "the container exited with code 1", ExitCode: new(int32(1)), CompletionTime: new(at(8)),
			},
		},
		"deleted after the kubelet evicted it": {
			pod: edit(deleted(podIn(corev1.PodFailed, exit(137, 12, "Error", ""))), because("Evicted", "low on memory")),
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: "Evicted", Message: "low on memory", ExitCode: new(int32(137)), CompletionTime: new(at(12)),
			},
		},
		"a taint drives it out": {pod: edit(deleted(podIn(corev1.PodRunning, runs)), taint)},
		"a taint drove it out": {
			pod: edit(deleted(podIn(corev1.PodFailed, exit(137, 12, "Error", ""))), taint),
			want: &v1alpha1.PodOutcome{
				State: v1alpha1.JobFailed, Reason: deletionByTaintManager, Message: "Taint manager: deleting due to NoExecute taint", ExitCode: new(int32(137)), CompletionTime: new(at(12)),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			job := aJob(0, corev1.RestartPolicyNever)
			job.Spec.Template.Spec.InitContainers = c.init
			if got := lost(job, &c.pod); got != c.lost {
				t.Errorf("lost: %t", got)
			}
			if c.lost {
				return
			}
			got, over := judge(job, &c.pod)
			if over {
				t.Error("it is over its limit, and has none")
			}
			if c.want != nil {
				c.want.Pod = "p"
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRestarts(t *testing.T) {
	crashed := func(restarts int32, code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "a", RestartCount: restarts, State: waits("CrashLoopBackOff", "back-off"), LastTerminationState: exit(code, 5, "Error", "")}
	}
	again := func(restarts int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "b", RestartCount: restarts, State: runs, LastTerminationState: exit(1, 5, "Error", "")}
	}
	for name, c := range map[string]struct {
		limit      int32
		policy     corev1.RestartPolicy
		init, main []corev1.ContainerStatus
		restarts   int32
		over       bool
	}{
		"first failure of two tries":         {limit: 1, main: []corev1.ContainerStatus{crashed(0, 1)}},
		"second try":                         {limit: 1, main: []corev1.ContainerStatus{again(1)}},
		"second failure of two tries":        {limit: 1, main: []corev1.ContainerStatus{crashed(1, 1)}, restarts: 1, over: true},
		"third try, which is one too many":   {limit: 1, main: []corev1.ContainerStatus{again(2)}, restarts: 2, over: true},
		"those of all containers together":   {limit: 3, init: []corev1.ContainerStatus{again(2)}, main: []corev1.ContainerStatus{again(1), crashed(1, 2)}, restarts: 4, over: true},
		"just not over":                      {limit: 5, init: []corev1.ContainerStatus{again(2)}, main: []corev1.ContainerStatus{again(1), crashed(1, 2)}},
		"the limit was lowered on the way":   {limit: 0, main: []corev1.ContainerStatus{again(2)}, restarts: 2, over: true},
		"with Never, restarts do not happen": {limit: 0, policy: corev1.RestartPolicyNever, main: []corev1.ContainerStatus{again(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.policy == "" {
				c.policy = corev1.RestartPolicyOnFailure
			}
			pod := podIn(corev1.PodRunning)
			pod.Spec.RestartPolicy, pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = c.policy, c.init, c.main
			got, over := judge(aJob(c.limit, c.policy), &pod)
			if over != c.over || over != (got != nil) {
				t.Fatalf("over: %t, outcome %+v", over, got)
			}
			if over && (got.State != v1alpha1.JobFailed || got.Reason != v1alpha1.ReasonRestartLimit || got.Restarts != c.restarts || got.ExitCode != nil && *got.ExitCode == 0) {
				t.Errorf("outcome %+v, want %d restarts", got, c.restarts)
			}
		})
	}
}

func TestStuck(t *testing.T) {
	unscheduled := func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}
	}
	for name, c := range map[string]struct {
		pod             corev1.Pod
		reason, message string
	}{
		"runs":              {pod: podIn(corev1.PodRunning, runs)},
		"comes":             {pod: podIn(corev1.PodPending, waits("ContainerCreating", ""))},
		"no image":          {pod: podIn(corev1.PodPending, waits("PodInitializing", ""), waits("ImagePullBackOff", "not found")), reason: "ImagePullBackOff", message: "not found"},
		"no room":           {pod: edit(podIn(corev1.PodPending), unscheduled), reason: "Unschedulable", message: "0/3 nodes are available"},
		"a message of 4 KB": {pod: podIn(corev1.PodPending, waits("ErrImagePull", strings.Repeat("é", 2048))), reason: "ErrImagePull", message: strings.Repeat("é", 254) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			reason, message := stuck(&c.pod)
			if reason != c.reason || message != c.message {
				t.Errorf("%q: %q", reason, message)
			}
		})
	}
}

// What a container leaves as its last words may be 4 KB and may be cut in the middle of a letter; the schema takes 512 bytes.
func TestTextsFit(t *testing.T) {
	long := strings.Repeat("é", 3000)
	for name, pod := range map[string]corev1.Pod{
		"last words of success": podIn(corev1.PodSucceeded, exit(0, 5, "Completed", "x"+long)),
		"last words of failure": podIn(corev1.PodFailed, exit(1, 5, "Error", long+"!")),
		"the pod's message":     edit(podIn(corev1.PodFailed), func(pod *corev1.Pod) { pod.Status.Reason, pod.Status.Message = long, long }),
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := judge(aJob(0, corev1.RestartPolicyNever), Slim(&pod))
			if len(got.Message) > maxMessage || len(got.Message) < maxMessage-8 || len(got.Reason) > maxReason {
				t.Errorf("reason of %d bytes, message of %d", len(got.Reason), len(got.Message))
			}
			if strings.ToValidUTF8(got.Message, "?") != got.Message || strings.ToValidUTF8(got.Reason, "?") != got.Reason {
				t.Errorf("%q: %q", got.Reason, got.Message)
			}
		})
	}
}
