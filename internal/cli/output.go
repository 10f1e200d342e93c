// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/cmd/get"

	"orlop.dev/orlop/internal/suggest"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// apiVersion is that of the answers with -o json and the like. It is not served by a cluster.
const apiVersion = "orlop.dev/v1alpha1"

// answer is what a command has found, for people and for programs.
type answer struct {
	kind  string // of the list; its items are without "List"
	items any    // a slice
	extra map[string]any
	table *table.Table
	names []string // with -o name
}

// output is how answers are written: one printer for all commands.
type output struct {
	format    string
	noHeaders bool
	bytes     bool
	full      bool
	quiet     bool
	templates genericclioptions.KubeTemplatePrintFlags
	documents *genericclioptions.JSONYamlPrintFlags
	columns   *get.CustomColumnsPrintFlags
}

// forPeople are the formats made of a table.
var forPeople = []string{"table", "wide", "csv", "name"}

func (o *output) add(flags *pflag.FlagSet) {
	o.documents = genericclioptions.NewJSONYamlPrintFlags()
	o.templates = *genericclioptions.NewKubeTemplatePrintFlags()
	o.columns = get.NewCustomColumnsPrintFlags()
	mark(flags, flagsOfOutput, func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.format, "output", "o", "table", "a `format`: "+strings.Join(o.formats(), ", "))
		flags.BoolVar(&o.noHeaders, "no-headers", false, "print no header line")
	})
}

// addSizes declares --bytes, for answers with sizes.
func (o *output) addSizes(flags *pflag.FlagSet) {
	mark(flags, flagsOfOutput, func(flags *pflag.FlagSet) { flags.BoolVar(&o.bytes, "bytes", false, "print sizes in bytes") })
}

// addIDs declares --no-trunc, for answers with ids.
func (o *output) addIDs(flags *pflag.FlagSet) {
	mark(flags, flagsOfOutput, func(flags *pflag.FlagSet) { flags.BoolVar(&o.full, "no-trunc", false, "print ids and digests in full") })
}

func (o *output) formats() []string {
	formats := slices.Clone(forPeople)
	formats = append(formats, o.documents.AllowedFormats()...)
	formats = append(formats, o.templates.AllowedFormats()...)
	return append(formats, "custom-columns", "custom-columns-file")
}

// check refuses an unknown format before anything is asked of a node.
func (o *output) check() error {
	if slices.Contains(forPeople, o.format) {
		return nil
	}
	if _, err := o.printer(); err != nil {
		return err
	}
	return nil
}

// structured reports whether the answer is for a program, and is one document with everything in it.
func (o *output) structured() bool { return !slices.Contains(forPeople, o.format) }

func (o *output) printer() (printers.ResourcePrinter, error) {
	name, argument, _ := strings.Cut(o.format, "=")
	if slices.Contains(o.documents.AllowedFormats(), name) {
		return o.documents.ToPrinter(name)
	}
	if slices.Contains(o.templates.AllowedFormats(), name) {
		p, err := o.templates.ToPrinter(o.format)
		if err != nil {
			return nil, fmt.Errorf("--output %s: %w", name, err)
		}
		return p, nil
	}
	if strings.HasPrefix(name, "custom-columns") {
		o.columns.NoHeaders, o.columns.TemplateArgument = o.noHeaders, argument
		p, err := o.columns.ToPrinter(name)
		if err != nil {
			return nil, fmt.Errorf("--output %s: %w", name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("--output %q is not known%s; it is one of %s", o.format, suggest.DidYouMean(name, o.formats()), strings.Join(o.formats(), ", "))
}

// print writes an answer to standard output.
func (a *app) print(o *output, ans answer) error {
	switch o.format {
	case "table", "wide":
		if last := len(ans.table.Columns) - 1; ans.table.Columns[last].Name == "MESSAGE" {
			ans.table.DropEmpty(last) // Most often all is well, and there is nothing to say.
		}
		err := ans.table.Write(a.Out, table.Options{Wide: o.format == "wide", NoHeaders: o.noHeaders, Fit: term.Width(a.Out, 0), Style: a.paint.cell()})
		if yielded := ans.table.Yielded(); len(yielded) > 0 {
			sentence(a.Err, 2, "- left out, as the terminal is narrow: %s; -o wide shows them", strings.Join(yielded, ", "))
		}
		return err
	case "csv":
		return ans.table.WriteCSV(a.Out, table.Options{NoHeaders: o.noHeaders})
	case "name":
		for _, name := range ans.names {
			if _, err := fmt.Fprintln(a.Out, name); err != nil {
				return err
			}
		}
		return nil
	}
	printer, err := o.printer()
	if err != nil {
		return err
	}
	doc, err := document(ans)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	if !strings.HasPrefix(o.format, "custom-columns") {
		return printer.PrintObj(doc, a.Out)
	}
	list, err := doc.ToList() // That printer wants a line's objects, the others the document as it is.
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return printer.PrintObj(list, a.Out)
}

// document makes an answer what kubectl's printers take: a list of objects with apiVersion and kind.
func document(ans answer) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(ans.items)
	if err != nil {
		return nil, err
	}
	var items []any
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	if items == nil {
		items = []any{} // An empty list, and not a null that scripts trip over.
	}
	doc := map[string]any{}
	if raw, err = json.Marshal(ans.extra); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	if doc == nil {
		doc = map[string]any{}
	}
	doc["apiVersion"], doc["kind"], doc["items"] = apiVersion, ans.kind, items
	return &unstructured.Unstructured{Object: doc}, nil
}

// size is a size as asked for; 0, which stands for unknown, is empty.
func (o *output) size(n int64) string {
	if (o.bytes || o.format == "csv") && n != 0 {
		return fmt.Sprint(n)
	}
	return table.Bytes(n)
}

// size0 is a size as asked for, 0 included.
func (o *output) size0(n int64) string {
	if o.bytes || o.format == "csv" { // A spreadsheet reckons with them.
		return fmt.Sprint(n)
	}
	return table.Size(n)
}

// told is a size in a sentence.
func (o *output) told(n int64) string {
	if o.bytes {
		return fmt.Sprint(n)
	}
	return table.Size(n)
}

// id is an id or a digest as asked for.
func (o *output) id(id string) string {
	if o.full || o.format == "csv" {
		return id
	}
	return table.ID(id)
}

// printObject writes one object as it is.
func (a *app) printObject(o *output, object any) error {
	printer, err := o.printer()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	doc := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &doc.Object); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	unstructured.RemoveNestedField(doc.Object, "metadata", "managedFields")
	return printer.PrintObj(doc, a.Out)
}

// toldCreated prints an object, whose name begins with its kind, as kubectl prints what it has created.
func (a *app) toldCreated(o *output, object any, name, how string) error {
	if o.structured() {
		return a.printObject(o, object)
	}
	line := name
	if o.format != "name" {
		line += " created" + how
	}
	_, err := fmt.Fprintln(a.Out, line)
	return err
}
