// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/controller/nodejob/podrun"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// job is a removal; with changes it is something else.
func job(changes ...func(*v1alpha1.NodeJob)) *v1alpha1.NodeJob {
	j := &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "rm", UID: "j1", Generation: 1, CreationTimestamp: metav1.NewTime(noon.Add(-time.Minute))},
		Spec:       v1alpha1.NodeJobSpec{Remove: &v1alpha1.RemoveAction{Images: []string{"docker.io/minchou/*"}}},
	}
	for _, change := range changes {
		change(j)
	}
	return j
}

func templated(j *v1alpha1.NodeJob) {
	j.Spec.Remove = nil
	j.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}}
}

func parallel(n intstr.IntOrString) func(*v1alpha1.NodeJob) {
	return func(j *v1alpha1.NodeJob) { j.Spec.Parallelism = &n }
}

func policy(kind v1alpha1.FailurePolicyType) func(*v1alpha1.NodeJob) {
	return func(j *v1alpha1.NodeJob) { j.Spec.FailurePolicy.Type = kind }
}

func never(j *v1alpha1.NodeJob)   { j.Spec.CompletionPolicy.Type = v1alpha1.CompleteNever }
func suspend(j *v1alpha1.NodeJob) { j.Spec.Suspend = true }
func dryRun(j *v1alpha1.NodeJob)  { j.Spec.DryRun = true }

func deadline(seconds int64) func(*v1alpha1.NodeJob) {
	return func(j *v1alpha1.NodeJob) { j.Spec.ActiveDeadlineSeconds = &seconds }
}

func retry(j *v1alpha1.NodeJob) { j.Annotations = map[string]string{v1alpha1.AnnotationRetry: "a"} }

// began has started so long ago.
func began(ago time.Duration) func(*v1alpha1.NodeJob) {
	return func(j *v1alpha1.NodeJob) {
		at := metav1.NewTime(noon.Add(-ago))
		j.Status.StartTime, j.Status.ObservedGeneration = &at, j.Generation
	}
}

// over has ended a minute ago.
func over(kind, reason string) func(*v1alpha1.NodeJob) {
	return func(j *v1alpha1.NodeJob) {
		at := metav1.NewTime(noon.Add(-time.Minute))
		j.Status.CompletionTime, j.Status.ObservedGeneration = &at, j.Generation
		j.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: reason, LastTransitionTime: at}}
	}
}

func edited(j *v1alpha1.NodeJob) { j.Generation++ }

// node is a member that is there; with changes it is something else.
func node(name string, changes ...func(*member)) member {
	m := member{name: name, chosen: true, node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))}}}
	for _, change := range changes {
		change(&m)
	}
	return m
}

// asked stands in its store.
func asked(run int32, changes ...func(*v1alpha1.StoreJob)) func(*member) {
	return func(m *member) {
		e := &v1alpha1.StoreJob{Job: "shop/rm", UID: "j1", Run: run}
		for _, change := range changes {
			change(e)
		}
		m.stood, m.asked = e, e
	}
}

func planning(e *v1alpha1.StoreJob) { e.DryRun = true }

// pending was asked, and its store does not show it yet.
func pending(m *member) {
	m.asked = &v1alpha1.StoreJob{Job: "shop/rm", UID: "j1"}
}

func answered(state v1alpha1.JobState) func(*member) {
	return func(m *member) {
		m.answer = &v1alpha1.StoreJobStatus{UID: "j1", Run: m.asked.Run, DryRun: m.asked.DryRun, State: state}
		if state == v1alpha1.JobFailed {
			m.answer.Reason, m.answer.Message = "NoEffect", "it is still there"
		}
	}
}

func away(reason string, patience time.Duration) func(*member) {
	return func(m *member) { m.away, m.patience = word{reason, "gone"}, noon.Add(patience) }
}

func barred(m *member)   { m.barred = "This node has the taint a=b:NoSchedule" }
func unchosen(m *member) { m.chosen = false }
func named(m *member)    { m.named = true }
func young(m *member)    { m.node.CreationTimestamp = metav1.NewTime(noon) }

