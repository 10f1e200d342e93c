// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"orlop.dev/orlop/api/v1alpha1"
)

// config reads an EraserConfig: as an object, from the ConfigMap of the manager, or from Helm values.
func (e *eraser) config(row *Row) {
	doc := row.doc
	root := doc.root
	switch {
	case doc.Kind() == "ConfigMap":
		withoutMetadata(doc, row)
		inner, err := Read(doc.file()+": "+eraserConfigKey, strings.NewReader(doc.root.Object("data").Text(eraserConfigKey)))
		if err == nil && len(inner) != 1 {
			doc.root.Object("data").Fail(eraserConfigKey, "one EraserConfig is expected in it, and not %d documents", len(inner))
		}
		if err != nil {
			doc.errs = append(doc.errs, err)
		}
		if err != nil || len(inner) != 1 {
			return
		}
		root = inner[0].root
		defer func() {
			doc.errs = append(doc.errs, inner[0].errs...)
			if unread := root.Unread(); len(unread) > 0 {
				row.Note("not converted: %s", strings.Join(unread, ", "))
			}
		}()
	case doc.Kind() == "":
		root = doc.root.Object("runtimeConfig")
	}
	root.Done("apiVersion", "kind", "metadata")
	e.schedule(root, row)
}

// schedule is what the manager does by itself: with a collector, it removes images again and again.
func (e *eraser) schedule(root *Fields, row *Row) {
	manager, components := root.Object("manager"), root.Object("components")
	cron := &v1alpha1.NodeCronJob{TypeMeta: typeOf("NodeCronJob"), ObjectMeta: e.ofEraser()}
	var said remarks
	cron.Spec.Schedule = interval(manager.Object("scheduling"), row, cron.ObjectMeta, &said)
	e.filter = filterOf(manager.Object("nodeFilter"))
	cron.Spec.JobTemplate.Spec = e.onNodes()
	cron.Spec.JobTemplate.Spec.Prune = &v1alpha1.PruneAction{Keep: e.keep}
	successes(manager.Object("imageJob"), row, &said)
	runs, scans := components.Object("collector").Bool("enabled"), components.Object("scanner").Bool("enabled")
	meaningless(root, row)
	if !runs {
		row.Note("its collector is off, so that Eraser does nothing by itself: nothing to convert")
		return
	}
	if scans {
		cron.Spec.Suspend = new(true)
		said.add("suspend", "Eraser's scanner chose the images that have vulnerabilities, and no others were removed. Orlop has no scanner: "+
			"this removes every unused image. Turn suspend off if that is meant, or narrow prune first")
		row.Note("the scanner is not converted: suspended, since without it every unused image goes, and not only those with vulnerabilities")
	}
	draft := e.report.Add(cron, append([]*Row{row}, e.excluding...)...)
	said.onto(draft, "spec")
	e.said.onto(draft, "spec.jobTemplate.spec.prune.keep")
	sparesMore(row)
}

// eraserInterval is Eraser's default.
const eraserInterval = "24h"

func interval(f *Fields, row *Row, cron metav1.ObjectMeta, said *remarks) string {
	text := cmp.Or(f.Text("repeatInterval"), eraserInterval)
	every, err := time.ParseDuration(text)
	if err != nil || every <= 0 {
		f.Fail("repeatInterval", "%q is not a time span such as 24h", text)
	}
	if !f.Has("beginImmediately") || f.Bool("beginImmediately") {
		row.Note("beginImmediately has no counterpart: the first run is after the first %s; for one now: kubectl orlop cron run %s -n %s", text, cron.Name, cron.Namespace)
	}
	f.Done("beginImmediately")
	row.Note("repeatInterval %s counts from run to run, and so does @every; a time of day is possible as well, such as 0 3 * * *", text)
	return everyText(every, said)
}

// successes reads when Eraser calls a run good, and how long it keeps it.
func successes(f *Fields, row *Row, said *remarks) {
	if ratio := f.Text("successRatio"); ratio != "" && strings.Trim(ratio, "0.") != "1" {
		said.add("jobTemplate.spec.failurePolicy", "successRatio %s has no counterpart: a run in which any node failed is Failed, though every other node is done", ratio)
	}
	if f.Has("cleanup") {
		f.Done("cleanup")
		row.Note("imageJob.cleanup becomes the default history: the last 3 good runs and the last failed one stay")
	}
}

