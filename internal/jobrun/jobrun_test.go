// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

func removing(t *testing.T, confirm func(context.Context, []fleet.Outcome) bool) fleet.Job {
	t.Helper()
	target, err := oci.ParseTarget("redis:8")
	if err != nil {
		t.Fatal(err)
	}
	return fleet.Job{Verb: "remove", Timeout: patience, Removes: true, Confirm: confirm,
		Ask: func(fleet.Node) session.Request {
			return session.Request{Verb: session.VerbRemove, Remove: &plan.RemoveRequest{Targets: []oci.Target{target}}}
		}}
}

func goes(state v1alpha1.JobState) v1alpha1.StoreJobStatus {
	freed := int64(5)
	return v1alpha1.StoreJobStatus{State: state, Removed: 1, Bytes: 7, FreedBytes: &freed, DiskBefore: 5000, DiskAfter: 4000,
		Images: []v1alpha1.JobImage{{Image: "docker.io/library/redis:8", State: v1alpha1.JobImageRemoved, ID: "sha256:22", Bytes: 7}}}
}

// ended are how nodes ended, in a word each.
func ended(outcomes []fleet.Outcome) (all []string) {
	for _, o := range outcomes {
		text := o.Node.Name + " " + string(o.State)
		if o.Trouble != nil {
			text += " " + o.Trouble.Reason
		}
		all = append(all, text)
	}
	return all
}

// TestConfirm: what was shown is carried out after a yes, on the nodes that showed it; else nothing is, and nothing stays.
func TestConfirm(t *testing.T) {
	away := v1alpha1.NodeJobStatus{SkippedNodes: []v1alpha1.NodeJobFailure{{Node: "b", Reason: v1alpha1.ReasonAgentNotReady, Message: "away"}}}
	for name, tt := range map[string]struct {
		nothing, yes bool
		want         []string
		deleted      bool
		patch        string
	}{
		"yes":               {false, true, []string{"a Done", "b Skipped AgentNotReady"}, false, `{"spec":{"dryRun":false,"nodeNames":["a"]}}`},
		"no":                {false, false, []string{"a Declined", "b Skipped AgentNotReady"}, true, ""},
		"nothing to remove": {true, false, []string{"a Done", "b Skipped AgentNotReady"}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, func(c *cluster, job v1alpha1.NodeJob) {
				answer := goes(v1alpha1.JobSucceeded)
				if tt.nothing {
					answer = v1alpha1.StoreJobStatus{State: v1alpha1.JobSucceeded, Absent: 1, Images: []v1alpha1.JobImage{{Image: "redis:8", State: v1alpha1.JobImageAbsent}}}
				}
				c.says(job, answer)
				c.ends(job, v1alpha1.ConditionComplete, v1alpha1.ReasonNodesDone, away)
			})
			shown := 0
			out, err := Run(t.Context(), Config{Client: c.client, Namespace: "shop"}, nodes("a", "b"), removing(t, func(_ context.Context, plans []fleet.Outcome) bool {
				for _, o := range plans {
					if o.Plan != nil {
						shown += len(o.Plan.Remove)
					}
				}
				return tt.yes && shown > 0
			}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ended(out)); diff != "" || c.deleted != tt.deleted || strings.Join(c.patches, "") != tt.patch {
				t.Errorf("%s deleted %v, patched %s", diff, c.deleted, c.patches)
			}
			if tt.yes && (*out[0].Result.FreedBytes != 5 || out[0].Result.DiskAfter.Percent() != 40 || !out[0].Proceeded || len(out[0].Result.Steps) != 1) {
				t.Errorf("%+v", out[0].Result)
			}
		})
	}
}

