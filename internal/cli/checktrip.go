// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/jobrun"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

const (
	// tripImage is small, for many platforms, and in a registry that asks for no login and counts no pulls. It is not pause: nodes
	// start every pod with that, or will after an upgrade, runtimes pin it, and under another name it may be there already.
	tripImage = "registry.k8s.io/e2e-test-images/busybox:1.29-4"
	// tripTimeout is what each half has on each node: for a pod to start, and a small image to come.
	tripTimeout = 2 * time.Minute
	// listedWithin outlasts the 30 s within which an agent that pulls writes what has changed.
	listedWithin = time.Minute
	// tripTTL is how long a NodeJob of ours stays if we are killed before we delete it.
	tripTTL = int32(300)
	// tidyTimeout bounds what is done after an interruption.
	tidyTimeout = tripTimeout + listedWithin
)

// trip is a real round trip: an image that is not there is pulled, seen in the list, and removed again.
type trip struct {
	*checkOptions
	fleet *fleet.Fleet
	op    *operator.Client // nil: by short-lived pods
	ref   oci.Ref
	// made are the NodeJobs of the trip, which go at its end.
	made []*v1alpha1.NodeJob
	// brought are the nodes that may have the image by us.
	brought []fleet.Node
}

// checkTrip makes the trip, and gives the exit code of what it finds. seen is what every node has.
func (o *checkOptions) checkTrip(ctx context.Context, f *fleet.Fleet, op *operator.Client, seen []fleet.Outcome) int {
	t := &trip{checkOptions: o, fleet: f, op: op, ref: o.ref}
	if o.nodes.ephemeral {
		t.op = nil
	}
	nodes := t.free(seen)
	if len(nodes) == 0 {
		return term.ExitOK
	}
	code := t.travel(ctx, nodes)
	if left := t.tidy(ctx); left {
		code = max(code, term.ExitPartial)
	}
	if ctx.Err() != nil {
		code = term.ExitInterrupted
		t.say("Interrupted: the rest was not checked.\n")
	}
	return code
}

// free are the nodes of the trip: those chosen that do not have the image, and where none are chosen, the first.
func (t *trip) free(seen []fleet.Outcome) (free []fleet.Node) {
	var had []string
	for _, o := range seen {
		if o.Result == nil || o.Result.Inventory == nil {
			continue
		}
		if presence(*o.Result.Inventory, t.ref).State == session.StatePresent {
			had = append(had, o.Node.Name)
			continue
		}
		free = append(free, o.Node)
	}
	another := t.commandLine("check", "--e2e", "--image-to-pull", "IMAGE")
	switch {
	case len(free) == 0 && len(had) == 0:
		t.fail("e2e", "no round trip: no node has answered", "")
	case len(free) == 0:
		t.warn("e2e", fmt.Sprintf("no round trip: %s is on %s already, and check removes nothing that was there before", t.ref, some(had)), another)
	case choiceText(t.nodes.choice) == "":
		free = free[:1]
	case len(had) > 0:
		t.warn("e2e", fmt.Sprintf("%s is on %s already, so these are left out: check removes nothing that was there before", t.ref, some(had)), another)
	}
	return free
}

// travel pulls, looks and removes, and ends with the first of these that fails everywhere.
func (t *trip) travel(ctx context.Context, nodes []fleet.Node) int {
	begin := time.Now()
	t.brought = slices.Clone(nodes) // Until its answer is known, a node may have the image by us.
	pull := session.PullRequest{Images: []oci.Ref{t.ref}, Policy: session.PullIfNotPresent, Credentials: t.login()}
	pulled, code := t.half(ctx, nodes, session.Request{Verb: session.VerbPull, Pull: &pull}, session.StatePulled)
	if len(pulled) == 0 || ctx.Err() != nil {
		return code
	}
	took := t.done("pulled %s on %s", begin, t.ref, some(namesOf(pulled)))
	begin = time.Now()
	missing, err := t.unlisted(ctx, pulled)
	switch {
	case ctx.Err() != nil:
		return code
	case err != nil:
		code = max(code, t.failed(err))
	case len(missing) > 0:
		code = max(code, term.ExitPartial)
		t.fail("e2e", fmt.Sprintf("%s was pulled on %s, but is not in the list there after %s", t.ref, some(missing), tell.Took(time.Since(begin))),
			t.commandLine("list", t.ref.String(), "--per-node"))
	default:
		took += t.done("listed it on %s", begin, some(namesOf(pulled)))
	}
	begin = time.Now()
	removed, worst := t.remove(ctx, pulled)
	if len(removed) > 0 && ctx.Err() == nil {
		took += t.done("removed it again on %s", begin, some(namesOf(removed)))
		t.found[len(t.found)-1].Message += "; the round trip took " + tell.Took(took)
	}
	return max(code, worst)
}