// pod runs; with a state it has ended so.
func pod(run int32, state v1alpha1.JobState) func(*member) {
	return func(m *member) {
		seen := podrun.Seen{Run: run, Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("rm-%s-%d", m.name, run)}}}
		seen.Pod.Status.Phase = corev1.PodRunning
		switch state {
		case v1alpha1.JobSucceeded:
			seen.Pod.Status.Phase, seen.Outcome = corev1.PodSucceeded, &v1alpha1.PodOutcome{State: state}
		case v1alpha1.JobFailed:
			seen.Pod.Status.Phase, seen.Outcome = corev1.PodFailed, &v1alpha1.PodOutcome{State: state, Reason: v1alpha1.ReasonPodFailed}
		default:
		}
		m.pod = &seen
	}
}

func wrote(state v1alpha1.JobState) func(*member) {
	return asked(0, func(e *v1alpha1.StoreJob) { e.Outcome = &v1alpha1.PodOutcome{State: state, Reason: "Because"} })
}

const running v1alpha1.JobState = v1alpha1.JobRunning

// short is a verdict for the eye: what each node is asked, what becomes of pods, and what is said.
func short(v verdict) string {
	var parts []string
	for name, e := range v.entries {
		text := fmt.Sprintf("%s:%d", name, e.Run)
		if e.DryRun {
			text += " plan"
		}
		if e.Cancel {
			text += " cancel"
		}
		if e.Outcome != nil {
			text += " " + string(e.Outcome.State)
		}
		parts = append(parts, text)
	}
	slices.Sort(parts)
	for _, s := range v.starts {
		parts = append(parts, fmt.Sprintf("start %s:%d", s.node.Name, s.run))
	}
	for _, p := range v.settled {
		parts = append(parts, "release "+p.Name)
	}
	for _, p := range v.orphaned {
		parts = append(parts, "drop "+p.Name)
	}
	s := &v.status
	said := fmt.Sprintf("%s %s a%d f%d s%d", s.Phase, s.Summary, s.Active, s.Failed, s.Skipped)
	for _, c := range s.Conditions {
		if c.Status == metav1.ConditionTrue {
			said += " " + c.Type + "/" + c.Reason
		}
	}
	if v.remove {
		said += " remove"
	}
	return strings.Join(parts, ", ") + " | " + said
}

