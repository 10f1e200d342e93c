// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/controller/nodejob/podrun"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/pullsecret"
)

// patience is how long a node that has begun, and is away, is waited for: a reboot takes longer, an agent's restart does not.
const patience = time.Minute

// look gathers all that a decision follows from.
func (p *pass) look(ctx context.Context) (picture, error) {
	selection, wrong := demand.Select(p.job.Spec.NodeSelector, p.job.Spec.Affinity, p.job.Spec.Tolerations)
	pic := picture{job: p.job, tally: p.tally, now: p.now, invalid: p.check()}
	pic.refused, pic.shunned = p.refusals()
	if pic.invalid == nil {
		pic.invalid = wrong
	}
	if p.job.Spec.Pull != nil {
		pic.watched = demand.WatchedUntil(p.job.Annotations, p.now)
	}
	var nodes corev1.NodeList
	if err := p.cfg.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return pic, fmt.Errorf("listing nodes: %w", err)
	}
	stores, err := p.stores(ctx)
	if err != nil {
		return pic, err
	}
	seen, untidy, err := p.cfg.Pods.Observe(ctx, p.job)
	if err != nil {
		return pic, err
	}
	p.untidy = untidy
	asked, _ := p.cfg.Ledger.Of(string(p.job.UID))
	named := make(map[string]bool, len(p.job.Spec.NodeNames))
	for _, name := range p.job.Spec.NodeNames {
		named[name] = true
	}
	there := make(map[string]bool, len(nodes.Items))
	for i := range nodes.Items {
		node := &nodes.Items[i]
		there[node.Name] = true
		m := member{name: node.Name, node: node, named: named[node.Name]}
		p.choose(&m, selection, len(named) > 0)
		p.recall(&m, stores[node.Name], asked)
		if pod, ok := seen[node.Name]; ok {
			m.pod = &pod
		}
		if !m.chosen && !m.named && !m.begun() {
			continue
		}
		if err := p.attend(ctx, &m); err != nil {
			return pic, err
		}
		pic.members = append(pic.members, m)
	}
	pic.members = append(pic.members, missing(named, there, seen)...)
	slices.SortFunc(pic.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	p.forget(there)
	pic.problems = p.problems(ctx)
	return pic, nil
}

// stores are all, by name.
func (p *pass) stores(ctx context.Context) (map[string]*v1alpha1.ImageStore, error) {
	var list v1alpha1.ImageStoreList
	if err := p.cfg.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing ImageStores: %w", err)
	}
	stores := make(map[string]*v1alpha1.ImageStore, len(list.Items))
	for i := range list.Items {
		stores[list.Items[i].Name] = &list.Items[i]
	}
	return stores, nil
}

// missing are the nodes that are named, or have a pod, and are not there.
func missing(named, there map[string]bool, seen map[string]podrun.Seen) (all []member) {
	for name := range named {
		if !there[name] {
			all = append(all, member{name: name, named: true, chosen: true, away: word{v1alpha1.ReasonNodeNotFound, "There is no node of this name"}})
		}
	}
	for name, pod := range seen {
		if !there[name] && !named[name] {
			all = append(all, member{name: name, pod: &pod})
		}
	}
	for i := range all {
		if pod, ok := seen[all[i].name]; ok {
			all[i].pod = &pod
		}
	}
	return all
}

// choose tells whether the job is for the node. Its being cordoned, or under pressure, does not matter.
func (p *pass) choose(m *member, selection demand.Selection, onlyNamed bool) {
	m.chosen = selection.Selects(m.node) && (!onlyNamed || m.named)
	if place, why := selection.Place(m.node, true); place == demand.Tainted {
		m.barred = "This node " + why
	}
	if p.job.Spec.Template != nil && m.chosen && m.barred == "" && !podrun.Fits(p.job, m.node) {
		m.barred = "The template's nodeSelector, affinity and tolerations do not fit this node"
	}
}

// recall finds what the node's store says of the job, and what it was asked last. What is of an earlier node of this name says nothing.
func (p *pass) recall(m *member, store *v1alpha1.ImageStore, asked map[string]v1alpha1.StoreJob) {
	if store != nil && store.DeletionTimestamp == nil && ownedBy(store, m.node) {
		at, ok := p.seen[m.name]
		if !ok || at.version != store.ResourceVersion {
			at = sightOf(store, string(p.job.UID))
			p.seen[m.name] = at
			p.tally.hear(m.name, at.answer)
		}
		m.stood, m.answer = at.stood, at.answer
	} else if _, ok := p.seen[m.name]; ok {
		delete(p.seen, m.name)
		p.tally.hear(m.name, nil)
	}
	m.asked = m.stood
	if entry, ok := asked[m.name]; ok && p.uids[m.name] == m.node.UID {
		m.asked = &entry
	}
	if m.unheard() {
		m.refusal = condition.Cut(p.cfg.Refusal(m.name), maxWords)
		p.at(p.now.Add(lookBad)) // Nobody tells when it is refused.
	}
}

func ownedBy(store *v1alpha1.ImageStore, node *corev1.Node) bool {
	return slices.ContainsFunc(store.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == node.UID })
}

// forget drops what is remembered of nodes that are gone.
func (p *pass) forget(there map[string]bool) {
	if len(p.seen) == 0 {
		return
	}
	for name := range p.seen {
		if !there[name] {
			delete(p.seen, name)
			p.tally.hear(name, nil)
		}
	}
}

// attend tells whether the node can do anything now.
func (p *pass) attend(ctx context.Context, m *member) error {
	if !demand.NodeReady(m.node) {
		m.away = word{v1alpha1.ReasonNodeNotReady, "The node is not ready"}
		m.patience = notReadySince(m.node).Add(patience)
		return nil
	}
	if p.job.Spec.Template != nil {
		return nil
	}
	expected, until, since, err := p.agents.look(ctx, m.name, p.now)
	if err != nil {
		return err
	}
	if expected {
		if !until.IsZero() && !m.done() {
			p.at(until)
		}
		return nil
	}
	m.away = word{v1alpha1.ReasonAgentNotReady, "The node's agent is not ready"}
	m.patience = since.Add(patience)
	return nil
}

// done: it has answered, as far as can be told without the rest.
func (m *member) done() bool {
	return m.answers() && m.answer.CompletionTime != nil
}

func notReadySince(node *corev1.Node) time.Time {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return node.Status.Conditions[i].LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// problems are what is wrong with the Secrets of a pull. Nodes are told when these are others than before, or when somebody begins to
// look on.
func (p *pass) problems(ctx context.Context) []pullsecret.Problem {
	if kind, _ := endOf(&p.job.Status); p.job.Spec.Pull == nil || kind != "" {
		return nil
	}
	found, problems := p.cfg.Secrets.For(ctx, pullsecret.OfPull(p.job.Namespace, p.job.Spec.Pull))
	switch {
	case len(problems) > 0:
		p.at(p.now.Add(lookBad))
	case len(found) > 0:
		p.at(p.now.Add(lookGood))
	}
	var state strings.Builder
	state.WriteString(p.job.Annotations[v1alpha1.AnnotationWatchedUntil] + "\n")
	for _, s := range found {
		fmt.Fprintf(&state, "%s/%s %s %s\n", s.Namespace, s.Name, s.UID, s.ResourceVersion)
	}
	if was := p.secrets; was != state.String() {
		p.secrets = state.String()
		p.cfg.Ledger.Poke(string(p.job.UID))
	}
	return problems
}