// TestEnds: how a node ends that does not do what was asked, by its own answer and by the job's.
func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(c *cluster, job v1alpha1.NodeJob)
		want   string
	}{
		"some images failed": {func(c *cluster, job v1alpha1.NodeJob) {
			c.says(job, v1alpha1.StoreJobStatus{State: v1alpha1.JobFailed, Failed: 1, Images: []v1alpha1.JobImage{{Image: "redis:8", State: v1alpha1.JobImageFailed, Reason: "NoEffect"}}})
		}, "a Done"},
		"the whole failed": {func(c *cluster, job v1alpha1.NodeJob) {
			c.says(job, v1alpha1.StoreJobStatus{State: v1alpha1.JobFailed, Reason: "RuntimeUnavailable", Message: "no answer"})
		}, "a Failed RuntimeUnavailable"},
		"the deadline": {func(c *cluster, job v1alpha1.NodeJob) {
			c.says(job, v1alpha1.StoreJobStatus{State: v1alpha1.JobCancelled})
			c.ends(job, v1alpha1.ConditionFailed, v1alpha1.ReasonDeadlineExceeded, v1alpha1.NodeJobStatus{})
		}, "a TimedOut Timeout"},
		"never begun": {func(c *cluster, job v1alpha1.NodeJob) {
			c.ends(job, v1alpha1.ConditionFailed, v1alpha1.ReasonNodeFailed, v1alpha1.NodeJobStatus{})
		}, "a Failed NodeFailed"},
		"not chosen": {func(c *cluster, job v1alpha1.NodeJob) {
			c.ends(job, v1alpha1.ConditionComplete, v1alpha1.ReasonNodesDone, v1alpha1.NodeJobStatus{})
		}, "a Skipped NotChosen"},
		"a failure of the controller's": {func(c *cluster, job v1alpha1.NodeJob) {
			c.ends(job, v1alpha1.ConditionFailed, v1alpha1.ReasonNodesFailed, v1alpha1.NodeJobStatus{Failures: []v1alpha1.NodeJobFailure{{Node: "a", Reason: "SecretNotFound", Message: "none"}}})
		}, "a Failed SecretNotFound"},
		"deleted by someone": {func(c *cluster, _ v1alpha1.NodeJob) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.job = nil
			c.wake()
		}, "a Failed Cancelled"},
		"an answer to another ask": {func(c *cluster, job v1alpha1.NodeJob) {
			other := job
			other.Spec.DryRun = true
			c.says(other, goes(v1alpha1.JobSucceeded))
			c.ends(job, v1alpha1.ConditionComplete, v1alpha1.ReasonNodesDone, v1alpha1.NodeJobStatus{})
		}, "a Skipped NotChosen"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tt.answer)
			out, err := Run(t.Context(), Config{Client: c.client, Namespace: "shop"}, nodes("a"), removing(t, nil))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.want}, ended(out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTimeout: the job is given a deadline that is over, so that nodes end what they are at, and answer.
func TestTimeout(t *testing.T) {
	c := newCluster(t, func(c *cluster, job v1alpha1.NodeJob) {
		c.looked(job)
		if job.Spec.ActiveDeadlineSeconds != nil {
			c.says(job, v1alpha1.StoreJobStatus{State: v1alpha1.JobCancelled, Removed: 1, Images: goes("").Images})
			c.ends(job, v1alpha1.ConditionFailed, v1alpha1.ReasonDeadlineExceeded, v1alpha1.NodeJobStatus{})
		}
	})
	job := removing(t, nil)
	job.Timeout = 50 * time.Millisecond
	out, err := Run(t.Context(), Config{Client: c.client, Namespace: "shop"}, nodes("a"), job)
	if err != nil || ended(out)[0] != "a TimedOut Timeout" || len(out[0].Result.Steps) != 1 || len(c.patches) != 1 {
		t.Errorf("%v %v, patched %s", err, ended(out), c.patches)
	}
}

// TestNobodyLooks: a job that no controller has seen in its time is not left to one that comes when nobody expects it any more.
func TestNobodyLooks(t *testing.T) {
	c := newCluster(t, nil)
	job := removing(t, nil)
	job.Timeout = 50 * time.Millisecond
	out, err := Run(t.Context(), Config{Client: c.client, Namespace: "shop"}, nodes("a"), job)
	if err != nil || ended(out)[0] != "a TimedOut Timeout" || !c.deleted {
		t.Errorf("%v %v, deleted %v", err, ended(out), c.deleted)
	}
}

// TestTurns: where few nodes work at once, all of them get the time of their turn.
func TestTurns(t *testing.T) {
	for most, want := range map[int]time.Duration{0: time.Minute, 1: 5 * time.Minute, 2: 3 * time.Minute, 5: time.Minute, 100: time.Minute} {
		r := &run{cfg: Config{MaxParallel: most}, job: fleet.Job{Timeout: time.Minute}, outcomes: make([]fleet.Outcome, 5)}
		if got := r.timeout(); got != want {
			t.Errorf("%d at once: %s, want %s", most, got, want)
		}
	}
}

// TestInterrupt: before anything is done, it goes; later it goes on, unless a second one says otherwise.
func TestInterrupt(t *testing.T) {
	for name, tt := range map[string]struct {
		confirm, again bool
		want           error
		deleted        bool
	}{
		"while planning":      {true, false, nil, true},
		"while it goes on":    {false, false, ErrLeft, false},
		"twice while it does": {false, true, ErrCancelled, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := newCluster(t, func(*cluster, v1alpha1.NodeJob) { cancel() })
			var confirm func(context.Context, []fleet.Outcome) bool
			if tt.confirm {
				confirm = func(context.Context, []fleet.Outcome) bool { return true }
			}
			out, err := Run(ctx, Config{Client: c.client, Namespace: "shop", Again: func(*v1alpha1.NodeJob) bool { return tt.again }}, nodes("a"), removing(t, confirm))
			if !errors.Is(err, tt.want) || c.deleted != tt.deleted {
				t.Errorf("%v, deleted %v", err, c.deleted)
			}
			if tt.want == nil && ended(out)[0] != "a Interrupted Interrupted" {
				t.Errorf("%v", ended(out))
			}
		})
	}
}