// failed notes why nothing could be asked at all.
func (t *trip) failed(err error) int {
	what, why, try := t.explain(err)
	t.fail("e2e", strings.TrimSuffix(what+": "+why, ": "), try)
	return term.ExitError
}

// done notes a step that went well.
func (t *trip) done(format string, begin time.Time, args ...any) time.Duration {
	took := time.Since(begin)
	t.ok("e2e", format+" in %s", append(args, tell.Took(took))...)
	t.found[len(t.found)-1].TookSeconds = took.Round(time.Millisecond).Seconds()
	return took
}

// login are the credentials of this machine, which a short-lived pod can be given; a NodeJob takes Secrets.
func (t *trip) login() map[string]engine.Credentials {
	if t.op != nil {
		return nil
	}
	found, _ := credentials(authn.DefaultKeychain, []oci.Ref{t.ref})
	return found
}

// half asks the nodes for one thing, and gives those on which it ended as it should. What went wrong elsewhere is noted.
func (t *trip) half(ctx context.Context, nodes []fleet.Node, request session.Request, want session.State) (well []fleet.Node, code int) {
	outcomes, err := t.put(ctx, nodes, request)
	switch {
	case ctx.Err() != nil:
		return nil, term.ExitInterrupted
	case err != nil:
		return nil, t.failed(err)
	}
	for _, o := range outcomes {
		if o.Fail() {
			code = worse(code, o.State)
			t.fail("e2e", o.Node.Name+": "+o.Trouble.Message, o.Trouble.Advice)
			continue
		}
		for _, step := range stepsOf(o) {
			switch {
			case step.State == want || want == session.StateRemoved && step.State == session.StateAbsent:
				well = append(well, o.Node)
			case step.State == session.StatePresent: // Somebody else was quicker, and it is theirs.
				t.isNotOurs(o.Node)
				t.warn("e2e", fmt.Sprintf("%s: %s was pulled by someone else just now, and stays", o.Node.Name, t.ref), "")
			default:
				if want == session.StatePulled && nothingCame(step) {
					t.isNotOurs(o.Node)
				}
				code = worse(code, o.State)
				t.fail("e2e", fmt.Sprintf("%s: %s", o.Node.Name, strings.TrimPrefix(tell.Step(step), "✗ ")), t.fix(step))
			}
		}
	}
	return well, code
}

// nothingCame reports whether a pull has failed in a way that leaves nothing behind.
func nothingCame(step session.Step) bool {
	return step.State == session.StateFailed && step.Reason != string(engine.Timeout) && step.Reason != string(engine.NoEffect)
}

func (t *trip) isNotOurs(node fleet.Node) {
	t.brought = slices.DeleteFunc(t.brought, func(n fleet.Node) bool { return n.Name == node.Name })
}

// fix is what may help an image that could not be pulled, or not be removed.
func (t *trip) fix(step session.Step) string {
	if step.State == session.StateKept {
		return t.commandLine("list", t.ref.String(), "--per-node", "-o", "wide")
	}
	return "name one that the nodes can fetch: " + t.commandLine("check", "--e2e", "--image-to-pull", "IMAGE")
}

