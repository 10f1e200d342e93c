// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pullerWorkload is a Deployment of the puller with its environment, which may stand in ConfigMaps.
type pullerWorkload struct {
	doc  *Document
	row  *Row
	meta metav1.ObjectMeta
	// from are the ConfigMaps of which all is taken; own are variables that have a value of their own, or one of a ConfigMap.
	from []string
	own  map[string]setting
	refs map[string][2]string
}

func (p *pullers) readWorkload(doc *Document, row *Row) {
	w := &pullerWorkload{doc: doc, row: row, own: map[string]setting{}, refs: map[string][2]string{}}
	w.meta = metav1.ObjectMeta{Name: doc.Name(), Namespace: where(doc, p.opts)}
	containers := doc.objectsAt("spec", "template", "spec", "containers")
	for _, key := range doc.root.Keys() {
		doc.root.Done(key)
	}
	for _, container := range containers {
		for _, source := range container.Objects("envFrom") {
			if name := source.Object("configMapRef").Text("name"); name != "" {
				w.from = append(w.from, name)
			}
		}
		for _, env := range container.Objects("env") {
			name := env.Text("name")
			if env.Has("value") {
				w.own[name] = setting{env, "value"}
			}
			if ref := env.Object("valueFrom").Object("configMapKeyRef"); ref.Has("name") {
				w.refs[name] = [2]string{ref.Text("name"), ref.Text("key")}
			}
		}
	}
	p.workloads = append(p.workloads, w)
}

// join brings together what workloads, ConfigMaps and operators say of one puller.
func (p *pullers) join() {
	for at, row := range p.operators {
		if one := p.byConfigMap[at]; one != nil { // The operator wrote it, and its object says the same.
			one.rows[0].Note("its settings stand in %s, which is converted", row.Source)
			for _, setting := range one.settings {
				setting.at.Done(setting.key)
			}
			one.settings = nil
		}
	}
	for _, w := range p.workloads {
		p.joinWorkload(w)
	}
}

func (p *pullers) joinWorkload(w *pullerWorkload) {
	settings := map[string]setting{}
	var of *puller
	var missing []string
	take := func(name string) *puller {
		one := p.byConfigMap[w.meta.Namespace+"/"+name]
		if one == nil {
			missing = append(missing, name)
			return nil
		}
		of = one
		return one
	}
	for _, name := range w.from {
		if one := take(name); one != nil {
			maps.Copy(settings, one.settings)
		}
	}
	for _, variable := range slices.Sorted(maps.Keys(w.refs)) {
		ref := w.refs[variable]
		if one := take(ref[0]); one != nil {
			if s, there := one.settings[ref[1]]; there {
				settings[variable] = s
			}
		}
	}
	maps.Copy(settings, w.own)
	switch {
	case of != nil && of.settings == nil:
		w.row.Note("part of %s itself, made by its operator: it has no counterpart, and goes with it", pullerSystem)
	case of != nil && len(of.rows) == 1:
		of.overridden(settings, w.row.Source)
		of.settings, of.rows = settings, append(of.rows, w.row)
		w.row.Note("of it only the environment is used; it goes with %s", pullerSystem)
	case of == nil && settings["IMAGES"].at != nil:
		p.all = append(p.all, &puller{meta: w.meta, settings: settings, rows: []*Row{w.row}})
	case len(missing) > 0:
		w.row.Note("its settings stand in the ConfigMap %s, which was not among what was converted", strings.Join(slices.Compact(missing), ", "))
	default:
		w.row.Note("part of %s itself: it has no counterpart, and goes with it", pullerSystem)
	}
}

// readTemplate reads an OpenShift Template with the values that its parameters have by themselves.
func (p *pullers) readTemplate(doc *Document, row *Row) {
	values := map[string]string{}
	for _, parameter := range doc.root.Objects("parameters") {
		values[parameter.Text("name")] = parameter.Text("value")
		parameter.Done(parameter.Keys()...)
	}
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "${"+name+"}", value, "${{"+name+"}}", value)
	}
	expand := strings.NewReplacer(pairs...).Replace
	found := false
	for _, object := range doc.root.Objects("objects") {
		inner := &Document{root: object}
		if inner.Kind() == "ConfigMap" && isPullerData(inner.look("data")) {
			found = true
			p.readTemplated(object, row, expand)
		}
		object.Done(object.Keys()...)
	}
	for _, key := range doc.root.Keys() {
		doc.root.Done(key)
	}
	if found {
		row.Note("parameters have the values that the Template gives them")
		return
	}
	row.Note("part of %s itself: it has no counterpart, and goes with it", pullerSystem)
}

func (p *pullers) readTemplated(object *Fields, row *Row, expand func(string) string) {
	meta, data := object.Object("metadata"), object.Object("data")
	one := &puller{settings: map[string]setting{}, rows: []*Row{row}, expand: expand}
	one.meta = metav1.ObjectMeta{Name: expand(meta.Text("name")), Namespace: cmp.Or(expand(meta.Text("namespace")), p.opts.Namespace)}
	for _, key := range data.Keys() {
		one.settings[key] = setting{data, key}
	}
	p.all = append(p.all, one)
}

// overridden tells what of a ConfigMap does not count, as a workload sets it itself.
func (p *puller) overridden(settings map[string]setting, by string) {
	for _, name := range slices.Sorted(maps.Keys(p.settings)) {
		if was := p.settings[name]; settings[name].at != nil && settings[name] != was {
			was.at.Done(was.key)
			p.rows[0].Note("%s of it is overridden by %s", name, by)
		}
	}
}
