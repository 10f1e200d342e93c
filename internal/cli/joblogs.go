// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/operator"
)

// maxLogRequests is how many logs are read at once, as stern has it: each is a connection that stays.
const maxLogRequests = 50

type jobLogsOptions struct {
	*app
	namespaced
	follow     bool
	group      bool
	timestamps bool
	noPrefix   bool
	container  string
	nodes      []string
	tail       int64
	max        int

	write sync.Mutex
	op    *operator.Client
	job   *v1alpha1.NodeJob
}

func (a *app) jobLogsCommand() *cobra.Command {
	o := &jobLogsOptions{app: a}
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print the logs of a NodeJob's pods, on every node",
		Long: `Print the logs of a NodeJob's pods, on every node: each line behind its node's name, as it comes. --group prints node after node.
--follow goes on as long as the NodeJob does, also with pods that are yet to start. Pods go with their NodeJob.`,
		Example: a.examples(`
			{} job logs upgrade
			{} job logs upgrade --follow -n ops
			{} job logs upgrade --group --tail 20
			{} job logs upgrade --node node-1,node-2 --timestamps`),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			name := ""
			switch {
			case len(args) == 0:
				err = errors.New("name the NodeJob")
			case o.follow && o.group:
				err = errors.New("--group prints a node when it has all of it, and --follow as it comes: leave one out")
			case o.max < 1:
				err = fmt.Errorf("--max-log-requests is a number, 1 or more, not %d", o.max)
			default:
				name, err = jobKind.name(args, true)
			}
			if err != nil {
				return usageError{err, a.program + " job logs --help"}
			}
			return o.run(cmd.Context(), name)
		},
	}
	cmd.ValidArgsFunction = a.completeKinds(&o.namespaced, map[string]kind{"": jobKind})
	flags := cmd.Flags()
	o.add(flags)
	flags.BoolVarP(&o.follow, "follow", "f", false, "keep printing as long as the NodeJob runs")
	flags.BoolVar(&o.group, "group", false, "print node after node, instead of each line as it comes")
	flags.BoolVar(&o.timestamps, "timestamps", false, "print the time of each line")
	flags.BoolVar(&o.noPrefix, "no-prefix", false, "print the lines without their nodes")
	flags.StringVarP(&o.container, "container", "c", "", "only this `container`; unset: all of them")
	flags.StringSliceVar(&o.nodes, "node", nil, "nodes by `name`, such as a,b; may be repeated")
	flags.Int64Var(&o.tail, "tail", -1, "how many `lines` from the end of each log; -1: all")
	flags.IntVar(&o.max, "max-log-requests", maxLogRequests, "how many logs are read at once")
	return cmd
}

func (o *jobLogsOptions) run(ctx context.Context, name string) error {
	namespace, err := o.of(o.app)
	if err != nil {
		return err
	}
	if o.op, err = o.mustBeInstalled(ctx); err != nil {
		return err
	}
	if o.job, err = o.op.Job(ctx, namespace, name); err != nil {
		return o.unknown(ctx, o.op, jobKind, namespace, name, err)
	}
	if o.job.Spec.Template == nil {
		return advised{fmt.Errorf("NodeJob %s/%s runs no pods: the agents do its work (%s)", namespace, name, doing(o.job)), o.commandLine("job", "list", name, "-n", namespace, "--details")}
	}
	if o.follow {
		return o.following(ctx)
	}
	pods, err := podsOf(ctx, o.op, o.job)
	if err != nil {
		return err
	}
	if pods = o.chosen(pods); len(pods) == 0 {
		fmt.Fprintf(o.Err, "NodeJob %s/%s has no pod to read%s.\n", namespace, name, onNodes(o.nodes))
		return nil
	}
	o.readAll(ctx, pods)
	return ctx.Err()
}

func onNodes(nodes []string) string {
	if len(nodes) == 0 {
		return ""
	}
	return " on " + some(nodes)
}

// chosen are the pods of the nodes asked for, ordered by node.
func (o *jobLogsOptions) chosen(pods []corev1.Pod) []corev1.Pod {
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return len(o.nodes) > 0 && !slices.Contains(o.nodes, nodeOf(&p)) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(nodeOf(&a), nodeOf(&b)) })
	return pods
}

// readAll reads the logs that there are, several at once.
func (o *jobLogsOptions) readAll(ctx context.Context, pods []corev1.Pod) {
	slots := make(chan struct{}, o.max)
	if o.group {
		slots = make(chan struct{}, 1)
	}
	var all sync.WaitGroup
	for i := range pods {
		for _, container := range o.begun(&pods[i]) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				all.Wait()
				return
			}
			all.Go(func() {
				o.read(ctx, &pods[i], container.Name, false)
				<-slots
			})
		}
	}
	all.Wait()
}

// begun are the containers of a pod that have something to say.
func (o *jobLogsOptions) begun(pod *corev1.Pod) (begun []corev1.ContainerStatus) {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if (status.State.Running != nil || status.State.Terminated != nil || status.RestartCount > 0) && (o.container == "" || o.container == status.Name) {
			begun = append(begun, status)
		}
	}
	return begun
}