// TestHeard: what nodes say while they work is passed on, each thing once.
func TestHeard(t *testing.T) {
	ref, err := oci.Parse("nginx:1")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 10)
	c := newCluster(t, func(c *cluster, job v1alpha1.NodeJob) {
		working := v1alpha1.StoreJobStatus{State: v1alpha1.JobRunning, Progress: &v1alpha1.JobProgress{DoneBytes: 1, TotalBytes: 9, Images: 1}}
		c.says(job, working)
		for _, want := range []string{"started", "1 of 9"} {
			if got := <-heard; got != want {
				t.Errorf("heard %s, want %s", got, want)
			}
		}
		c.says(job, v1alpha1.StoreJobStatus{State: v1alpha1.JobSucceeded, Pulled: 1, Images: []v1alpha1.JobImage{{Image: ref.String(), State: v1alpha1.JobImagePulled}}})
	})
	out, err := Run(t.Context(), Config{Client: c.client, Namespace: "shop"}, nodes("a"), fleet.Job{Verb: "pull", Timeout: patience,
		Ask: func(fleet.Node) session.Request {
			return session.Request{Verb: session.VerbPull, Pull: &session.PullRequest{Images: []oci.Ref{ref}, Policy: session.PullAlways}}
		},
		Heard: func(_ fleet.Node, m session.Message) {
			switch {
			case m.Started != nil:
				heard <- "started"
			case m.Progress != nil:
				heard <- fmt.Sprintf("%d of %d", m.Progress.Done, m.Progress.Total)
			case m.Step != nil:
				heard <- string(m.Step.State)
			}
		}})
	if err != nil || ended(out)[0] != "a Done" || out[0].Plan != nil {
		t.Errorf("%v %+v", err, out)
	}
	close(heard)
	var rest []string
	for text := range heard {
		rest = append(rest, text)
	}
	if diff := cmp.Diff([]string{"Pulled"}, rest); diff != "" {
		t.Error(diff)
	}
	if c.job.Spec.Pull.ImagePullPolicy != "Always" || c.job.Spec.Pull.Images[0] != ref.String() {
		t.Errorf("%+v", c.job.Spec.Pull)
	}
}

func TestNamed(t *testing.T) {
	for after, want := range map[string]string{"clean": "clean-", "web-cache": "web-cache-", strings.Repeat("a", 63): strings.Repeat("a", 57) + "-"} {
		job := New("shop", "run", v1alpha1.NodeJobSpec{})
		first := Named(after)
		job.Name = first
		got := Again(job)
		if got == first {
			t.Errorf("%s twice", got)
		}
		if stem := got[:len(got)-suffix]; stem != want || len(got) > maxName {
			t.Errorf("%s: %s", after, got)
		}
	}
}