// meaningless tells of the settings of Eraser's own pods, which are all that its components have but whether they run.
func meaningless(root *Fields, row *Row) {
	names := doneWith(root.Object("manager"), []string{
		"runtime", "otlpEndpoint", "logLevel", "profile", "pullSecrets", "priorityClassName", "additionalPodLabels"})
	names = append(names, doneWith(root, []string{"health", "metrics", "webhook", "leaderElection"})...)
	components := root.Object("components")
	for _, name := range []string{"collector", "scanner", "remover", "eraser"} {
		component := components.Object(name)
		names = append(names, doneWith(component, slices.DeleteFunc(slices.Clone(component.Keys()), func(key string) bool { return key == "enabled" }))...)
		component.Done("enabled")
	}
	if len(names) > 0 {
		row.Note("dropped, since no pods are started for it: %s", strings.Join(names, ", "))
	}
}

// filter is which nodes Eraser works on.
type filter struct{ affinity *v1alpha1.Affinity }

// eraserFilter is what Eraser leaves out unless told otherwise.
const eraserFilter = "eraser.sh/cleanup.filter"

func defaultFilter() filter { return makeFilter("exclude", []string{eraserFilter}, nil) }

// filterOf reads nodeFilter: nodes that fit any of the selectors are left out, or are the only ones.
func filterOf(f *Fields) filter {
	kind, selectors := cmp.Or(f.Text("type"), "exclude"), f.Texts("selectors")
	if !f.Has("selectors") {
		selectors = []string{eraserFilter}
	}
	switch {
	case kind != "exclude" && kind != "include":
		f.Fail("type", "%q is neither exclude nor include", kind)
	case kind == "include" && len(selectors) == 0:
		f.Fail("selectors", "none are given, and with type include that is no node at all")
	}
	return makeFilter(kind, selectors, f)
}

// maxTerms bounds the terms that excluding several labels together takes.
const maxTerms = 64

func makeFilter(kind string, selectors []string, f *Fields) (made filter) {
	terms := []corev1.NodeSelectorTerm{{}}
	if kind == "include" {
		terms = nil
	}
	for _, text := range selectors {
		parsed, err := apilabels.Parse(text)
		if err != nil {
			f.Fail("selectors", "%q is not a selector: %v", text, err)
			return made
		}
		asked, _ := parsed.Requirements()
		if len(asked) == 0 {
			f.Fail("selectors", "an empty selector fits every node")
			return made
		}
		if kind == "include" {
			var term corev1.NodeSelectorTerm
			for _, r := range asked {
				term.MatchExpressions = append(term.MatchExpressions, asNode(r, false))
			}
			terms = append(terms, term)
			continue
		}
		if slices.ContainsFunc(asked, ordered) {
			f.Fail("selectors", "%q: that a label is not greater or less than a number cannot be asked of nodes", text)
			return made
		}
		terms = without(terms, asked)
		if len(terms) > maxTerms {
			f.Fail("selectors", "they exclude in more combinations than the %d that are written here: choose the nodes by one label", maxTerms)
			return made
		}
	}
	if len(terms) > 0 && len(terms[0].MatchExpressions) > 0 {
		made.affinity = affinityOfTerms(terms)
	}
	return made
}

func ordered(r apilabels.Requirement) bool {
	return r.Operator() == selection.GreaterThan || r.Operator() == selection.LessThan
}

// without narrows each term to nodes that miss one of the requirements.
func without(terms []corev1.NodeSelectorTerm, asked apilabels.Requirements) (narrowed []corev1.NodeSelectorTerm) {
	for _, term := range terms {
		for _, r := range asked {
			one := term.DeepCopy()
			one.MatchExpressions = append(one.MatchExpressions, asNode(r, true))
			narrowed = append(narrowed, *one)
		}
	}
	return narrowed
}

// asNode is a label selector's requirement, or its opposite, as a node selector has it.
func asNode(r apilabels.Requirement, opposite bool) corev1.NodeSelectorRequirement {
	operators := map[selection.Operator][2]corev1.NodeSelectorOperator{
		selection.Equals:       {corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn},
		selection.DoubleEquals: {corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn},
		selection.In:           {corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn},
		selection.NotEquals:    {corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpIn},
		selection.NotIn:        {corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpIn},
		selection.Exists:       {corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist},
		selection.DoesNotExist: {corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpExists},
		selection.GreaterThan:  {corev1.NodeSelectorOpGt},
		selection.LessThan:     {corev1.NodeSelectorOpLt},
	}
	is := operators[r.Operator()][0]
	if opposite {
		is = operators[r.Operator()][1]
	}
	made := corev1.NodeSelectorRequirement{Key: r.Key(), Operator: is}
	if is != corev1.NodeSelectorOpExists && is != corev1.NodeSelectorOpDoesNotExist {
		made.Values = r.Values().List()
	}
	return made
}
