// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/oci"
)

const (
	eraserGroup     = "eraser.sh"
	eraserNamespace = "eraser-system"
	// eraserList is the one name of an ImageList that Eraser looks at.
	eraserList = "imagelist"
	// eraserExclude is the label of a ConfigMap with images to be left alone.
	eraserExclude = "eraser.sh/exclude.list"
	// eraserConfigKey is where the ConfigMap of Eraser's manager has its EraserConfig.
	eraserConfigKey = "controller_manager_config.yaml"
)

var eraserConverter = converter{
	system: "Eraser",
	reads: []schema.GroupVersionKind{
		{Group: eraserGroup, Version: "v1", Kind: "ImageList"}, {Group: eraserGroup, Version: "v1alpha1", Kind: "ImageList"},
		{Version: "v1", Kind: "ConfigMap"},
	},
	claims:  eraserClaims,
	convert: convertEraser,
}

func eraserClaims(d *Document) bool {
	switch {
	case d.Group() == eraserGroup:
		return d.Kind() == "ImageList" || d.Kind() == "EraserConfig" || d.Kind() == "ImageJob"
	case d.Group() == "" && d.Kind() == "ConfigMap":
		_, configures := d.look("data").peek(eraserConfigKey)
		return excludes(d) || configures
	case d.Kind() == "":
		kind, _ := d.look("runtimeConfig").peek("kind")
		return kind == "EraserConfig"
	}
	return isEraserPart(d)
}

func isEraserPart(d *Document) bool {
	return slices.Contains(installed, d.Kind()) && (d.Namespace() == eraserNamespace || d.Name() == eraserNamespace ||
		strings.HasPrefix(d.Name(), "eraser-") || strings.HasSuffix(d.Name(), "."+eraserGroup))
}

func excludes(d *Document) bool {
	label, _ := d.look("metadata", "labels").peek(eraserExclude)
	return label == "true"
}

// convertEraser reads what is excluded and which nodes are meant first, since both hold for every list and every schedule.
func convertEraser(docs []*Document, opts Options, report *Report) {
	e := eraser{opts: opts, report: report, filter: defaultFilter()}
	var lists, jobs []*Row
	for _, doc := range docs {
		row := report.Row(doc)
		switch {
		case isEraserPart(doc):
			withoutResult(doc, row, "Eraser")
		case excludes(doc):
			e.exclude(doc, row)
		case doc.Kind() == "ImageList":
			lists = append(lists, row)
		case doc.Kind() == "ImageJob":
			doc.root.Done("apiVersion", "kind", "metadata", "spec", "status", "template")
			row.Note("made by Eraser for each run, as NodeJobs are by a NodeCronJob: nothing to convert")
		default:
			jobs = append(jobs, row)
		}
	}
	e.settleExclusions()
	for _, row := range jobs {
		e.config(row)
	}
	for _, row := range lists {
		e.list(row)
	}
	if len(lists)+len(jobs) == 0 {
		for _, row := range e.excluding {
			row.Note("nothing here has anything removed: put this into the keep of a NodeCronJob's prune: %s", strings.Join(e.keep, ", "))
		}
	}
}

// eraser is all that holds for a whole installation.
type eraser struct {
	opts   Options
	report *Report
	// excluding are the rows of ConfigMaps with exclusions, excluded what stands in them, keep the patterns that mean the same here.
	excluding []*Row
	excluded  []string
	keep      []string
	said      remarks
	filter    filter
}

// add takes an object into the report, with the ConfigMaps that have a share in it. A list that Eraser has dealt with is held.
func (e *eraser) add(object *v1alpha1.NodeJob, row *Row) *Draft {
	var said remarks
	holdEnded(row.doc, row, &object.Spec, &said)
	draft := e.report.Add(object, append([]*Row{row}, e.excluding...)...)
	said.onto(draft, "spec")
	return draft
}

