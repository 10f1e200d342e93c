// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// cacheStatus shows one ImageCache.
type cacheStatus struct {
	*app
	output          output
	op              *operator.Client
	namespace, name string
	// stores are looked at once for each answer, and underway is what they do, by image.
	stores   map[string]*v1alpha1.ImageStore
	underway map[string]underway
}

// show prints the cache as it is now.
func (s *cacheStatus) show(ctx context.Context) error {
	cache, err := s.op.Cache(ctx, s.namespace, s.name)
	if err != nil {
		return s.unknownCache(ctx, s.op, s.namespace, s.name, err)
	}
	return s.print(ctx, cache)
}

func (s *cacheStatus) print(ctx context.Context, cache *v1alpha1.ImageCache) error {
	cache.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ImageCache"))
	if !s.output.structured() && cache.Status.ReadyNodes < cache.Status.DesiredNodes {
		s.look(ctx, cache.Status)
	}
	switch {
	case s.output.structured():
		return s.printObject(&s.output, cache)
	case s.output.format == "name":
		_, err := fmt.Fprintln(s.Out, "imagecache.orlop.dev/"+cache.Name)
		return err
	case s.output.format == "csv":
		return s.app.print(&s.output, answer{table: s.table(cache)}) //nolint:forbidigo // A method of ours, and not the builtin.
	}
	sentence(s.Out, 2, "%s", s.header(cache))
	if len(cache.Status.Conditions) > 0 { // Else nobody has looked for nodes.
		sentence(s.Out, 2, "%s", s.nodesLine(cache))
	}
	if len(cache.Status.Images) > 0 {
		if err := s.app.print(&s.output, answer{table: s.table(cache)}); err != nil { //nolint:forbidigo // As above.
			return err
		}
	}
	if n := cache.Status.OmittedImages; n > 0 {
		fmt.Fprintf(s.Out, "and %s more, all ready\n", count(int(n), "image"))
	}
	s.failures(cache)
	return nil
}

// look reads what the nodes do. Who may not see it sees the rest.
func (s *cacheStatus) look(ctx context.Context, status v1alpha1.ImageCacheStatus) {
	stores, err := s.op.Stores(ctx, nil)
	if err != nil {
		return
	}
	s.stores, s.underway = stores, underwayOf(stores, s.namespace+"/"+s.name)
	for _, image := range status.Images {
		if image.ReadyNodes >= status.DesiredNodes {
			delete(s.underway, nameInStore(image.Image))
		}
	}
	moving := slices.Collect(maps.Values(s.underway))
	if !slices.ContainsFunc(moving, func(u underway) bool { return u.pulling > 0 || u.left > 0 }) {
		s.underway = nil // Whatever there is to come, nobody knows how much, nor does anybody pull it.
	}
}

// header is what the cache is, and its Ready condition.
func (s *cacheStatus) header(cache *v1alpha1.ImageCache) string {
	line := fmt.Sprintf("ImageCache %s/%s   generation %d (observed %d)", cache.Namespace, cache.Name, cache.Generation, cache.Status.ObservedGeneration)
	ready := meta.FindStatusCondition(cache.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return line + "   Ready=Unknown: the controller has not looked at it yet"
	}
	dyes := map[metav1.ConditionStatus]string{metav1.ConditionTrue: green, metav1.ConditionFalse: yellow}
	if meta.IsStatusConditionTrue(cache.Status.Conditions, v1alpha1.ConditionStalled) {
		dyes[metav1.ConditionFalse] = red
	}
	word := "Ready=" + string(ready.Status)
	if ready.Reason == v1alpha1.ReasonReady { // That is said.
		return line + "   " + dye(s.paint.out, dyes[ready.Status], word)
	}
	line += "   " + dye(s.paint.out, dyes[ready.Status], word+" "+ready.Reason)
	if ready.Message != "" {
		line += ": " + ready.Message
	}
	return line
}

