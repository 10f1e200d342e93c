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
	row  *Row
	meta metav1.ObjectMeta
	// from are the ConfigMaps of which all is taken, with what stands before each name; own are variables that have a value of their
	// own, refs those with one of a ConfigMap.
	from []pullerAll
	own  map[string]setting
	refs map[string][2]string
	// elsewhere is what cannot be read here, such as a Secret.
	elsewhere []string
}

// pullerAll is a ConfigMap all of whose keys are variables, with what is put before their names.
type pullerAll struct{ configMap, prefix string }

func (p *pullers) readWorkload(doc *Document, row *Row) {
	w := &pullerWorkload{row: row, own: map[string]setting{}, refs: map[string][2]string{}}
	w.meta = metav1.ObjectMeta{Name: doc.Name(), Namespace: where(doc, p.opts)}
	containers := doc.objectsAt("spec", "template", "spec", "containers")
	for _, key := range doc.root.Keys() {
		doc.root.Done(key)
	}
	for _, container := range containers {
		for _, source := range container.Objects("envFrom") {
			w.takeAll(source)
		}
		for _, env := range container.Objects("env") {
			w.take(env)
		}
	}
	p.workloads = append(p.workloads, w)
}

// takeAll reads an entry of envFrom.
func (w *pullerWorkload) takeAll(source *Fields) {
	if name := source.Object("configMapRef").Text("name"); name != "" {
		w.from = append(w.from, pullerAll{name, source.Text("prefix")})
	}
	if name := source.Object("secretRef").Text("name"); name != "" {
		w.elsewhere = append(w.elsewhere, "all of the Secret "+name)
	}
}

// take reads a variable. That of a Downward API's namespace is the one that the workload is in, which is taken in any case.
func (w *pullerWorkload) take(env *Fields) {
	name, from := env.Text("name"), env.Object("valueFrom")
	inConfigMap, field := from.Object("configMapKeyRef"), from.Object("fieldRef").Text("fieldPath")
	switch {
	case inConfigMap.Has("name"):
		w.refs[name] = [2]string{inConfigMap.Text("name"), inConfigMap.Text("key")}
	case !env.Has("valueFrom"):
		w.own[name] = setting{env, inEnvironment}
	case name != "NAMESPACE" || field != "metadata.namespace":
		w.elsewhere = append(w.elsewhere, name)
	}
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
	for _, all := range w.from {
		if one := take(all.configMap); one != nil {
			for name, s := range one.settings {
				settings[all.prefix+name] = s
			}
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
	if len(w.elsewhere) > 0 {
		w.row.Note("not converted, as its values are not in what was read: %s", strings.Join(w.elsewhere, ", "))
	}
	switch {
	case of != nil && of.settings == nil:
		w.row.Note("part of %s itself, made by its operator: it has no counterpart, and goes with it", pullerSystem)
	case of != nil && len(of.rows) == 1:
		of.overridden(settings, w.row.Source)
		of.settings, of.rows = settings, append(of.rows, w.row)
		w.row.Note("of it only the environment is used; it goes with %s", pullerSystem)
	case settings["IMAGES"].at != nil: // Of its own, or by a ConfigMap that another workload has as well.
		p.all = append(p.all, &puller{meta: w.meta, settings: settings, rows: []*Row{w.row}})
	case len(missing) > 0:
		w.row.Note("its settings stand in the ConfigMap %s, which was not among what was converted", strings.Join(slices.Compact(missing), ", "))
	case len(w.elsewhere) > 0:
		w.row.Note("which images it is for is not known, so that nothing comes of it")
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
	found, others := false, false
	for _, object := range doc.root.Objects("objects") {
		inner := &Document{root: object}
		if inner.Kind() == "ConfigMap" && isPullerData(inner.look("data")) {
			found = true
			p.readTemplated(object, row, expand)
			continue
		}
		others = true
		object.Done(object.Keys()...)
	}
	doc.root.Done("apiVersion", "kind", "metadata")
	if found {
		row.Note("parameters have the values that the Template gives them")
		if others {
			row.Note("its other objects are part of %s itself, and go with it", pullerSystem)
		}
		return
	}
	row.Note("part of %s itself: it has no counterpart, and goes with it", pullerSystem)
}

func (p *pullers) readTemplated(object *Fields, row *Row, expand func(string) string) {
	object.Done("apiVersion", "kind")
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
