// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/registry"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// endToEnd is all that --e2e does beside what check does anyway.
func (o *checkOptions) endToEnd(ctx context.Context, f *fleet.Fleet, op *operator.Client, seen []fleet.Outcome, code int) int {
	if op != nil {
		o.checkUnfinished(ctx, op)
	}
	trip := o.checkTrip(ctx, f, op, seen)
	if ctx.Err() != nil {
		return term.ExitInterrupted
	}
	o.checkRegistries(ctx, f, op)
	if op != nil {
		o.checkMetrics(ctx, op, seen)
	}
	if ctx.Err() != nil {
		return term.ExitInterrupted
	}
	return max(code, trip)
}

// checkUnfinished looks for NodeJobs that an earlier check was killed over.
func (o *checkOptions) checkUnfinished(ctx context.Context, op *operator.Client) {
	jobs, err := op.Jobs(ctx, "", fleet.LabelManagedBy+"=kubectl-orlop")
	if err != nil {
		o.warn("leftovers", err.Error(), o.rightFor(err))
		return
	}
	for i := range jobs {
		if strings.HasPrefix(jobs[i].Name, "check-") {
			o.warn("leftovers", fmt.Sprintf("NodeJob %s/%s is of an earlier check", jobs[i].Namespace, jobs[i].Name), o.cancel(&jobs[i]))
		}
	}
}

// Bounds on what is asked beside the nodes.
const (
	maxRegistries  = 20
	metricsTimeout = 10 * time.Second
	// maxMetrics is far above what an agent or the controller has to tell.
	maxMetrics = 8 << 20
)

// lookup is one image of a registry that is asked for, and whose it is.
type lookup struct {
	ref     oci.Ref
	cache   string // as namespace/name; empty: that of the round trip
	secrets []secretName
}

// lookups are one for each registry that the ImageCaches use, and for that of the round trip.
func (o *checkOptions) lookups(ctx context.Context, op *operator.Client) []lookup {
	list, known := []lookup{{ref: o.ref}}, map[string]bool{}
	if op != nil {
		all, err := op.Caches(ctx, "")
		if err != nil {
			o.warn("registries", err.Error(), o.rightFor(err))
		}
		if len(all) > 0 {
			list = nil // What people use is what matters.
		}
		for i := range all {
			list = append(list, lookupsOf(&all[i], known)...)
		}
	}
	if more := len(list) - maxRegistries; more > 0 {
		o.warn("registries", fmt.Sprintf("%s more are not asked", count(more, "registry")), "")
		list = list[:maxRegistries]
	}
	return list
}

func lookupsOf(cache *v1alpha1.ImageCache, known map[string]bool) (list []lookup) {
	for _, image := range cache.Spec.Images {
		ref, err := oci.Parse(image.Image)
		if err != nil || known[ref.Registry()] {
			continue
		}
		known[ref.Registry()] = true
		l := lookup{ref: ref, cache: cache.Namespace + "/" + cache.Name}
		for _, secret := range cache.Spec.ImagePullSecrets {
			l.secrets = append(l.secrets, secretName{cache.Namespace, secret.Name})
		}
		list = append(list, l)
	}
	return list
}

// checkRegistries asks each registry what one name stands for. This machine is not the cluster, so that what it cannot have is a warning.
func (o *checkOptions) checkRegistries(ctx context.Context, f *fleet.Fleet, op *operator.Client) {
	var resolver registry.Resolver
	for _, l := range o.lookups(ctx, op) {
		begin := time.Now()
		_, err := resolver.Digest(ctx, l.ref, authn.DefaultKeychain)
		whose := "anonymously"
		if found, _ := credentials(authn.DefaultKeychain, []oci.Ref{l.ref}); len(found) > 0 {
			whose = "with this machine's docker login"
		}
		if len(l.secrets) > 0 && refusedLogin(err) {
			if chain, readErr := keychain(ctx, f.Client(), l.secrets); readErr == nil {
				begin = time.Now()
				_, err = resolver.Digest(ctx, l.ref, chain)
				whose = "with the Secrets of ImageCache " + l.cache
			} else {
				whose += ", and its Secrets cannot be read: " + readErr.Error()
			}
		}
		if ctx.Err() != nil {
			return
		}
		took := time.Since(begin)
		if err == nil {
			o.ok("registries", "%s answers this machine in %s (%s, %s)", l.ref.Registry(), tookShort(took), l.ref, whose)
			o.found[len(o.found)-1].TookSeconds = took.Round(time.Millisecond).Seconds()
			continue
		}
		o.warn("registries", fmt.Sprintf("%s, asked from this machine %s for %s: %s", l.ref.Registry(), whose, l.ref, strings.TrimPrefix(err.Error(), l.ref.Registry()+": ")), o.seeCache(l))
	}
}