// following reads every log from when its container starts, until the job and all of them have ended.
func (o *jobLogsOptions) following(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, o.max)
	begun := map[string]bool{}
	take := func(pod *corev1.Pod) {
		if len(o.chosen([]corev1.Pod{*pod})) == 0 {
			return
		}
		for _, container := range o.begun(pod) {
			// The stream of a container ends with it; one that is started again has a new one.
			if key := fmt.Sprintf("%s/%s/%d", pod.UID, container.Name, container.RestartCount); !begun[key] {
				begun[key] = true
				all.Go(func() {
					select {
					case slots <- struct{}{}:
						o.read(working, pod, container.Name, true)
						<-slots
					case <-working.Done():
					}
				})
			}
		}
	}
	err := o.watchPods(ctx, take)
	if err != nil || ctx.Err() != nil {
		stop()
		return errors.Join(ctx.Err(), err)
	}
	all.Wait() // What the last pods still say.
	return nil
}

// watchPods shows the job's pods as they become, until the job is over and has been seen so.
func (o *jobLogsOptions) watchPods(ctx context.Context, take func(*corev1.Pod)) error {
	over := make(chan error, 1)
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer stop()
	follower.Go(func() {
		over <- o.op.FollowJob(following, o.job.Namespace, o.job.Name, jobOver)
	})
	options := metav1.ListOptions{LabelSelector: v1alpha1.LabelNodeJobUID + "=" + string(o.job.UID)}
	api := o.op.Core().CoreV1().Pods(o.job.Namespace)
	for ctx.Err() == nil {
		list, err := api.List(ctx, options)
		if err != nil {
			return fmt.Errorf("listing the pods of NodeJob %s/%s: %w", o.job.Namespace, o.job.Name, err)
		}
		for i := range list.Items {
			take(&list.Items[i])
		}
		watching := options
		watching.ResourceVersion = list.ResourceVersion
		w, err := api.Watch(ctx, watching)
		if err != nil {
			return fmt.Errorf("watching the pods of NodeJob %s/%s: %w", o.job.Namespace, o.job.Name, err)
		}
		if ended, err := takeUntil(ctx, w, over, take); ended {
			return o.lastPods(ctx, take, err)
		}
	}
	return ctx.Err()
}

// takeUntil shows the pods of one watch. ended: the job is over, or it may not be followed.
func takeUntil(ctx context.Context, w watch.Interface, over <-chan error, take func(*corev1.Pod)) (ended bool, err error) {
	defer w.Stop()
	for {
		select {
		case event, open := <-w.ResultChan():
			pod, ok := event.Object.(*corev1.Pod)
			if !open || !ok {
				return false, nil
			}
			take(pod)
		case err := <-over:
			return true, err
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// lastPods shows the pods that began and ended since they were seen last, when the job is over.
func (o *jobLogsOptions) lastPods(ctx context.Context, take func(*corev1.Pod), err error) error {
	if errors.Is(err, operator.ErrDeleted) {
		fmt.Fprintf(o.Err, "NodeJob %s/%s was deleted.\n", o.job.Namespace, o.job.Name)
		return nil
	}
	if err != nil {
		return err
	}
	pods, err := podsOf(ctx, o.op, o.job)
	for i := range pods {
		take(&pods[i])
	}
	return err
}

// read prints one container's log. What cannot be read is told in its place.
func (o *jobLogsOptions) read(ctx context.Context, pod *corev1.Pod, container string, follow bool) {
	options := &corev1.PodLogOptions{Container: container, Follow: follow, Timestamps: o.timestamps}
	if o.tail >= 0 {
		options.TailLines = &o.tail
	}
	prefix := o.prefix(pod, container)
	stream, err := o.op.Core().CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
	if err != nil {
		if ctx.Err() == nil && !apierrors.IsNotFound(err) { // A pod that has gone says nothing.
			o.line(o.Err, prefix, fmt.Sprintf("(its log cannot be read: %v)", err))
		}
		return
	}
	defer func() { _ = stream.Close() }()
	lines := bufio.NewReaderSize(stream, maxLine)
	for {
		text, _, err := lines.ReadLine()
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) {
				o.line(o.Err, prefix, fmt.Sprintf("(its log breaks off: %v)", err))
			}
			return
		}
		o.line(o.Out, prefix, string(text))
	}
}

// maxLine is the longest line that is printed as one.
const maxLine = 64 << 10

func (o *jobLogsOptions) line(to io.Writer, prefix, text string) {
	o.write.Lock()
	defer o.write.Unlock()
	fmt.Fprintf(to, "%s%s\n", prefix, text)
}

// hues are what nodes' names are coloured with: those of ECMA-48 that are read on dark and on light alike.
var hues = []string{"\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[96m", "\x1b[92m", "\x1b[93m", "\x1b[94m", "\x1b[95m"}

// prefix is a node's name, in its own colour, which is the same each time.
func (o *jobLogsOptions) prefix(pod *corev1.Pod, container string) string {
	if o.noPrefix {
		return ""
	}
	node := nodeOf(pod)
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(node)) // It cannot fail.
	name := node
	if len(pod.Spec.InitContainers)+len(pod.Spec.Containers) > 1 {
		name += " " + container
	}
	return dye(o.paint.out, hues[int(sum.Sum32())%len(hues)], name) + " │ "
}
