// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubetesting "k8s.io/client-go/testing"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/session"
)

func look() Job {
	return Job{Verb: "list", Timeout: time.Minute, Ask: func(Node) session.Request { return session.Request{Verb: session.VerbLook} }}
}

func remove() Job {
	return Job{Verb: "remove", Timeout: time.Minute, Removes: true, Ask: func(Node) session.Request { return session.Request{Verb: session.VerbRemove} }}
}

func waiting(reason, message string) *corev1.PodStatus {
	now := metav1.Now()
	return &corev1.PodStatus{Phase: corev1.PodPending, StartTime: &now, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}
}

func ended(reason, message string, code int32) *corev1.PodStatus {
	return &corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Reason: reason, Message: message, ExitCode: code}}}}}
}

// TestRunOneBadNode: each bad node is an outcome with its reason, soon, and its neighbour's answer stands.
func TestRunOneBadNode(t *testing.T) {
	cases := map[string]struct {
		host   host
		node   []func(*corev1.Node)
		state  State
		reason string
		words  string
		within time.Duration
	}{
		"answers":             {state: StateDone, within: time.Second},
		"image is not there":  {host: host{status: waiting("ErrImagePull", "not found")}, state: StateFailed, reason: ReasonNodeImage, words: "--image", within: time.Second},
		"image name is wrong": {host: host{status: waiting("InvalidImageName", "x")}, state: StateFailed, reason: ReasonNodeImage, within: time.Second},
		"pod cannot start":    {host: host{status: waiting("CreateContainerError", "no")}, state: StateFailed, reason: ReasonRejected, within: time.Second},
		"pod is refused": {host: host{status: &corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods", Message: "Node didn't have enough resource: pods"}},
			state: StateFailed, reason: ReasonRejected, words: "OutOfpods", within: time.Second},
		"pod is evicted": {host: host{status: &corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node had condition: [DiskPressure]"}},
			state: StateFailed, reason: ReasonRejected, words: "DiskPressure", within: time.Second},
		"not our image":         {host: host{status: ended("StartError", `exec: "session": not found`, 128)}, state: StateFailed, reason: ReasonCrashed, words: "ORLOP_IMAGE", within: time.Second},
		"out of memory":         {host: host{status: ended("OOMKilled", "", 137)}, state: StateFailed, reason: ReasonOutOfMemory, within: time.Second},
		"kubelet is silent":     {host: host{mute: true}, state: StateFailed, reason: ReasonSilent, words: "15s", within: 16 * time.Second},
		"socket is elsewhere":   {host: host{socket: "/run/k0s/containerd.sock"}, state: StateDone, within: time.Second},
		"no socket":             {host: host{socket: "/nowhere"}, state: StateFailed, reason: ReasonNoSocket, words: "/run/containerd/containerd.sock", within: time.Second},
		"another runtime":       {host: host{session: anotherRuntime}, state: StateFailed, reason: ReasonNoSocket, words: "1.6.1", within: 15 * time.Second},
		"runtime does not work": {host: host{session: deadRuntime}, state: StateFailed, reason: "RuntimeUnavailable", words: "refused", within: time.Second},
		"stream breaks":         {host: host{session: breaks}, state: StateLost, reason: ReasonLost, words: "reset by peer", within: 4 * time.Second},
		"says nothing":          {host: host{session: mute, silent: true}, state: StateFailed, reason: ReasonSilent, words: "20s", within: 45 * time.Second},
		"falls silent":          {host: host{session: fallsSilent, silent: true}, state: StateLost, reason: ReasonLost, words: "nothing was heard", within: 45 * time.Second},
		"never says more":       {host: host{session: startsAndMutes, silent: true}, state: StateLost, reason: ReasonLost, words: "nothing was heard", within: 21 * time.Second},
		"takes too long":        {host: host{session: tooLong}, state: StateTimedOut, reason: ReasonTimeout, words: "--timeout", within: 75 * time.Second},
		"is away": {node: []func(*corev1.Node){condition(corev1.NodeReady, corev1.ConditionUnknown, "Kubelet stopped posting node status.")},
			state: StateSkipped, reason: ReasonNotReady, words: "stopped posting", within: time.Second},
		"is of Windows": {node: []func(*corev1.Node){func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }},
			state: StateSkipped, reason: ReasonUnsupported, words: "windows: not supported", within: time.Second},
		"runtime is not known": {node: []func(*corev1.Node){func(n *corev1.Node) { n.Status.NodeInfo.ContainerRuntimeVersion = "rkt://1" }},
			state: StateSkipped, reason: ReasonUnsupported, words: "--runtime-socket", within: time.Second},
		"under pressure and full": {node: []func(*corev1.Node){condition(corev1.NodeDiskPressure, corev1.ConditionTrue, "")},
			state: StateSkipped, reason: ReasonNoPodSlot, words: "DiskPressure", within: time.Second},
		"under pressure": {node: []func(*corev1.Node){condition(corev1.NodeDiskPressure, corev1.ConditionTrue, ""), func(n *corev1.Node) {
			n.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}
		}}, state: StateDone, within: time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t, map[string]host{"bad": c.host}, aNode("bad", c.node...), aNode("good"))
				var first Outcome
				var began, heard time.Time
				job := look()
				job.Ended = func(o Outcome) {
					if o.Node.Name == "bad" {
						heard = time.Now()
					}
					if first.Node.Name == "" {
						first = o
					}
				}
				began = time.Now()
				outcomes := cluster.run(t.Context(), job)
				bad, good := outcomes[0], outcomes[1]
				if good.State != StateDone || good.Result == nil {
					t.Errorf("the good node is %s, %+v", good.State, good.Trouble)
				}
				if bad.State != c.state || (c.reason == "") != (bad.Trouble == nil) || bad.Trouble != nil && bad.Trouble.Reason != c.reason {
					t.Errorf("the bad node is %s, %+v; want %s %s", bad.State, bad.Trouble, c.state, c.reason)
				}
				if c.words != "" && !hasWord(bad.Trouble, c.words) {
					t.Errorf("%+v says nothing of %q", bad.Trouble, c.words)
				}
				if took := heard.Sub(began); took > c.within {
					t.Errorf("it was told after %s, want within %s", took, c.within)
				}
			})
		})
	}
}

