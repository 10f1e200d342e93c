// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// Held is a pod on one node that stays until Close, for commands that a person types one after another. When this
// process ends in any other way, so does the pod's: its standard input is ours.
type Held struct {
	fleet   *Fleet
	node    string
	pod     string
	socket  string
	talk    *talk
	lookout *lookout
	clean   *cleaner
	stop    context.CancelFunc
	watcher sync.WaitGroup
}

// holder is the program in the tools image that waits.
const holder = "/usr/local/bin/orlop-node"

// Hold makes a pod of the tools image on a node, with the runtime's CRI socket, for as long as life. What keeps it from there is a *Trouble.
func (f *Fleet) Hold(ctx context.Context, node Node, startTimeout, life time.Duration) (*Held, error) {
	if node.Trouble != nil {
		return nil, node.Trouble
	}
	one := []Node{node}
	if err := f.markFull(ctx, one); err != nil {
		return nil, err
	}
	if one[0].full {
		return nil, noSlot(node)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &Held{fleet: f, lookout: newLookout(f, ""), stop: stop}
	h.clean = newCleaner(f, h.lookout)
	h.watcher.Go(func() { h.lookout.watch(watching) })
	if trouble := h.start(ctx, node, startTimeout, life); trouble != nil {
		h.Close(ctx)
		return nil, trouble
	}
	return h, nil
}

func (h *Held) start(ctx context.Context, node Node, startTimeout, life time.Duration) *Trouble {
	v := &visit{run: &run{fleet: h.fleet, lookout: h.lookout, job: Job{Timeout: startTimeout}}, deadline: time.NewTimer(startTimeout)}
	defer v.deadline.Stop()
	for i, socket := range criSockets(node) {
		pod := h.fleet.pod(order{node: node, socket: socket, attempt: i, verb: "shell", image: h.fleet.cfg.Image, command: []string{holder}, args: []string{"hold"}, life: life})
		trouble, unclear := h.fleet.create(ctx, pod)
		if unclear {
			h.clean.remove(ctx, pod.Name, node.Name, soon)
		}
		if trouble != nil {
			return trouble
		}
		_, trouble = v.awaitRunning(ctx, pod.Name, true)
		switch {
		case trouble == nil:
			h.node, h.pod, h.socket = node.Name, pod.Name, socket
			h.talk = newTalk(ctx, h.fleet.attach, pod.Name)
			return nil
		case trouble.Reason != reasonElsewhere:
			h.clean.remove(ctx, pod.Name, node.Name, soon)
			return trouble
		}
		h.clean.remove(ctx, pod.Name, node.Name, soon)
	}
	return &Trouble{Reason: ReasonNoSocket, Message: "no CRI socket at any of " + strings.Join(criSockets(node), ", "), Advice: "name it with --runtime-socket"}
}

// criSockets are the places of a socket that speaks CRI, which Docker's own does not.
func criSockets(node Node) []string {
	return slices.DeleteFunc(slices.Clone(node.sockets), func(s string) bool { return strings.HasSuffix(s, "/docker.sock") })
}

// Socket is the place on the node where the runtime's socket is; Endpoint is where programs in the pod find it.
func (h *Held) Socket() string { return h.socket }

// Endpoint is the address of the runtime for programs in the pod.
func (h *Held) Endpoint() string { return socketURL(socketInPod) }

// Over is closed when the pod has ended.
func (h *Held) Over() <-chan struct{} { return h.talk.over }

// Command is one program to run in the pod.
type Command struct {
	Args     []string
	Out, Err io.Writer
}

// Exec runs a program, and gives its exit code.
func (h *Held) Exec(ctx context.Context, c Command) (int, error) {
	options := &corev1.PodExecOptions{Container: containerName, Command: c.Args, Stdout: true, Stderr: true}
	where := h.fleet.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(h.fleet.cfg.Namespace).Name(h.pod).
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec).URL()
	exec, err := h.fleet.executor(where)
	if err != nil {
		return 0, err
	}
	err = exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: c.Out, Stderr: c.Err})
	if exit, ok := errors.AsType[utilexec.ExitError](err); ok && exit.Exited() {
		return exit.ExitStatus(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", c.Args[0], err)
	}
	return 0, nil
}

// Close ends the pod, and returns when it is gone.
func (h *Held) Close(ctx context.Context) {
	if h.talk != nil {
		h.talk.hush()
		timeout := time.NewTimer(exitTimeout)
		how := soon
		select {
		case <-h.talk.over:
			if h.talk.broke == nil {
				how = atOnce
			}
		case <-timeout.C:
		}
		timeout.Stop()
		h.talk.end()
		h.clean.remove(ctx, h.pod, h.node, how)
	}
	h.clean.wait()
	h.stop()
	h.watcher.Wait()
}