func TestDecide(t *testing.T) {
	const (
		succeeded, failed, cancelled = v1alpha1.JobSucceeded, v1alpha1.JobFailed, v1alpha1.JobCancelled
		complete, fail               = v1alpha1.ConditionComplete, v1alpha1.ConditionFailed
	)
	done := func(m *member) { asked(0)(m); answered(succeeded)(m) }
	bad := func(m *member) { asked(0)(m); answered(failed)(m) }
	ended := func(m *member) {
		asked(0, func(e *v1alpha1.StoreJob) { e.Cancel = true })(m)
		answered(cancelled)(m)
	}
	planned := func(m *member) { asked(0, planning)(m); answered(succeeded)(m) }
	unheeded := asked(0, planning, func(e *v1alpha1.StoreJob) { e.Cancel = true })
	at := func(active int32) func(*v1alpha1.NodeJob) {
		return func(j *v1alpha1.NodeJob) { j.Status.Active = active }
	}
	wasPlan := func(j *v1alpha1.NodeJob) { j.Status.Planned = true }
	for name, tc := range map[string]struct {
		job     *v1alpha1.NodeJob
		members []member
		change  func(*picture)
		want    string
	}{
		"the API server does not take a store": {
			job: job(), members: []member{node("n1", pending, func(m *member) { m.refusal = "policy" })}, want: "n1:0 | Running 0/1 a1 f0 s0 Stalled/Refused",
		},
		"all are asked": {job: job(), members: []member{node("n1"), node("n2")}, want: "n1:0, n2:0 | Running 0/2 a2 f0 s0"},
		"so many at a time, by name": {
			job: job(parallel(intstr.FromInt32(2))), members: []member{node("n1"), node("n2"), node("n3")}, want: "n1:0, n2:0 | Running 0/3 a2 f0 s0",
		},
		"a percentage is rounded up": {
			job: job(parallel(intstr.FromString("34%"))), members: []member{node("n1"), node("n2"), node("n3")}, want: "n1:0, n2:0 | Running 0/3 a2 f0 s0",
		},
		"none for now":                      {job: job(parallel(intstr.FromInt32(0))), members: []member{node("n1")}, want: " | Waiting 0/1 a0 f0 s0"},
		"one that is asked holds a turn":    {job: job(parallel(intstr.FromInt32(1))), members: []member{node("n1"), node("n2", pending)}, want: "n2:0 | Running 0/2 a1 f0 s0"},
		"one that has answered gives it on": {job: job(parallel(intstr.FromInt32(1))), members: []member{node("n1", done), node("n2")}, want: "n1:0, n2:0 | Running 1/2 a1 f0 s0"},
		"fewer turns end nothing": {
			job: job(parallel(intstr.FromInt32(1))), members: []member{node("n1", asked(0)), node("n2", asked(0)), node("n3")}, want: "n1:0, n2:0 | Running 0/3 a2 f0 s0",
		},
		"an answer of an earlier run is none": {
			job: job(), members: []member{node("n1", bad, asked(1))}, want: "n1:1 | Running 0/1 a1 f0 s0",
		},
		"done":                      {job: job(), members: []member{node("n1", done), node("n2", done)}, want: "n1:0, n2:0 | Complete 2/2 a0 f0 s0 Complete/NodesDone"},
		"nobody":                    {job: job(), want: " | Complete 0/0 a0 f0 s0 Complete/NodesDone"},
		"any failure is a failure":  {job: job(), members: []member{node("n1", bad), node("n2", done)}, want: "n1:0, n2:0 | Failed 1/2 a0 f1 s0 Failed/NodesFailed"},
		"others go on by default":   {job: job(), members: []member{node("n1", bad), node("n2")}, want: "n1:0, n2:0 | Running 0/2 a1 f1 s0"},
		"FailFast ends the others":  {job: job(policy(v1alpha1.FailFast)), members: []member{node("n1", bad), node("n2", asked(0)), node("n3"), node("n4", done)}, want: "n1:0, n2:0 cancel, n4:0 | Failed 1/4 a1 f1 s0 Failed/NodeFailed"},
		"Pause starts nothing more": {job: job(policy(v1alpha1.FailPause)), members: []member{node("n1", bad), node("n2", asked(0)), node("n3")}, want: "n1:0, n2:0 | Paused 0/3 a1 f1 s0 Suspended/Paused"},
		"Pause with nothing left":   {job: job(policy(v1alpha1.FailPause)), members: []member{node("n1", bad), node("n2", done)}, want: "n1:0, n2:0 | Failed 1/2 a0 f1 s0 Failed/NodesFailed"},
		"what was ended has failed with it": {
			job:     job(policy(v1alpha1.FailFast), began(time.Minute), over(fail, "NodeFailed"), func(j *v1alpha1.NodeJob) { j.Status.Active = 1 }),
			members: []member{node("n1", bad), node("n2", ended), node("n3")}, want: "n1:0, n2:0 cancel | Failed 0/3 a0 f2 s0 Failed/NodeFailed",
		},
		"a failed job stays": {
			job: job(policy(v1alpha1.FailFast), over(fail, "NodeFailed")), members: []member{node("n1", bad), node("n3")}, want: "n1:0 |   a0 f0 s0 Failed/NodeFailed",
		},
		"another policy goes on": {
			job: job(over(fail, "NodeFailed"), edited), members: []member{node("n1", bad), node("n2", ended), node("n3")}, want: "n1:0, n2:1, n3:0 | Running 0/3 a2 f1 s0",
		},
		"a retry goes on": {
			job: job(policy(v1alpha1.FailFast), over(fail, "NodeFailed"), retry), members: []member{node("n1", bad), node("n2", ended), node("n3", done), node("n4")},
			want: "n1:1, n2:1, n3:0, n4:1 | Running 1/4 a3 f0 s0",
		},
		"a retry passes all runs": {
			job: job(retry), members: []member{node("n1", asked(3), answered(failed)), node("n2", done)}, want: "n1:4, n2:0 | Running 1/2 a1 f0 s0",
		},
		"a retry ends a pause": {
			job: job(policy(v1alpha1.FailPause), began(time.Minute), retry), members: []member{node("n1", bad), node("n2")}, want: "n1:1, n2:1 | Running 0/2 a2 f0 s0",
		},
		"the same retry does nothing": {
			job:     job(policy(v1alpha1.FailPause), began(time.Minute), retry, func(j *v1alpha1.NodeJob) { j.Status.Retry, j.Status.Run = "a", 1 }),
			members: []member{node("n1", asked(1), answered(failed)), node("n2")}, want: "n1:1 | Paused 0/2 a0 f1 s0 Suspended/Paused",
		},
		"who has not failed tries first": {
			job: job(parallel(intstr.FromInt32(1)), func(j *v1alpha1.NodeJob) { j.Status.Run = 1 }), members: []member{node("n1", ended, func(m *member) { m.asked.Run, m.answer.Run = 1, 1 }), node("n2")},
			want: "n1:1 cancel, n2:1 | Running 0/2 a1 f0 s0",
		},
		"suspend ends what is under way": {
			job: job(suspend), members: []member{node("n1", done), node("n2", asked(0)), node("n3", pending), node("n4")}, want: "n1:0, n2:0 cancel | Suspended 1/4 a2 f0 s0 Suspended/Suspended",
		},
		"after it, the ended ones are asked again": {job: job(), members: []member{node("n1", done), node("n2", ended)}, want: "n1:0, n2:1 | Running 1/2 a1 f0 s0"},
		"after it, one that heard nothing goes on": {
			job: job(), members: []member{node("n1", asked(0, func(e *v1alpha1.StoreJob) { e.Cancel = true }))}, want: "n1:0 | Running 0/1 a1 f0 s0",
		},
		"a suspended job does not end": {job: job(suspend), want: " | Suspended 0/0 a0 f0 s0 Suspended/Suspended"},
		"too late": {
			job: job(deadline(60), began(time.Minute)), members: []member{node("n1", done), node("n2", asked(0)), node("n3")}, want: "n1:0, n2:0 cancel | Failed 1/3 a1 f0 s0 Failed/DeadlineExceeded",
		},
		"done in time, and seen late": {job: job(deadline(60), began(time.Hour)), members: []member{node("n1", done)}, want: "n1:0 | Complete 1/1 a0 f0 s0 Complete/NodesDone"},
		"a longer deadline goes on": {
			job: job(deadline(7200), began(time.Hour), over(fail, "DeadlineExceeded"), edited), members: []member{node("n1", ended)}, want: "n1:1 | Running 0/1 a1 f0 s0",
		},
		"away from the start": {job: job(), members: []member{node("n1", done), node("n2", away("NodeNotReady", 0))}, want: "n1:0 | Complete 1/2 a0 f0 s1 Complete/NodesDone"},
		"all away":            {job: job(), members: []member{node("n1", away("NodeNotReady", 0))}, want: " | Complete 0/1 a0 f0 s1 Complete/NodesDone"},
		"away for a moment":   {job: job(), members: []member{node("n1", done), node("n2", asked(0), away("AgentNotReady", time.Second))}, want: "n1:0, n2:0 | Running 1/2 a1 f0 s0"},
		"away for long, with a turn": {
			job: job(parallel(intstr.FromInt32(1))), members: []member{node("n1", asked(0), away("AgentNotReady", 0)), node("n2")}, want: "n1:0, n2:0 | Running 0/2 a1 f0 s1",
		},
		"away at the end": {job: job(), members: []member{node("n1", done), node("n2", asked(0), away("AgentNotReady", 0))}, want: "n1:0, n2:0 cancel | Complete 1/2 a0 f0 s1 Complete/NodesDone"},
		"away at the end, and there is time": {
			job: job(deadline(3600)), members: []member{node("n1", done), node("n2", asked(0), away("AgentNotReady", 0))}, want: "n1:0, n2:0 | Complete 1/2 a0 f0 s1 Complete/NodesDone",
		},
		"back in time": {
			job: job(deadline(3600), began(time.Minute), over(complete, "NodesDone")), members: []member{node("n1", done), node("n2"), node("n3", young), node("n4", young, named)},
			want: "n1:0, n2:0, n4:0 | Complete 1/3 a2 f0 s0 Complete/NodesDone",
		},
		"back in time, and failed": {
			job: job(deadline(3600), began(time.Minute), over(complete, "NodesDone")), members: []member{node("n1", done), node("n2", bad)}, want: "n1:0, n2:0 | Failed 1/2 a0 f1 s0 Failed/NodesFailed",
		},
		"back in time, and at it when the time is over": {
			job: job(deadline(60), began(time.Hour), over(complete, "NodesDone"), at(1)), members: []member{node("n1", done), node("n2", asked(0))}, want: "n1:0, n2:0 cancel | Complete 1/2 a1 f0 s0 Complete/NodesDone",
		},
		"and ended with it": {
			job: job(deadline(60), began(time.Hour), over(complete, "NodesDone"), at(1)), members: []member{node("n1", done), node("n2", ended)}, want: "n1:0, n2:0 cancel | Complete 1/2 a0 f0 s1 Complete/NodesDone",
		},
		"or done in the last moment": {
			job: job(deadline(60), began(time.Hour), over(complete, "NodesDone"), at(1)), members: []member{node("n1", done), node("n2", done)}, want: "n1:0, n2:0 | Complete 2/2 a0 f0 s0 Complete/NodesDone",
		},
		"or failed": {
			job: job(deadline(60), began(time.Hour), over(complete, "NodesDone"), at(1)), members: []member{node("n1", done), node("n2", bad)}, want: "n1:0, n2:0 | Failed 1/2 a0 f1 s0 Failed/NodesFailed",
		},
		"back too late":           {job: job(deadline(60), began(time.Hour), over(complete, "NodesDone")), members: []member{node("n1", done), node("n2")}, want: "n1:0 |   a0 f0 s0 Complete/NodesDone"},
		"new nodes come too late": {job: job(over(complete, "NodesDone")), members: []member{node("n1", done), node("n2", young)}, want: "n1:0 |   a0 f0 s0 Complete/NodesDone"},
		"ended, and its entry was dropped": {
			job: job(over(complete, "NodesDone")), members: []member{node("n1", done, func(m *member) { m.stood = nil }), node("n2", done)}, want: "n2:0 |   a0 f0 s0 Complete/NodesDone",
		},
		"Never serves them":           {job: job(never), members: []member{node("n1", done), node("n2", young)}, want: "n1:0, n2:0 | Running 1/2 a1 f0 s0"},
		"Never does not end":          {job: job(never), members: []member{node("n1", done)}, want: "n1:0 | Running 1/1 a0 f0 s0"},
		"Never goes on after failure": {job: job(never), members: []member{node("n1", bad), node("n2", young)}, want: "n1:0, n2:0 | Running 0/2 a1 f1 s0"},
		"no such node": {
			job: job(), members: []member{{name: "n0", named: true, chosen: true, away: word{"NodeNotFound", "none"}}, node("n1", named, done)}, want: "n1:0 | Complete 1/2 a0 f0 s1 Complete/NodesDone",
		},
		"a taint excludes":                    {job: job(), members: []member{node("n1", barred), node("n2", done)}, want: "n2:0 | Complete 1/1 a0 f0 s0 Complete/NodesDone"},
		"a taint on one that is named":        {job: job(), members: []member{node("n1", barred, named), node("n2", named, done)}, want: "n2:0 | Complete 1/2 a0 f0 s1 Complete/NodesDone"},
		"a taint ends nothing":                {job: job(), members: []member{node("n1", asked(0), barred), node("n2", bad, barred)}, want: "n1:0, n2:0 | Running 0/2 a1 f1 s0"},
		"no longer chosen, done":              {job: job(), members: []member{node("n1", done, unchosen)}, want: "n1:0 | Complete 1/1 a0 f0 s0 Complete/NodesDone"},
		"no longer chosen, failed and active": {job: job(), members: []member{node("n1", bad, unchosen), node("n2", asked(0), unchosen), node("n3", done)}, want: "n1:0, n2:0 cancel, n3:0 | Complete 1/1 a0 f0 s0 Complete/NodesDone"},
		"a plan":                              {job: job(dryRun), members: []member{node("n1", planned), node("n2")}, want: "n1:0 plan, n2:0 plan | Running 1/2 a1 f0 s0"},
		"a plan is made":                      {job: job(dryRun), members: []member{node("n1", planned)}, want: "n1:0 plan | Complete 1/1 a0 f0 s0 Complete/Planned"},
		"a plan is carried out, by those that made one": {
			job: job(over(complete, "Planned"), edited, wasPlan), members: []member{node("n1", planned), node("n2"), node("n3", asked(0, planning), answered(failed))},
			want: "n1:0, n3:0 plan | Running 0/3 a1 f0 s2",
		},
		"a plan that failed is made again": {
			job: job(dryRun, over(fail, "NodesFailed"), wasPlan, retry), members: []member{node("n1", asked(0, planning), answered(failed))}, want: "n1:1 plan | Running 0/1 a1 f0 s0",
		},
		"but not once plans are carried out": {
			job: job(over(fail, "NodesFailed"), edited, wasPlan, retry), members: []member{node("n1", asked(0, planning), answered(failed)), node("n2", planned)},
			want: "n1:0 plan, n2:1 | Running 0/2 a1 f0 s1",
		},
		"who has not told its plan by then is not waited for": {
			job: job(wasPlan, began(time.Minute), edited), members: []member{node("n1", planned), node("n2", asked(0, planning)), node("n3", asked(0, planning), away("NodeNotReady", 0))},
			want: "n1:0, n2:0 plan cancel, n3:0 plan cancel | Running 0/3 a1 f0 s2",
		},
		"a plan that comes then was shown to nobody": {
			job: job(wasPlan, began(time.Minute), edited), members: []member{node("n1", planned), node("n2", unheeded, answered(succeeded)), node("n3", ended, asked(0, planning), answered(cancelled))},
			want: "n1:0, n2:0 plan cancel, n3:0 plan | Running 0/3 a1 f0 s2",
		},
		"a plan made when it was to be ended counts while it is one": {
			job: job(dryRun, wasPlan), members: []member{node("n1", unheeded, answered(succeeded)), node("n2")}, want: "n1:0 plan, n2:0 plan | Running 1/2 a1 f0 s0",
		},
		"but not if nobody counted it": {
			job: job(dryRun, wasPlan, over(complete, "Planned")), members: []member{node("n1", unheeded, answered(succeeded))}, want: "n1:0 plan cancel |   a0 f0 s0 Complete/Planned",
		},
		"nobody can read it": {
			job: job(), members: []member{node("n1")}, change: func(p *picture) { p.invalid = errors.New("no good") }, want: " | Failed 0/1 a0 f0 s0 Failed/Invalid Stalled/Invalid",
		},
		"pods":               {job: job(templated), members: []member{node("n1"), node("n2")}, want: "start n1:0, start n2:0 | Running 0/2 a2 f0 s0"},
		"a pod runs":         {job: job(templated), members: []member{node("n1", pod(0, running))}, want: " | Running 0/1 a1 f0 s0"},
		"a pod has ended":    {job: job(templated), members: []member{node("n1", pod(0, succeeded))}, want: "n1:0 Succeeded | Running 0/1 a1 f0 s0"},
		"it is on its way":   {job: job(templated), members: []member{node("n1", pod(0, succeeded), wrote(succeeded), func(m *member) { m.stood = nil })}, want: "n1:0 Succeeded | Running 0/1 a1 f0 s0"},
		"it is written down": {job: job(templated), members: []member{node("n1", pod(0, succeeded), wrote(succeeded))}, want: "n1:0 Succeeded, release rm-n1-0 | Complete 1/1 a0 f0 s0 Complete/NodesDone"},
		"the pod is gone":    {job: job(templated), members: []member{node("n1", wrote(succeeded))}, want: "n1:0 Succeeded | Complete 1/1 a0 f0 s0 Complete/NodesDone"},
		"a node is gone":     {job: job(templated), members: []member{{name: "n1", pod: &podrun.Seen{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}}}}, want: "drop p | Complete 0/0 a0 f0 s0 Complete/NodesDone"},
		"a pod on a dead node": {
			job: job(templated), members: []member{node("n1", pod(0, running), away("NodeNotReady", time.Second))}, want: " | Running 0/1 a1 f0 s0",
		},
		"suspend ends pods":           {job: job(templated, suspend), members: []member{node("n1", pod(0, running))}, want: "n1:0 Cancelled | Suspended 0/1 a1 f0 s0 Suspended/Suspended"},
		"once that is written down":   {job: job(templated, suspend), members: []member{node("n1", pod(0, running), wrote(cancelled))}, want: "n1:0 Cancelled, release rm-n1-0 | Suspended 0/1 a0 f0 s0 Suspended/Suspended"},
		"no second pod beside it":     {job: job(templated), members: []member{node("n1", pod(0, running), wrote(cancelled))}, want: "n1:0 Cancelled, release rm-n1-0 | Waiting 0/1 a0 f0 s0"},
		"and then it runs again":      {job: job(templated), members: []member{node("n1", wrote(cancelled))}, want: "n1:0 Cancelled, start n1:1 | Running 0/1 a1 f0 s0"},
		"that one's outcome":          {job: job(templated), members: []member{node("n1", wrote(cancelled), pod(1, succeeded))}, want: "n1:1 Succeeded | Running 0/1 a1 f0 s0"},
		"a failed pod":                {job: job(templated), members: []member{node("n1", wrote(failed))}, want: "n1:0 Failed | Failed 0/1 a0 f1 s0 Failed/NodesFailed"},
		"a failed pod tries again":    {job: job(templated, retry, over(fail, "NodesFailed")), members: []member{node("n1", wrote(failed), pod(0, failed))}, want: "n1:0 Failed, start n1:1, release rm-n1-0 | Running 0/1 a1 f0 s0"},
		"ended, and a pod is left":    {job: job(templated, over(complete, "NodesDone")), members: []member{node("n1", pod(0, running))}, want: "n1:0 Cancelled |   a0 f0 s0 Complete/NodesDone"},
		"the API server takes no pod": {job: job(templated), members: []member{node("n1")}, change: func(p *picture) { p.refused = "no" }, want: " | Waiting 0/1 a0 f0 s0 Stalled/PodRefused"},
		"its time is over": {
			job: job(over(complete, "NodesDone"), func(j *v1alpha1.NodeJob) { j.Spec.TTLSecondsAfterFinished = new(int32(60)) }), members: []member{node("n1", done)},
			want: "n1:0 |   a0 f0 s0 Complete/NodesDone remove",
		},
		"not before its end is told": {
			job: job(func(j *v1alpha1.NodeJob) { j.Spec.TTLSecondsAfterFinished = new(int32(0)) }), members: []member{node("n1", done)}, want: "n1:0 | Complete 1/1 a0 f0 s0 Complete/NodesDone",
		},
		"not before its pods are let go": {
			job: job(templated, over(complete, "NodesDone"), func(j *v1alpha1.NodeJob) { j.Spec.TTLSecondsAfterFinished = new(int32(0)) }), members: []member{node("n1", pod(0, succeeded))},
			want: "n1:0 Succeeded |   a0 f0 s0 Complete/NodesDone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := picture{job: tc.job, members: tc.members, tally: newTally(), now: noon}
			if tc.change != nil {
				tc.change(&p)
			}
			v := decide(p)
			if got := short(v); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if v.status.ObservedGeneration != tc.job.Generation {
				t.Errorf("observedGeneration %d, want %d", v.status.ObservedGeneration, tc.job.Generation)
			}
			// To decide again, on what was written, changes nothing that is said.
			p = picture{job: tc.job.DeepCopy(), members: tc.members, tally: newTally(), now: noon}
			if tc.change != nil {
				tc.change(&p)
			}
			p.job.Status = v.status
			if second := decide(p); !cmp.Equal(second.status, v.status) {
				t.Errorf("a second look says something else:\n%s", cmp.Diff(v.status, second.status))
			}
		})
	}
}

