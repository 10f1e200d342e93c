// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	pullerSystem = "kubernetes-image-puller"
	pullerGroup  = "che.eclipse.org"
	pullerKind   = "KubernetesImagePuller"
	// pullerConfigMap is the name that its manifests, its chart and its operator give the ConfigMap.
	pullerConfigMap = "k8s-image-puller"
)

// pullerConverter reads what kubernetes-image-puller is told by: a ConfigMap or the environment of its Deployment, the values of its
// chart, an OpenShift Template, or the object of its operator.
var pullerConverter = converter{
	system: pullerSystem,
	reads: []schema.GroupVersionKind{
		{Group: pullerGroup, Version: "v1alpha1", Kind: pullerKind}, {Version: "v1", Kind: "ConfigMap"}, deploymentKind,
	},
	claims: func(doc *Document) bool {
		return pullerSource(doc) != nil || isPullerPart(doc)
	},
	convert: func(docs []*Document, opts Options, report *Report) {
		p := &pullers{opts: opts, report: report, byConfigMap: map[string]*puller{}}
		for _, doc := range docs {
			p.read(doc, report.Row(doc))
		}
		p.join()
		for _, one := range p.all {
			one.convert(report)
		}
	},
}

// pullerSource is how the settings are read off a document; nil where it holds none.
func pullerSource(doc *Document) func(*pullers, *Document, *Row) {
	switch kind := doc.Kind(); {
	case doc.Group() == pullerGroup && kind == pullerKind:
		return (*pullers).readOperators
	case kind == "ConfigMap" && isPullerData(doc.look("data")):
		return (*pullers).readConfigMap
	case (kind == "Deployment" || kind == "DaemonSet") && isPullerWorkload(doc):
		return (*pullers).readWorkload
	case kind == "Template" && slices.ContainsFunc(doc.objectsAt("objects"), isPullerTemplate):
		return (*pullers).readTemplate
	case kind == "" && doc.look("configMap").Has("images"):
		return (*pullers).readValues
	}
	return nil
}

func isPullerData(data *Fields) bool {
	return data.Has("IMAGES") && (data.Has("CACHING_INTERVAL_HOURS") || data.Has("DAEMONSET_NAME") || data.Has("CACHING_MEMORY_LIMIT"))
}

func isPullerWorkload(doc *Document) bool {
	if doc.runs(pullerSystem) {
		return true
	}
	return slices.ContainsFunc(doc.objectsAt("spec", "template", "spec", "containers"), func(container *Fields) bool {
		names := map[string]bool{}
		for _, env := range (&Document{root: container}).objectsAt("env") {
			name, _ := env.peek("name")
			names[name] = true
		}
		return names["IMAGES"] && names["CACHING_INTERVAL_HOURS"]
	})
}

// isPullerTemplate tells it of an object in an OpenShift Template.
func isPullerTemplate(object *Fields) bool {
	inner := &Document{root: object}
	return inner.Kind() == "ConfigMap" && isPullerData(inner.look("data")) || inner.Kind() == "Deployment" && isPullerWorkload(inner)
}

// isPullerPart tells the rest of its own manifests, which hold no settings.
func isPullerPart(doc *Document) bool {
	name := doc.Name()
	switch doc.Kind() {
	case "CustomResourceDefinition":
		return strings.HasSuffix(name, "."+pullerGroup)
	case "Deployment": // Its name says little: those that run the puller are known by their image.
		return false
	case "Role", "RoleBinding":
		return strings.Contains(name, "image-puller") || strings.HasPrefix(name, "create-daemonset")
	case "Template":
		return strings.Contains(name, "image-puller")
	}
	return slices.Contains(installed, doc.Kind()) && strings.Contains(name, "image-puller")
}

// pullers are all that were found, on their way.
type pullers struct {
	opts   Options
	report *Report
	all    []*puller
	// byConfigMap are those whose settings are in one, by namespace and name; workloads refer to them.
	byConfigMap map[string]*puller
	workloads   []*pullerWorkload
	// operators are the ConfigMaps that an operator writes: what they say stands in its object.
	operators map[string]*Row
}