func anotherRuntime(n *nodeEnd) error {
	if err := n.say(session.Message{Started: &engine.Description{Name: "containerd", Version: "1.6.1"}}); err != nil {
		return err
	}
	return n.finish(session.Result{Inventory: &session.Inventory{}})
}

func deadRuntime(n *nodeEnd) error {
	return n.finish(session.Result{Reason: engine.RuntimeUnavailable, Error: "connection refused"})
}

func breaks(n *nodeEnd) error {
	if err := n.start(); err != nil {
		return err
	}
	return errBroken
}

func mute(n *nodeEnd) error {
	_, err := n.update()
	return err
}

func fallsSilent(n *nodeEnd) error {
	if err := n.start(); err != nil {
		return err
	}
	if err := n.say(session.Message{}); err != nil {
		return err
	}
	return mute(n)
}

func startsAndMutes(n *nodeEnd) error {
	if err := n.start(); err != nil {
		return err
	}
	return mute(n)
}

func tooLong(n *nodeEnd) error {
	if err := n.start(); err != nil {
		return err
	}
	for n.say(session.Message{}) == nil { // It goes on also when it is told to end.
		time.Sleep(session.AliveEvery) // The clock of the test's bubble: no time passes.
	}
	return errBroken
}

func TestRunTriesTheNextSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t, map[string]host{"a": {socket: "/run/k0s/containerd.sock"}}, aNode("a"))
		outcome := cluster.run(t.Context(), look())[0]
		if outcome.Socket != "/run/k0s/containerd.sock" {
			t.Errorf("the socket was found at %q", outcome.Socket)
		}
		var tried []string
		for _, pod := range cluster.made("a") {
			tried = append(tried, pod.Spec.Volumes[0].HostPath.Path)
		}
		want := []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/k0s/containerd.sock"}
		if !slices.Equal(tried, want) {
			t.Errorf("tried %q, want %q", tried, want)
		}
	})
}

func TestRunRefusedByTheServer(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	cases := map[string]struct {
		err    error
		reason string
		advice string
	}{
		"no right":     {apierrors.NewForbidden(pods, "x", fmt.Errorf(`User "u" cannot create resource "pods"`)), ReasonForbidden, "kubectl auth can-i create pods"},
		"pod security": {apierrors.NewForbidden(pods, "x", fmt.Errorf(`violates PodSecurity "restricted:latest"`)), ReasonRefused, "--agent-namespace"},
		"quota":        {apierrors.NewForbidden(pods, "x", fmt.Errorf("exceeded quota: q")), ReasonRefused, ""},
		"no namespace": {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "x"), ReasonRefused, "--agent-namespace"},
		"server error": {apierrors.NewInternalError(fmt.Errorf("etcd")), ReasonAPI, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t, nil, aNode("a"))
				cluster.client.PrependReactor("create", "pods", func(kubetesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
				outcome := cluster.run(t.Context(), look())[0]
				if outcome.State != StateFailed || outcome.Trouble.Reason != c.reason || !hasWord(outcome.Trouble, c.advice) {
					t.Errorf("%s %+v, want %s with %q", outcome.State, outcome.Trouble, c.reason, c.advice)
				}
			})
		})
	}
}