func (s *cacheStatus) nodesLine(cache *v1alpha1.ImageCache) string {
	st := cache.Status
	line := fmt.Sprintf("%d of %s ready", st.ReadyNodes, count(int(st.DesiredNodes), "node"))
	if st.ImageCount == 0 && st.ObservedGeneration == cache.Generation {
		line = "no image is kept on " + count(int(st.DesiredNodes), "node")
	}
	if st.FailedNodes > 0 {
		line += fmt.Sprintf(", %d failed", st.FailedNodes)
	}
	if st.UnavailableNodes > 0 {
		line += fmt.Sprintf(", %d unavailable", st.UnavailableNodes)
		if nodes := s.unavailable(); len(nodes) > 0 {
			line += " (" + some(nodes) + ")"
		}
	}
	told := ""
	if ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); ready != nil {
		told = ready.Message
	}
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionDegraded} {
		if c := meta.FindStatusCondition(st.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue && c.Message != told {
			line += fmt.Sprintf("\n%s: %s: %s", kind, c.Reason, c.Message)
		}
	}
	return line
}

// unavailable are the nodes on which the cache may start no pull now, as far as that is seen: the status has their
// number only.
func (s *cacheStatus) unavailable() []string {
	key := s.namespace + "/" + s.name
	var nodes []string
	for node, store := range s.stores {
		held := func(image v1alpha1.StoreImage) bool {
			return image.Hold == v1alpha1.HoldNode && slices.Contains(image.Caches, key)
		}
		if slices.ContainsFunc(store.Spec.Images, held) {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

func (s *cacheStatus) table(cache *v1alpha1.ImageCache) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "IMAGE"}, {Name: "READY", Right: true}, {Name: "PULLING", Right: true}, {Name: "FAILED", Right: true}, {Name: "BYTES LEFT", Right: true}, {Name: "DIGEST"}, {Name: "REASON"}, {Name: "MESSAGE", Wide: true}}}
	for _, image := range cache.Status.Images {
		digest := table.ID(image.Digest)
		if s.output.format == "wide" || s.output.format == "csv" {
			digest = image.Digest
		}
		pulling, left := s.looked(image, cache.Status.DesiredNodes)
		t.Add(image.Image, fmt.Sprintf("%d/%d", image.ReadyNodes, cache.Status.DesiredNodes), pulling, fmt.Sprint(image.FailedNodes), left, digest, image.Reason, image.Message)
	}
	if s.output.format == "table" {
		t.DropEmpty(2)
	}
	return t
}

// failures tells what went wrong, once for all nodes of which the same is said.
func (s *cacheStatus) failures(cache *v1alpha1.ImageCache) {
	var found groups[failure]
	for _, f := range cache.Status.Failures {
		message := f.Message
		if f.Attempts > 1 {
			message += fmt.Sprintf(" (attempt %d)", f.Attempts)
		}
		found.add(failure{f.Image, f.Reason, message}, cmp.Or(f.Node, "the registry, asked by the controller"))
	}
	for _, g := range found.all {
		sentence(s.Out, 4, "  %s: %s%s: %s", some(g.names), g.said.asked, bracketed(g.said.reason, g.said.message), g.said.message)
		if g.said.reason == string(engine.Unauthorized) {
			sentence(s.Out, 6, "    try: %s", login(cache))
		}
	}
	if n := cache.Status.OmittedFailures; n > 0 {
		fmt.Fprintf(s.Out, "  and %s more\n", count(int(n), "failure"))
	}
}

// login is what helps against a missing login.
func login(cache *v1alpha1.ImageCache) string {
	if len(cache.Spec.ImagePullSecrets) == 0 {
		return "name a Secret with a login for the registry in spec.imagePullSecrets (cache create --pull-secret)"
	}
	var names []string
	for _, secret := range cache.Spec.ImagePullSecrets {
		names = append(names, cache.Namespace+"/"+secret.Name)
	}
	return "see whether " + some(names) + " has a login for this registry that may pull the image"
}

