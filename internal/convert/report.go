// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is one of Kubernetes, its kind set.
type Object interface {
	metav1.Object
	runtime.Object
}

// Report is what became of the documents.
type Report struct {
	// Drafts are the objects to be written, sorted by kind, namespace and name once Convert returns.
	Drafts []*Draft
	// Rows say of each document what it became, in the order in which the documents came.
	Rows []*Row
}

// Row says what became of one document.
type Row struct {
	// Source is the document's title.
	Source string
	// Results are the objects made of it, as "ImageCache shop/web"; none means that it has no counterpart.
	Results []string
	// Notes are sentences about what was changed or left out, fields that have no meaning any more included.
	Notes []string
	doc   *Document
}

// Draft is an object of ours, and what a person should look at before it is applied.
type Draft struct {
	// Object is of api/v1alpha1, or a Secret or ConfigMap that one of those needs.
	Object Object
	// Comment stands above the object: where it comes from.
	Comment string
	// Reviews are remarks on fields where the meaning changed, by the field's path ("spec.maxParallelNodes", "" for the object
	// itself); they are written as comments that begin with REVIEW.
	Reviews []Review
	rows    []*Row
}

// Review is one such remark.
type Review struct{ Path, Text string }

// Row begins the row of a document; each converter calls it once for each document it was given.
func (r *Report) Row(doc *Document) *Row {
	row := &Row{Source: doc.Title(), doc: doc}
	r.Rows = append(r.Rows, row)
	return row
}

// maxNotes is how many sentences a row has, and how many fields one of them names: whoever has more has one cause.
const maxNotes = 50

// Note adds a sentence, unless it stands there.
func (row *Row) Note(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	switch {
	case slices.Contains(row.Notes, note):
	case len(row.Notes) < maxNotes:
		row.Notes = append(row.Notes, note)
	case len(row.Notes) == maxNotes:
		row.Notes = append(row.Notes, "and more of the kind")
	}
}

// Add takes an object into the report, as made of the documents of these rows.
func (r *Report) Add(object Object, rows ...*Row) *Draft {
	draft := &Draft{Object: object, rows: rows}
	var from []string
	for _, row := range rows {
		row.Results = append(row.Results, title(object))
		if place := row.doc.Place(); row.doc.live {
			from = append(from, row.Source)
		} else {
			from = append(from, row.Source+" ("+place+")")
		}
	}
	draft.Comment = "From " + strings.Join(from, " and ")
	r.Drafts = append(r.Drafts, draft)
	return draft
}

// Review adds a remark on a field.
func (d *Draft) Review(path, format string, args ...any) {
	d.Reviews = append(d.Reviews, Review{Path: path, Text: fmt.Sprintf(format, args...)})
}

// settle tells of every field that nobody read, sorts, and refuses what could not be applied.
func (r *Report) settle() (errs []error) {
	for _, row := range r.Rows {
		if unread := row.doc.root.Unread(); len(unread) > 0 {
			if more := len(unread) - maxNotes; more > 0 {
				unread = append(unread[:maxNotes:maxNotes], fmt.Sprintf("and %d more", more))
			}
			row.Notes = append(row.Notes, "not converted: "+strings.Join(unread, ", "))
		}
		for i, note := range row.Notes {
			row.Notes[i] = clean(note)
		}
	}
	slices.SortStableFunc(r.Drafts, func(a, b *Draft) int {
		return cmp.Or(cmp.Compare(rank(a.Object), rank(b.Object)),
			cmp.Compare(a.Object.GetNamespace(), b.Object.GetNamespace()), cmp.Compare(a.Object.GetName(), b.Object.GetName()))
	})
	for i, now := range r.Drafts {
		for _, problem := range problems(now.Object) {
			errs = append(errs, fmt.Errorf("%s: %s: %s", now.rows[0].doc.Place(), title(now.Object), clean(problem)))
		}
		if i > 0 && title(r.Drafts[i-1].Object) == title(now.Object) {
			errs = append(errs, fmt.Errorf("%s and %s: both make %s; convert one of them by itself, or rename it",
				r.Drafts[i-1].rows[0].doc.Place(), now.rows[0].doc.Place(), title(now.Object)))
		}
	}
	return errs
}

// kinds in the order in which they are written: what others refer to comes first.
var kinds = []string{"Secret", "ConfigMap", "ImageCache", "NodeJob", "NodeCronJob", "CronJob"}

func rank(object runtime.Object) int {
	return slices.Index(kinds, object.GetObjectKind().GroupVersionKind().Kind)
}

func title(object Object) string {
	name := object.GetName()
	if ns := object.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return object.GetObjectKind().GroupVersionKind().Kind + " " + name
}
