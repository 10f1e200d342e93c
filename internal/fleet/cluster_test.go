// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// cluster is a fake API server whose nodes do as they are told.
type cluster struct {
	t      *testing.T
	client *fake.Clientset
	fleet  *Fleet

	mu    sync.Mutex
	hosts map[string]host
	pods  []*corev1.Pod // every pod that was ever created
	// graces are those with which the pods of each node were deleted, in seconds; -1: their own.
	graces map[string][]int64
}

// host is how one node behaves. Its zero value answers with an empty inventory.
type host struct {
	// socket is where the runtime's socket is; empty: wherever it is looked for.
	socket string
	// status is what the kubelet makes of a pod instead of running it; nil: it runs. mute: it takes no notice.
	status *corev1.PodStatus
	mute   bool
	// slow: its kubelet lets no pod go before its time, unless it is forced to.
	slow bool
	// silent: no signs of life come from it.
	silent bool
	// session plays the node in its pod; nil: look and plan, and do nothing.
	session func(n *nodeEnd) error
}

func init() {
	// The fake server's watches panic when they have more events to tell than that; a real one's do not.
	watch.DefaultChanSize = 10_000
	// One of them waits after each error by a clock from outside of the tests' bubbles, which is years ahead.
	utilruntime.ErrorHandlers = nil
}

// clusters makes every run's id another.
var clusters atomic.Uint64

func newCluster(t *testing.T, hosts map[string]host, nodes ...*corev1.Node) *cluster {
	t.Helper()
	cryptotest.SetGlobalRandom(t, clusters.Add(1)) // Go's FIPS 140-3 module takes its entropy from a clock that runs.
	c := &cluster{t: t, client: fake.NewClientset(), hosts: hosts, graces: map[string][]int64{}}
	for _, n := range nodes {
		if err := c.client.Tracker().Add(n); err != nil {
			t.Fatal(err)
		}
	}
	c.client.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		pod := action.(kubetesting.CreateAction).GetObject().(*corev1.Pod).DeepCopy()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pods = append(c.pods, pod)
		return false, nil, nil
	})
	c.client.PrependReactor("delete", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		deletion := action.(kubetesting.DeleteActionImpl)
		grace := int64(-1)
		if asked := deletion.DeleteOptions.GracePeriodSeconds; asked != nil {
			grace = *asked
		}
		node := c.nodeOf(deletion.Name)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.graces[node] = append(c.graces[node], grace)
		return c.hosts[node].slow && grace != 0, nil, nil
	})
	c.fleet = newFleet(Config{Image: "node:1", Version: "1.0"}, c.client)
	c.fleet.attach = c.attach
	return c
}

// kubelets play until the context ends: they give every pod the status that its node's host makes of it.
func (c *cluster) kubelets(ctx context.Context) {
	w, err := c.client.CoreV1().Pods(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Error(err)
		return
	}
	defer w.Stop()
	for {
		select {
		case e := <-w.ResultChan():
			pod, ok := e.Object.(*corev1.Pod)
			if ok && e.Type == "ADDED" && pod.Labels[LabelRun] != "" {
				c.admit(ctx, pod.DeepCopy())
			}
		case <-ctx.Done():
			return
		}
	}
}

func (c *cluster) admit(ctx context.Context, pod *corev1.Pod) {
	h := c.hosts[pod.Spec.NodeName]
	socket := pod.Spec.Volumes[0].HostPath.Path
	now := metav1.Now()
	switch {
	case h.mute:
		return
	case h.status != nil:
		pod.Status = *h.status
	case h.socket != "" && h.socket != socket:
		event := &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name + ".1", Namespace: pod.Namespace}, Type: corev1.EventTypeWarning, Reason: "FailedMount",
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod.Name},
			Message:        `MountVolume.SetUp failed for volume "runtime" : hostPath type check failed: ` + socket + " is not a socket file",
		}
		if _, err := c.client.CoreV1().Events(pod.Namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
			c.t.Error(err)
		}
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, StartTime: &now}
	default:
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &now, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	}
	// A pod may be deleted before its kubelet has said anything of it.
	if _, err := c.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		c.t.Error(err)
	}
}

// nodeEnd is the node's side of a session.
type nodeEnd struct {
	request session.Request
	in      *json.Decoder
	writing sync.Mutex
	out     *json.Encoder
}

func (n *nodeEnd) say(m session.Message) error {
	n.writing.Lock()
	defer n.writing.Unlock()
	return n.out.Encode(m)
}