// verdict is whether waiting for a cache has an end: a code, and what is to be said.
func verdict(cache *v1alpha1.ImageCache) (over bool, code int, why string) {
	conditions := cache.Status.Conditions
	if cache.Status.ObservedGeneration < cache.Generation {
		return false, 0, ""
	}
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	stalled := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	switch {
	case ready == nil || ready.ObservedGeneration < cache.Generation:
		return false, 0, ""
	case ready.Status == metav1.ConditionTrue:
		return true, term.ExitOK, ready.Reason
	case stalled != nil && stalled.Status == metav1.ConditionTrue:
		return true, term.ExitPartial, "Stalled: " + stalled.Reason + "; retrying will not help"
	case ready.Reason == v1alpha1.ReasonSuspended || ready.Reason == v1alpha1.ReasonPurged:
		return true, term.ExitPartial, ready.Reason + ": " + ready.Message
	}
	return false, 0, ""
}

// await waits until the cache is ready, or cannot be, and prints it.
func (s *cacheStatus) await(ctx context.Context, timeout time.Duration) error {
	begun := time.Now()
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l := &liveLine{to: s.Err, begun: begun}
	var left meter
	var renewing sync.WaitGroup
	if term.IsTerminal(s.Err) {
		l.width = term.Width(s.Err, 80)
		l.start()
		renewing.Go(func() { s.op.KeepWatchingCache(waiting, s.namespace, s.name) })
	}
	var last *v1alpha1.ImageCache
	code, why := term.ExitTimeout, ""
	err := s.op.FollowCache(waiting, s.namespace, s.name, func(cache *v1alpha1.ImageCache) (over bool) {
		last = cache
		l.show(progressOf(cache, &left))
		if over, result, text := verdict(cache); over {
			code, why = result, text
			return true
		}
		return false
	})
	cancel()
	renewing.Wait()
	l.close()
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && last != nil:
		why = "not ready after " + timeout.String()
		if last.Status.ObservedGeneration < last.Generation {
			why += ": no controller looks at it; try: " + s.commandLine("check", "--pre")
		}
	case err != nil && last == nil:
		return s.unknownCache(ctx, s.op, s.namespace, s.name, err)
	case err != nil:
		return fmt.Errorf("waiting for ImageCache %s/%s: %w", s.namespace, s.name, err)
	}
	if err := s.print(ctx, last); err != nil {
		return err
	}
	if code == term.ExitOK {
		sign := s.paint.good()
		if why != v1alpha1.ReasonReady { // No node or no image: seldom what was meant.
			sign = s.paint.warn()
		}
		fmt.Fprintf(s.Err, "%s %s after %s\n", sign, why, tell.Took(time.Since(begun)))
		return nil
	}
	sentence(s.Err, 2, "%s %s", s.paint.bad("✗"), why)
	return exitError{code}
}

// progressOf is how far a cache is, in a line.
func progressOf(cache *v1alpha1.ImageCache, left *meter) string {
	st := cache.Status
	if st.ObservedGeneration < cache.Generation {
		return fmt.Sprintf("%s/%s: generation %d is not looked at yet", cache.Namespace, cache.Name, cache.Generation)
	}
	parts := []string{fmt.Sprintf("%s/%s: %d of %s ready", cache.Namespace, cache.Name, st.ReadyNodes, count(int(st.DesiredNodes), "node"))}
	there, wanted := 0, 0
	for _, image := range st.Images {
		there, wanted = there+int(image.ReadyNodes), wanted+int(st.DesiredNodes)
	}
	if wanted > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s", there, count(wanted, "copy")))
	}
	parts = append(parts, counted(tallied{int(st.FailedNodes), "failed"}, tallied{int(st.UnavailableNodes), "unavailable"})...)
	if st.BytesLeft != nil {
		left.add(*st.BytesLeft, time.Now())
		parts = append(parts, left.String())
	}
	return strings.Join(parts, ", ")
}