func (e *eraser) list(row *Row) {
	doc := row.doc
	meta := metaOf(doc, e.opts, row, maxJobName)
	entries := doc.root.Object("spec").nodes("images")
	if meta.was != eraserList {
		row.Note("Eraser looks only at the ImageList named %s, so that this one did nothing: nothing to convert", eraserList)
		return
	}
	want := e.wanted(doc, entries, row)
	if want.all {
		e.prune(meta, row, want)
		return
	}
	if len(want.images)+len(want.ids) == 0 {
		row.Note("it names no image that could be removed: nothing to convert")
		return
	}
	made := 0
	write := func(action v1alpha1.NodeJobSpec, path string, said remarks) {
		object := meta.object
		object.Name = numbered(object.Name, made, maxJobName)
		action.Affinity, action.Tolerations = e.filter.affinity, everyTaint()
		draft := e.add(&v1alpha1.NodeJob{TypeMeta: typeOf("NodeJob"), ObjectMeta: object, Spec: action}, row)
		said.onto(draft, path)
		made++
	}
	for part := range slices.Chunk(want.images, maxImages) {
		write(v1alpha1.NodeJobSpec{Remove: &v1alpha1.RemoveAction{Images: part}}, "spec.remove.images", want.remarks)
		want.remarks = nil
	}
	for part := range slices.Chunk(want.ids, maxPatterns) {
		write(v1alpha1.NodeJobSpec{Prune: &v1alpha1.PruneAction{Match: part, Keep: e.keep}}, "spec.prune.keep", e.said)
	}
	if len(want.ids) > 0 {
		row.Note("ids and digests go by prune, since an image that is excluded by name may bear them: what arrived in the last 10 minutes is spared then")
	}
	row.Note("each name goes alone, where Eraser removes the image with all its names; what pods yet to start, caches or pins hold is spared too")
	row.Note("a NodeJob runs once: for another list make another one, or use kubectl orlop rm")
}

// wanted is what a list asks to be removed.
type wanted struct {
	all bool
	// images are to be removed; ids, too, and are apart where exclusions by name may hold what they mean.
	images, ids []string
	remarks     remarks
}

func (e *eraser) wanted(doc *Document, entries []*yaml.Node, row *Row) (w wanted) {
	seen := map[string]bool{}
	for _, entry := range entries {
		text := entry.Value
		target, err := oci.ParseTarget(text)
		_, isRef := target.Ref()
		switch {
		case seen[text]:
			continue
		case text == "*":
			w.all = true
		case strings.ContainsAny(text, "*?"):
			row.Note("%s is left out: Eraser takes * alone, so that this removed nothing; as a pattern of Orlop's it would remove all that fits", text)
		case entry.Kind != yaml.ScalarNode || err != nil:
			doc.fail(entry, "spec.images: %q is neither the name of an image, nor an id or digest, nor *", text)
		case e.holds(text):
			row.Note("%s is left out: it is excluded", text)
		case !isRef && len(e.keep) > 0:
			w.ids = append(w.ids, text)
		default:
			w.images = append(w.images, text)
			if isRef && !wholeName(text) {
				w.remarks.add("", "Eraser compares whole names, so that %s removed nothing on containerd and CRI-O: here it means %s", text, refOf(target))
			}
		}
		seen[text] = true
	}
	return w
}

func refOf(t oci.Target) string {
	ref, _ := t.Ref()
	return ref.String()
}

// wholeName reports whether a text is a name as runtimes list it, with its registry and tag.
func wholeName(text string) bool {
	ref, err := oci.Parse(text)
	return err == nil && ref.String() == text && ref.Digest() == ""
}

// prune is what "*" means: every image that no container uses.
func (e *eraser) prune(meta named, row *Row, want wanted) {
	spec := e.onNodes()
	spec.Prune = &v1alpha1.PruneAction{Keep: e.keep}
	draft := e.add(&v1alpha1.NodeJob{TypeMeta: typeOf("NodeJob"), ObjectMeta: meta.object, Spec: spec}, row)
	e.said.onto(draft, "spec.prune.keep")
	if named := slices.Concat(want.images, want.ids); len(named) > 0 {
		row.Note("\"*\" is every unused image: %s are among them", strings.Join(named, ", "))
	}
	sparesMore(row)
	row.Note("a NodeJob runs once: make it anew for another run, or write a NodeCronJob")
}

func sparesMore(row *Row) {
	row.Note("like Eraser it spares what a container in any state uses; and besides what pods yet to start name, what is pinned or cached, " +
		"the sandbox image, and what arrived in the last 10 minutes")
}

// onNodes chooses the nodes that Eraser does: it binds its pods to them directly, so that no taint or cordon counts.
func (e *eraser) onNodes() v1alpha1.NodeJobSpec {
	return v1alpha1.NodeJobSpec{Affinity: e.filter.affinity, Tolerations: everyTaint()}
}

// ofEraser is the metadata of what comes of a configuration, which may have none of its own.
func (e *eraser) ofEraser() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: "eraser", Namespace: e.opts.Namespace}
}
