// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/session"
)

// Bounds on what is waited for, beside the job's own time.
const (
	// createTimeout bounds one request that creates a pod.
	createTimeout = 30 * time.Second
	// unseenTimeout is how soon a kubelet that works has taken notice of a pod; it does within a second or two.
	unseenTimeout = 15 * time.Second
	// startedTimeout is how soon an attached node says that it has found its runtime.
	startedTimeout = 20 * time.Second
	// silenceTimeout is how long a node that gives signs of life may give none.
	silenceTimeout = 4 * session.AliveEvery
	// lastWordTimeout is how long a node that was told to end may take to say what it had done.
	lastWordTimeout = 10 * time.Second
	// exitTimeout is how long a pod may take to end after its answer.
	exitTimeout = 2 * time.Second
)

// visit is the work with one node.
type visit struct {
	run      *run
	out      *Outcome
	stands   standing // guarded by the run's lock
	deadline *time.Timer
	holding  bool   // a slot
	socket   string // the place that is being tried
}

// do fills in the outcome.
func (v *visit) do(ctx context.Context) {
	node := v.out.Node
	switch {
	case node.Trouble != nil:
		v.end(StateSkipped, node.Trouble)
		return
	case node.full:
		v.end(StateSkipped, noSlot(node))
		return
	}
	select {
	case v.run.slots <- struct{}{}:
		v.holding = true
	case <-ctx.Done():
		v.end(StateInterrupted, &Trouble{Reason: ReasonInterrupted, Message: "not begun"})
		return
	case <-v.run.asked:
		v.end(StateSkipped, late(""))
		return
	}
	defer v.release()
	v.deadline = time.NewTimer(v.run.job.Timeout)
	defer v.deadline.Stop()
	for i, socket := range node.sockets {
		if next := v.try(ctx, i, socket); !next {
			return
		}
	}
	v.end(StateFailed, &Trouble{Reason: ReasonNoSocket, Message: fmt.Sprintf("no %s at any of %s", node.Runtime, strings.Join(node.sockets, ", ")),
		Advice: "is the runtime running? If its socket is in another place, name it with --runtime-socket"})
}

// noSlot is about a node under pressure that is full.
func noSlot(node Node) *Trouble {
	return &Trouble{Reason: ReasonNoPodSlot, Message: fmt.Sprintf("%s, and all of its %d pod slots are taken: ours would push out another pod",
		strings.Join(node.Pressure, ", "), node.maxPods)}
}

func (v *visit) release() {
	if v.holding {
		<-v.run.slots
		v.holding = false
	}
}

func (v *visit) end(state State, trouble *Trouble) {
	v.run.mu.Lock()
	defer v.run.mu.Unlock()
	v.out.State, v.out.Trouble = state, trouble
}

// try makes a pod with the socket at one place. next: it is not there, and another place should be tried.
func (v *visit) try(ctx context.Context, attempt int, socket string) (next bool) {
	f := v.run.fleet
	v.socket = socket
	pod := f.pod(order{
		node: v.out.Node, socket: socket, attempt: attempt, verb: v.run.job.Verb, image: f.cfg.Image, life: v.run.job.life(), grace: v.run.job.grace(),
		args: []string{"session", "--runtime-endpoint=" + socketURL(socketInPod)},
	})
	if v.run.needs != nil {
		v.run.needs.creating(pod.Name)
	}
	if trouble, unclear := f.create(ctx, pod); trouble != nil {
		v.end(StateFailed, trouble)
		if unclear {
			v.run.clean.remove(ctx, pod.Name, v.out.Node.Name, soon)
		}
		return false
	}
	how := soon
	defer func() { v.run.clean.remove(ctx, pod.Name, v.out.Node.Name, how) }()
	for attached := range maxAttaches {
		if state, trouble := v.awaitRunning(ctx, pod.Name, attached > 0); trouble != nil {
			// Unless it may just be starting, no process of it runs that its kubelet must end first.
			if state == StateFailed {
				how = atOnce
			}
			if trouble.Reason == reasonElsewhere {
				return true
			}
			v.end(state, trouble)
			return false
		}
		t := newTalk(ctx, f.attach, pod.Name)
		c := &conversation{visit: v, talk: t, pod: pod.Name}
		verdict := c.hold(ctx)
		t.end()
		switch {
		case v.out.Unsettled():
			how = inItsTime
		case verdict.exited:
			how = atOnce
		}
		switch {
		case verdict.elsewhere && attempt < len(v.out.Node.sockets)-1:
			return true
		case verdict.unheard && attached < maxAttaches-1:
			continue
		}
		v.end(verdict.state, verdict.trouble)
		return false
	}
	return false
}

// maxAttaches: once when the event tells that the container runs, and once more when its status does.
const maxAttaches = 2

// reasonElsewhere is a trouble within this package: the socket is not at this place.
const reasonElsewhere = "elsewhere"

// create makes a pod. unclear: it may have been made in spite of the trouble, or will be yet.
func (f *Fleet) create(ctx context.Context, pod *corev1.Pod) (trouble *Trouble, unclear bool) {
	// Not broken off by Ctrl-C: a request that was sent may be carried out, and its pod must be known to be removed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancel()
	if _, err := f.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return judgeCreate(err, pod.Namespace), !isRefusal(err)
	}
	return nil, false
}

// isRefusal tells an answer that rules out that anything was made from one that does not: a time-out, a connection
// that broke, a server that lost its own.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err)
}

// awaitRunning waits until the pod can be attached to. byStatus: its status must say so, an event is not enough.
func (v *visit) awaitRunning(ctx context.Context, pod string, byStatus bool) (State, *Trouble) {
	unseen := time.NewTimer(unseenTimeout)
	defer unseen.Stop()
	for {
		s, changed := v.run.lookout.look(pod)
		if byStatus {
			s.started = false
		}
		at, trouble := judge(s.pod, s)
		denied, blind := v.run.lookout.sight()
		switch {
		case denied:
			return StateFailed, &Trouble{Reason: ReasonForbidden, Message: blind.Error(), Advice: "kubectl auth can-i watch pods -n " + v.run.fleet.cfg.Namespace}
		case s.gone:
			return StateFailed, &Trouble{Reason: ReasonCrashed, Message: "our pod was deleted by someone else"}
		case at == stageRunning:
			return "", nil
		case at == stageOver:
			return StateFailed, trouble
		case at == stageNoMount:
			return StateFailed, &Trouble{Reason: reasonElsewhere}
		}
		select {
		case <-changed:
		case <-unseen.C:
			if at == stageUnseen && blind != nil {
				return StateFailed, &Trouble{Reason: ReasonAPI, Message: "our pods cannot be watched: " + blind.Error()}
			}
			if at == stageUnseen {
				return StateFailed, &Trouble{Reason: ReasonSilent, Message: fmt.Sprintf("its kubelet has not reacted to our pod for %s", unseenTimeout)}
			}
		case <-v.deadline.C:
			message := fmt.Sprintf("our pod did not run within %s", v.run.job.Timeout)
			if s.warning != "" {
				message += "; the last warning about it: " + s.warning
			}
			return StateTimedOut, &Trouble{Reason: ReasonTimeout, Message: message, Advice: "allow more with --timeout"}
		case <-ctx.Done():
			return StateInterrupted, &Trouble{Reason: ReasonInterrupted, Message: "interrupted before it began"}
		case <-v.run.asked:
			return StateSkipped, late(s.warning)
		}
	}
}