// TestRunUnclearCreate: a pod whose creation was not answered may be there, or come yet, and is removed all the same.
func TestRunUnclearCreate(t *testing.T) {
	for name, late := range map[string]time.Duration{"made": 0, "made late": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t, nil, aNode("a"))
				var making sync.WaitGroup
				cluster.client.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
					pod := action.(kubetesting.CreateAction).GetObject().(*corev1.Pod).DeepCopy()
					making.Go(func() {
						time.Sleep(late) // The clock of the test's bubble.
						if err := cluster.client.Tracker().Add(pod); err != nil {
							t.Error(err)
						}
					})
					if late == 0 {
						making.Wait()
					}
					return true, nil, apierrors.NewTimeoutError("request timed out", 0)
				})
				outcome := cluster.run(t.Context(), look())[0] // It fails when a pod is left behind.
				making.Wait()
				if outcome.State != StateFailed || outcome.Trouble.Reason != ReasonAPI {
					t.Errorf("%s %+v", outcome.State, outcome.Trouble)
				}
			})
		})
	}
}

func TestRunConfirm(t *testing.T) {
	for name, yes := range map[string]bool{"yes": true, "no": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t, map[string]host{"gone": {session: breaks}}, aNode("a"), aNode("b"), aNode("gone"))
				cluster.fleet.cfg.MaxParallel = 1 // A node that waits for the yes takes no slot.
				asked, plans := 0, 0
				job := remove()
				job.Confirm = func(_ context.Context, outcomes []Outcome) bool {
					asked++
					for _, o := range outcomes {
						if o.Plan != nil {
							plans++
						}
					}
					return yes
				}
				outcomes := cluster.run(t.Context(), job)
				if asked != 1 || plans != 2 {
					t.Errorf("asked %d times, with %d plans", asked, plans)
				}
				want := map[bool]State{true: StateDone, false: StateDeclined}[yes]
				if outcomes[0].State != want || outcomes[1].State != want || outcomes[2].State != StateLost {
					t.Errorf("%s %s %s, want %s twice and Lost", outcomes[0].State, outcomes[1].State, outcomes[2].State, want)
				}
			})
		})
	}
}

// TestRunInterrupted: the node is told to end by the end of its input, has its last word, and its pod goes.
func TestRunInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := session.Step{Asked: "nginx", State: session.StatePulled}
		busy := func(n *nodeEnd) error {
			if err := n.start(); err != nil {
				return err
			}
			if _, err := n.update(); err == nil {
				t.Error("there is more input")
			}
			return n.say(session.Message{Result: &session.Result{Reason: engine.Unknown, Error: "gone", Steps: []session.Step{step}}})
		}
		cluster := newCluster(t, map[string]host{"a": {session: busy}}, aNode("a"))
		ctx, cancel := context.WithCancel(t.Context())
		job := look()
		job.Heard = func(_ Node, m session.Message) {
			if m.Started != nil {
				cancel()
			}
		}
		outcome := cluster.run(ctx, job)[0]
		if outcome.State != StateInterrupted || outcome.Result == nil || len(outcome.Result.Steps) != 1 {
			t.Errorf("%s with %+v", outcome.State, outcome.Result)
		}
	})
}

// TestRunCosts: whatever the number of nodes, a handful of LISTs, and one pod for each node.
func TestRunCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := []*corev1.Node{}
		for i := range 100 {
			nodes = append(nodes, aNode(fmt.Sprintf("node-%03d", i)))
		}
		cluster := newCluster(t, nil, nodes...)
		for _, o := range cluster.run(t.Context(), remove()) {
			if o.State != StateDone {
				t.Fatalf("%s is %s: %+v", o.Node.Name, o.State, o.Trouble)
			}
		}
		// One of them is this test's own, which looks for what is left behind.
		if lists := cluster.lists() - 1; lists >= 5 {
			t.Errorf("%d LIST calls for 100 nodes", lists)
		}
		if len(cluster.pods) != 100 {
			t.Errorf("%d pods for 100 nodes", len(cluster.pods))
		}
	})
}

func TestRunIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		slow := host{session: func(n *nodeEnd) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second) // The clock of the test's bubble.
			mu.Lock()
			now--
			mu.Unlock()
			return answerAll(n)
		}}
		hosts := map[string]host{}
		nodes := []*corev1.Node{}
		for i := range 10 {
			name := fmt.Sprint("n", i)
			hosts[name] = slow
			nodes = append(nodes, aNode(name))
		}
		cluster := newCluster(t, hosts, nodes...)
		cluster.fleet.cfg.MaxParallel = 3
		cluster.run(t.Context(), look())
		if most != 3 {
			t.Errorf("%d nodes at once, want 3", most)
		}
	})
}