func refusedLogin(err error) bool {
	return errors.Is(err, engine.Unauthorized) || errors.Is(err, engine.NotFound)
}

// seeCache is where the cluster's own view of a registry stands.
func (o *checkOptions) seeCache(l lookup) string {
	if l.cache == "" {
		return ""
	}
	namespace, name, _ := strings.Cut(l.cache, "/")
	return "the cluster asks for itself; see what it was told: " + o.commandLine("status", "imagecache/"+name, "-n", namespace)
}

// tookShort has milliseconds, which for a question are what counts.
func tookShort(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return tell.Took(d)
}

// checkMetrics reads the metrics of one agent and of the controller, through the API server.
func (o *checkOptions) checkMetrics(ctx context.Context, op *operator.Client, seen []fleet.Outcome) {
	agents, err := op.Agents(ctx, o.nodes.agentNamespace())
	if err != nil || len(agents) == 0 {
		return // That is told already.
	}
	for _, outcome := range seen {
		agent, ok := agents[outcome.Node.Name]
		if !ok || !agent.Ready {
			continue
		}
		pod, err := op.Core().CoreV1().Pods(agent.Namespace).Get(ctx, agent.Pod, metav1.GetOptions{})
		if err == nil {
			o.scrape(ctx, op, "the agent of "+outcome.Node.Name, pod)
		}
		controllers, err := op.Core().CoreV1().Pods(agent.Namespace).List(ctx, metav1.ListOptions{LabelSelector: operator.LabelName + "=" + operator.Product + "," + operator.LabelComponent + "=controller", Limit: 1})
		if err == nil && len(controllers.Items) > 0 {
			o.scrape(ctx, op, "the controller", &controllers.Items[0])
		}
		return
	}
}

// scrape reads the metrics of one pod.
func (o *checkOptions) scrape(ctx context.Context, op *operator.Client, who string, pod *corev1.Pod) {
	port := ""
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if p.Name == "metrics" {
				port = strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	if port == "" {
		o.warn("metrics", who+" has no port of the name metrics", "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	begin := time.Now()
	found, err := read(ctx, op, pod, port)
	switch {
	case apierrors.IsForbidden(err):
		o.warn("metrics", "you may not read "+who+"'s metrics through the API server", "kubectl auth can-i get pods --subresource=proxy -n "+pod.Namespace)
	case err != nil:
		o.warn("metrics", fmt.Sprintf("%s's metrics cannot be read through the API server: %v", who, err), "a network policy may let only Prometheus in; or see: kubectl -n "+pod.Namespace+" port-forward "+pod.Name+" "+port)
	case found == 0:
		o.fail("metrics", who+" answers, and not with metrics", "kubectl -n "+pod.Namespace+" logs "+pod.Name)
	default:
		took := time.Since(begin)
		o.ok("metrics", "%s of %s read in %s", count(found, "metric"), who, tookShort(took))
		o.found[len(o.found)-1].TookSeconds = took.Round(time.Millisecond).Seconds()
	}
}

// read counts the metrics that a pod tells of.
func read(ctx context.Context, op *operator.Client, pod *corev1.Pod, port string) (found int, err error) {
	body, err := op.Core().CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, port, "/metrics", nil).Stream(ctx)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(body, maxMetrics))
	return strings.Count(string(text), "\n# TYPE "), errors.Join(err, body.Close())
}