func TestAStatusFitsWhateverHappens(t *testing.T) {
	long := strings.Repeat("x", 250)
	j := job(func(j *v1alpha1.NodeJob) {
		for i := range 300 {
			j.Spec.NodeNames = append(j.Spec.NodeNames, fmt.Sprintf("node-%d", i))
		}
	})
	tally := newTally()
	var members []member
	for i := range 5000 {
		m := node(fmt.Sprintf("%s-%04d", long[:230], i), asked(0), answered(v1alpha1.JobFailed))
		m.answer.Message = strings.Repeat("ü", 512)
		m.answer.Reason = long[:64]
		for k := range 20 {
			m.answer.Images = append(m.answer.Images, v1alpha1.JobImage{Image: fmt.Sprintf("%s/%d", strings.Repeat("i", 590), (i+k)%300), State: v1alpha1.JobImageFailed})
		}
		if i%2 == 0 {
			m = node(m.name, away("AgentNotReady", 0))
			m.away.message = long
		} else {
			tally.hear(m.name, m.answer)
		}
		members = append(members, m)
	}
	v := decide(picture{job: j, members: members, tally: tally, now: noon})
	j.Status = v.status
	if got := size(j) + 2*size(j.Spec); got > 100_000 {
		t.Errorf("the object takes %d bytes", got)
	}
	s := v.status
	if s.Failed != 2500 || int(s.OmittedFailures)+len(s.Failures) != 2500 || int(s.OmittedSkipped)+len(s.SkippedNodes) != 2500 || len(s.Failures) < 10 ||
		int(s.OmittedImages)+len(s.Images) != 300 {
		t.Errorf("%d failures and %d more, %d skipped and %d more, %d images and %d more", len(s.Failures), s.OmittedFailures,
			len(s.SkippedNodes), s.OmittedSkipped, len(s.Images), s.OmittedImages)
	}
}

