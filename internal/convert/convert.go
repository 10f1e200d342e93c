// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package convert turns what people run today for the images on their nodes (kube-fledged, kubernetes-image-puller,
// OpenKruise, Eraser, and DaemonSets and Jobs of their own) into Orlop's objects. It is pure: text in, objects and words out.
// Each field of what it reads either has a counterpart, or is told in the report; none is dropped in silence.
package convert

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Options are what the documents do not say.
type Options struct {
	// Namespace is where what has no namespace of its own goes. Empty is "default".
	Namespace string
	// SkipUnknown leaves out what nothing here converts, as in what a live cluster holds; else it is an error.
	SkipUnknown bool
}

// A converter knows the objects of one system.
type converter struct {
	// system is its name as people know it.
	system string
	// reads are the kinds that a live cluster is asked for; of several versions of one, the first that is served is read.
	reads []schema.GroupVersionKind
	// claims tells whether the document is of this system. It reads nothing by way of Fields that marks a field as taken.
	claims func(*Document) bool
	// convert is called once, with every document that it claimed, in the order in which they came.
	convert func(docs []*Document, opts Options, report *Report)
}

// converters in the order in which they are asked.
var converters = []converter{
	fledgedConverter,
	pullerConverter,
	kruiseConverter,
	eraserConverter,
	workloadConverter,
}

// ErrUnknown is what a document is refused with that is of none of the systems.
var ErrUnknown = errors.New("nothing here converts this")

// Systems are those whose objects are converted, as people know them.
func Systems() (names []string) {
	for _, c := range converters {
		names = append(names, c.system)
	}
	return names
}

// Convert turns the documents into Orlop's objects. Where anything cannot be read, the error names each place by file and
// line, and the report is nil: nothing half-done is to be written.
func Convert(docs []*Document, opts Options) (*Report, error) {
	opts.Namespace = cmp.Or(opts.Namespace, "default")
	claimed := make([][]*Document, len(converters))
	var errs []error
	for _, doc := range docs {
		i := slices.IndexFunc(converters, func(c converter) bool { return c.claims(doc) })
		switch {
		case i >= 0:
			claimed[i] = append(claimed[i], doc)
		case !opts.SkipUnknown:
			errs = append(errs, fmt.Errorf("%s: %w: %s", doc.Place(), ErrUnknown, doc.Title()))
		}
	}
	report := &Report{}
	for i, c := range converters {
		if len(claimed[i]) > 0 {
			c.convert(claimed[i], opts, report)
		}
	}
	for _, doc := range docs {
		errs = append(errs, doc.errs...)
	}
	if len(errs) == 0 {
		errs = report.settle()
	}
	if err := several(errs); err != nil {
		return nil, err
	}
	return report, nil
}

// Reads are the kinds that a live cluster is to be asked for. Of several versions of one the first that is served will do.
func Reads() (kinds []schema.GroupVersionKind) {
	for _, c := range converters {
		for _, kind := range c.reads {
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}