// live gives signs of life until it is stopped.
func (n *nodeEnd) live() (stop func()) {
	var living sync.WaitGroup
	done := make(chan struct{})
	living.Go(func() {
		tick := time.NewTicker(session.AliveEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = n.say(session.Message{}) // One that nobody hears any more is as good.
			case <-done:
				return
			}
		}
	})
	return func() { close(done); living.Wait() }
}

// update is the next line, or an error when whoever asked has gone.
func (n *nodeEnd) update() (session.Update, error) {
	var u session.Update
	err := n.in.Decode(&u)
	return u, err
}

var runtimeFound = engine.Description{Name: "containerd", Version: "v2.4.2"}

func (n *nodeEnd) start() error { return n.say(session.Message{Started: &runtimeFound}) }

// finish gives the result, and ends when it was heard.
func (n *nodeEnd) finish(r session.Result) error {
	if err := n.say(session.Message{Result: &r}); err != nil {
		return err
	}
	err := error(nil)
	for err == nil {
		_, err = n.update()
	}
	return nil
}

func (c *cluster) attach(_ context.Context, pod string, s streams) error {
	node := c.nodeOf(pod)
	n := &nodeEnd{in: json.NewDecoder(s.in), out: json.NewEncoder(s.out)}
	if err := n.in.Decode(&n.request); err != nil {
		return err
	}
	if !c.hosts[node].silent {
		defer n.live()()
	}
	if play := c.hosts[node].session; play != nil {
		return play(n)
	}
	return answerAll(n)
}

// answerAll is a node without images, which does what it is asked.
func answerAll(n *nodeEnd) error {
	if err := n.start(); err != nil {
		return err
	}
	if n.request.Verb == session.VerbLook {
		return n.finish(session.Result{Inventory: &session.Inventory{Images: []session.ImageInfo{}}})
	}
	planned := plan.Plan{Remove: []plan.Removal{{Image: engine.Image{ID: "sha256:1"}}}}
	if err := n.say(session.Message{Plan: &planned}); err != nil {
		return err
	}
	for n.request.Confirm {
		u, err := n.update()
		if err != nil {
			return n.say(session.Message{Result: &session.Result{Reason: engine.Unknown, Error: "whoever asked is gone"}})
		}
		if u.Proceed {
			break
		}
	}
	return n.finish(session.Result{Steps: []session.Step{{Asked: "x", State: session.StateRemoved}}})
}

// run asks the nodes, and sees to it that nothing is left behind.
func (c *cluster) run(ctx context.Context, job Job) []Outcome {
	c.t.Helper()
	playing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var kubelets sync.WaitGroup
	defer kubelets.Wait()
	defer stop()
	kubelets.Go(func() { c.kubelets(playing) })
	nodes, err := c.fleet.Nodes(ctx, Choice{})
	if err != nil {
		c.t.Fatal(err)
	}
	outcomes, err := c.fleet.Run(ctx, nodes, job)
	if err != nil {
		c.t.Fatal(err)
	}
	left, err := c.client.CoreV1().Pods(c.fleet.Namespace()).List(context.WithoutCancel(ctx), metav1.ListOptions{LabelSelector: LabelRun})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, pod := range left.Items {
		if slices.Contains(c.fleet.Finishing(), pod.Spec.NodeName) {
			continue
		}
		c.t.Errorf("pod %s is left behind", pod.Name)
	}
	return outcomes
}

// nodeOf is the node of a pod that was ever created.
func (c *cluster) nodeOf(pod string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if p.Name == pod {
			return p.Spec.NodeName
		}
	}
	return ""
}

// made are the pods that were created on a node.
func (c *cluster) made(node string) []*corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pods []*corev1.Pod
	for _, pod := range c.pods {
		if pod.Spec.NodeName == node {
			pods = append(pods, pod)
		}
	}
	return pods
}

// lists counts the LIST calls, which is what weighs on an API server.
func (c *cluster) lists() (n int) {
	for _, action := range c.client.Actions() {
		if action.GetVerb() == "list" {
			n++
		}
	}
	return n
}

func aNode(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "containerd://2.4.2", KubeletVersion: "v1.36.3"},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func condition(kind corev1.NodeConditionType, status corev1.ConditionStatus, message string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			if n.Status.Conditions[i].Type == kind {
				n.Status.Conditions[i].Status, n.Status.Conditions[i].Message = status, message
				return
			}
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: status, Message: message})
	}
}

// broken is a stream that ends as one does when its node's network goes.
var errBroken = errors.New("connection reset by peer")

func hasWord(t *Trouble, words string) bool {
	return t != nil && (strings.Contains(t.Message, words) || strings.Contains(t.Advice, words))
}