func TestAnswersAddUp(t *testing.T) {
	answer := func(freed int64, images ...v1alpha1.JobImage) *v1alpha1.StoreJobStatus {
		return &v1alpha1.StoreJobStatus{FreedBytes: &freed, Images: images}
	}
	gone := func(name string, bytes int64) v1alpha1.JobImage {
		return v1alpha1.JobImage{Image: name, State: v1alpha1.JobImageRemoved, Bytes: bytes}
	}
	tally := newTally()
	tally.hear("n1", answer(10, gone("a", 5), gone("b", 5), v1alpha1.JobImage{Image: "c", State: v1alpha1.JobImageKept}))
	tally.hear("n2", answer(7, gone("b", 7)))
	tally.hear("n1", answer(20, gone("b", 20), v1alpha1.JobImage{Image: "d", State: v1alpha1.JobImageFailed}))
	tally.hear("n3", answer(1, gone("e", 1)))
	tally.hear("n3", nil)
	images, omitted := tally.images()
	want := []v1alpha1.NodeJobImage{{Image: "b", Nodes: 2, Bytes: 27}, {Image: "d", FailedNodes: 1}}
	if diff := cmp.Diff(want, images); diff != "" || omitted != 0 {
		t.Errorf("%d omitted, and %s", omitted, diff)
	}
	if freed, known := tally.freed(false); freed != 27 || !known {
		t.Errorf("%d bytes freed, %v", freed, known)
	}
	if _, known := tally.freed(true); known {
		t.Error("a plan was made out of nothing")
	}
}