// puller is one of them: settings by the names of the environment, each in the field where it stands.
type puller struct {
	meta     metav1.ObjectMeta
	settings map[string]setting
	rows     []*Row
	// lenient: what is not set has a default of the chart's or the operator's.
	lenient bool
	// expand replaces what stands for parameters; nil leaves texts as they are.
	expand func(string) string
}

// inEnvironment is the key of a variable's value in the environment of a container.
const inEnvironment = "value"

// setting is a field that holds the value of a variable.
type setting struct {
	at  *Fields
	key string
}

func (p *pullers) read(doc *Document, row *Row) {
	if source := pullerSource(doc); source != nil {
		source(p, doc, row)
		return
	}
	withoutResult(doc, row, pullerSystem)
}

// readConfigMap: its keys are the environment.
func (p *pullers) readConfigMap(doc *Document, row *Row) {
	one := &puller{meta: metadata(doc, row, p.opts), settings: map[string]setting{}, rows: []*Row{row}}
	data := doc.root.Object("data")
	for _, key := range data.Keys() {
		one.settings[key] = setting{data, key}
	}
	p.all = append(p.all, one)
	p.byConfigMap[one.meta.Namespace+"/"+one.meta.Name] = one
}

// variables are the names of the environment, by those of the operator's spec. Those of the chart's values differ in a few.
var variables = map[string]string{
	"images": "IMAGES", "cachingIntervalHours": "CACHING_INTERVAL_HOURS", "cachingMemoryRequest": "CACHING_MEMORY_REQUEST",
	"cachingMemoryLimit": "CACHING_MEMORY_LIMIT", "cachingCPURequest": "CACHING_CPU_REQUEST", "cachingCPULimit": "CACHING_CPU_LIMIT",
	"cachingCpuRequest": "CACHING_CPU_REQUEST", "cachingCpuLimit": "CACHING_CPU_LIMIT",
	"daemonsetName": "DAEMONSET_NAME", "daemonsetAnnotations": "DAEMONSET_ANNOTATIONS", "deploymentName": "DEPLOYMENT_NAME",
	"nodeSelector": "NODE_SELECTOR", "imagePullSecrets": "IMAGE_PULL_SECRETS", "affinity": "AFFINITY", "tolerations": "TOLERATIONS",
	"imagePullerImage": "KIP_IMAGE",
}

// readOperators reads the object of the operator, all of whose fields are texts.
func (p *pullers) readOperators(doc *Document, row *Row) {
	one := &puller{meta: metadata(doc, row, p.opts), settings: map[string]setting{}, rows: []*Row{row}, lenient: true}
	spec := doc.root.Object("spec")
	for _, key := range spec.Keys() {
		if name := variables[key]; name != "" {
			one.settings[name] = setting{spec, key}
		}
	}
	if p.operators == nil {
		p.operators = map[string]*Row{}
	}
	p.operators[one.meta.Namespace+"/"+cmp.Or(spec.Text("configMapName"), pullerConfigMap)] = row
	p.all = append(p.all, one)
}

// readValues reads the values of the chart: those of the ConfigMap that it makes, and what is of the Deployment alone.
func (p *pullers) readValues(doc *Document, row *Row) {
	one := &puller{settings: map[string]setting{}, rows: []*Row{row}, lenient: true}
	row.Source = "values of the chart " + pullerSystem
	config := doc.root.Object("configMap")
	one.meta = metav1.ObjectMeta{Name: cmp.Or(config.Text("name"), pullerConfigMap), Namespace: p.opts.Namespace}
	for _, key := range config.Keys() {
		if name := variables[key]; name != "" {
			one.settings[name] = setting{config, key}
		}
	}
	var own []string
	for _, key := range doc.root.Keys() {
		if slices.Contains(chartsOwn, key) {
			doc.root.Done(key)
			own = append(own, key)
		}
	}
	if len(own) > 0 {
		row.Note("of the puller itself, which goes: %s", strings.Join(own, ", "))
	}
	p.all = append(p.all, one)
}

// chartsOwn are the values that say something of the puller's own Deployment.
var chartsOwn = []string{"deploymentName", "deploymentAnnotations", "image", "serviceAccount", "updateStrategy", "priorityClassName",
	"resources", "tolerations", "nodeSelector", "containerSecurityContext", "appName"}