// put asks by a NodeJob, or by pods.
func (t *trip) put(ctx context.Context, nodes []fleet.Node, request session.Request) ([]fleet.Outcome, error) {
	job := fleet.Job{Verb: "check", Timeout: max(t.nodes.timeout, tripTimeout), Removes: request.Remove != nil, Ask: func(fleet.Node) session.Request { return request }}
	if t.op == nil {
		if op, err := t.installed(ctx); err == nil && op != nil { // What caches want is theirs here too.
			job.Stores = op.StoreWatch("")
		}
		return t.ask(ctx, t.fleet, nodes, job)
	}
	namespace, err := t.namespace.of(t.app)
	if err != nil {
		return nil, err
	}
	return jobrun.Run(ctx, jobrun.Config{
		Client: t.op, Namespace: namespace, MaxParallel: t.nodes.config.MaxParallel, RequestedBy: t.fleet.User(),
		Spec: v1alpha1.NodeJobSpec{NodeNames: namesOf(nodes), TTLSecondsAfterFinished: new(tripTTL), Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
		Made: func(job *v1alpha1.NodeJob) {
			t.made = append(t.made, job)
			t.say("► asking %s by NodeJob %s/%s\n", count(len(nodes), "node"), job.Namespace, job.Name)
		},
		Again: func(*v1alpha1.NodeJob) bool { return true }, // One Ctrl-C is enough: what was begun is undone.
	}, nodes, job)
}

// unlisted are the nodes in whose list the image is not, in the end.
func (t *trip) unlisted(ctx context.Context, nodes []fleet.Node) (missing []string, err error) {
	deadline, every := time.After(listedWithin), time.NewTicker(200*time.Millisecond)
	defer every.Stop()
	for {
		outcomes, err := t.lists(ctx, nodes)
		if err != nil || ctx.Err() != nil {
			return nil, err
		}
		missing = nil
		for _, o := range outcomes {
			if o.Result == nil || o.Result.Inventory == nil || presence(*o.Result.Inventory, t.ref).State != session.StatePresent {
				missing = append(missing, o.Node.Name)
			}
		}
		if len(missing) == 0 || t.op == nil {
			return missing, nil
		}
		select {
		case <-deadline:
			return missing, nil
		case <-ctx.Done():
			return nil, nil
		case <-every.C:
		}
	}
}

func (t *trip) lists(ctx context.Context, nodes []fleet.Node) ([]fleet.Outcome, error) {
	if t.op != nil {
		return t.read(ctx, t.op, &t.nodes, nodes)
	}
	return t.ask(ctx, t.fleet, nodes, fleet.Job{Verb: "check", Timeout: tripTimeout, Ask: func(fleet.Node) session.Request { return session.Request{Verb: session.VerbLook} }})
}

// remove takes the image away, by its exact name, and no other name of it.
func (t *trip) remove(ctx context.Context, nodes []fleet.Node) ([]fleet.Node, int) {
	target, err := oci.ParseTarget(t.ref.String())
	if err != nil {
		return nil, t.failed(err)
	}
	request := session.Request{Verb: session.VerbRemove, Remove: &plan.RemoveRequest{Targets: []oci.Target{target}}}
	removed, code := t.half(ctx, nodes, request, session.StateRemoved)
	for _, node := range removed {
		t.isNotOurs(node)
	}
	return removed, code
}

// tidy takes away what is left of the trip, also after an interruption, and reports whether something stays.
func (t *trip) tidy(ctx context.Context) (left bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	if len(t.brought) > 0 {
		t.say("► removing what the check has pulled\n")
		found := len(t.found)
		removed, _ := t.remove(ctx, t.brought)
		t.found = t.found[:found] // It is told together, below.
		if len(removed) > 0 {
			t.say("%s %s is no longer on %s\n", t.paint.good(), t.ref, some(namesOf(removed)))
		}
	}
	for _, job := range t.made {
		if err := t.op.DeleteJob(ctx, job.Namespace, job.Name); err != nil {
			left = true
			t.warn("e2e", fmt.Sprintf("NodeJob %s/%s stays for %d s: %v", job.Namespace, job.Name, tripTTL, err), t.cancel(job))
		}
	}
	if len(t.brought) > 0 {
		names := namesOf(t.brought)
		t.fail("e2e", fmt.Sprintf("%s may be left on %s", t.ref, some(names)), t.commandLine("rm", t.ref.String(), "--node", strings.Join(names, ","), "--yes"))
		return true
	}
	return left
}