// A node must know that it may not go beyond a plan: it may have lost its own.
func TestWhatFollowsAPlanSaysSo(t *testing.T) {
	j := job(over(v1alpha1.ConditionComplete, v1alpha1.ReasonPlanned), edited, func(j *v1alpha1.NodeJob) { j.Status.Planned = true })
	v := decide(picture{job: j, members: []member{node("n1", asked(0, planning), answered(v1alpha1.JobSucceeded))}, tally: newTally(), now: noon})
	if e := v.entries["n1"]; e.DryRun || !e.Planned {
		t.Errorf("it is asked %+v", e)
	}
	if e := decide(picture{job: job(dryRun), members: []member{node("n1")}, tally: newTally(), now: noon}).entries["n1"]; !e.DryRun || e.Planned {
		t.Errorf("for the plan it is asked %+v", e)
	}
}

func TestWhatIsAskedIsWhatTheJobSays(t *testing.T) {
	pull := job(func(j *v1alpha1.NodeJob) {
		j.Spec.Remove, j.Spec.Pull = nil, &v1alpha1.PullAction{Images: []string{"nginx"}, ImagePullPolicy: corev1.PullAlways}
	})
	v := decide(picture{job: pull, members: []member{node("n1")}, tally: newTally(), now: noon})
	want := v1alpha1.StoreJob{Job: "shop/rm", UID: "j1", RestartLimit: 3, Pull: &v1alpha1.StorePull{Images: []string{"nginx"}, ImagePullPolicy: corev1.PullAlways}}
	if diff := cmp.Diff(want, v.entries["n1"]); diff != "" {
		t.Error(diff)
	}
}

// Nothing else happens to a job without pods when it has ended, by which it would be looked at again.
func TestAJobThatEndsIsLookedAtAgainWhenItsTimeIsOver(t *testing.T) {
	for ttl, want := range map[int32]time.Time{0: noon, 60: noon.Add(time.Minute)} {
		j := job(func(j *v1alpha1.NodeJob) { j.Spec.TTLSecondsAfterFinished = &ttl })
		v := decide(picture{job: j, tally: newTally(), now: noon}) // of no node
		if !ended(v.status.Conditions) || v.remove || !v.again.Equal(want) {
			t.Errorf("with %d s: %+v, again at %s, want %s", ttl, v.status.Conditions, v.again, want)
		}
	}
}
