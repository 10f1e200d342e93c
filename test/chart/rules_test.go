// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

// foreign kinds belong to other projects, whose types are not worth their module.
var foreign = []string{"PodMonitor", "ServiceMonitor", "PrometheusRule", "SecurityContextConstraints"}

// parsed reads objects into their types, and refuses fields that these do not know.
func parsed(t *testing.T, objects []object) []runtime.Object {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
	var all []runtime.Object
	for _, o := range objects {
		if slices.Contains(foreign, o["kind"].(string)) {
			continue
		}
		data, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		typed, _, err := decoder.Decode(data, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", name(o), err)
			continue
		}
		all = append(all, typed)
	}
	return all
}

// podTemplate is that of a workload.
func podTemplate(o runtime.Object) (corev1.PodTemplateSpec, bool) {
	switch o := o.(type) {
	case *appsv1.DaemonSet:
		return o.Spec.Template, true
	case *appsv1.Deployment:
		return o.Spec.Template, true
	case *batchv1.Job:
		return o.Spec.Template, true
	}
	return corev1.PodTemplateSpec{}, false
}

// Whatever the values: objects of known types, without privilege, labelled as ours.
func TestEveryScenarioKeepsTheRules(t *testing.T) {
	for label, s := range scenarios {
		t.Run(label, func(t *testing.T) {
			rendered := s.render(t)
			all := slices.Concat(rendered.Objects, rendered.Hooks)
			seen := map[string]bool{}
			for _, o := range all {
				if seen[name(o)] {
					t.Errorf("%s is rendered twice", name(o))
				}
				seen[name(o)] = true
				if at(o, "metadata.labels.app|kubernetes|io/part-of") != "orlop" || at(o, "metadata.labels.app|kubernetes|io/managed-by") != "Helm" {
					t.Errorf("%s has not our labels: %v", name(o), at(o, "metadata.labels"))
				}
			}
			workloads := 0
			for _, o := range parsed(t, all) {
				if template, ok := podTemplate(o); ok {
					workloads++
					checkPod(t, template)
				}
			}
			if workloads < 2 {
				t.Errorf("only %d workloads were checked", workloads)
			}
		})
	}
}

func checkPod(t *testing.T, template corev1.PodTemplateSpec) {
	t.Helper()
	pod, what := template.Spec, template.Labels["app.kubernetes.io/component"]
	agent := what == "agent"
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Errorf("%s: a namespace of the host", what)
	}
	sc := pod.SecurityContext
	if sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: seccomp is %v", what, sc.SeccompProfile)
	}
	if asRoot := sc.RunAsUser != nil && *sc.RunAsUser == 0; asRoot != agent {
		t.Errorf("%s: root is %v", what, asRoot)
	}
	if !agent && (sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot) {
		t.Errorf("%s may be root", what)
	}
	for _, v := range pod.Volumes {
		if v.HostPath != nil && (!agent || v.HostPath.Type == nil || *v.HostPath.Type != corev1.HostPathDirectory) {
			t.Errorf("%s: volume %s is of the host", what, v.Name)
		}
	}
	if pod.PriorityClassName == "" || pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Errorf("%s: priority %q, service links %v", what, pod.PriorityClassName, pod.EnableServiceLinks)
	}
	for _, c := range pod.Containers {
		checkContainer(t, what, c)
	}
}

func checkContainer(t *testing.T, what string, c corev1.Container) {
	t.Helper()
	sc := c.SecurityContext
	if sc.Privileged == nil || *sc.Privileged || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
		t.Errorf("%s: privileged, or may become so", what)
	}
	if sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
		t.Errorf("%s: its root can be written", what)
	}
	if diff := cmp.Diff(&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, sc.Capabilities); diff != "" {
		t.Errorf("%s: capabilities %s", what, diff)
	}
	if c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: memory without limit", what)
	}
	seen := map[string]bool{}
	for _, e := range c.Env {
		// Server-side apply refuses a key that is there twice.
		if seen[e.Name] {
			t.Errorf("%s: variable %s twice", what, e.Name)
		}
		seen[e.Name] = true
	}
	for _, p := range c.Ports {
		if p.HostPort != 0 {
			t.Errorf("%s: port %d on the host", what, p.HostPort)
		}
	}
}

// The rights are a promise: a change of them is a change of this test.
func TestRights(t *testing.T) {
	var got []string
	rendered := scenarios["defaults"].render(t)
	for _, o := range parsed(t, append(rendered.Objects, rendered.Hooks...)) {
		var who string
		var rules []rbacv1.PolicyRule
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			who, rules = o.Name, o.Rules
			if o.AggregationRule != nil || strings.Contains(strings.Join(keys(o.Labels), " "), "aggregate-to") {
				t.Errorf("%s is aggregated", o.Name)
			}
		case *rbacv1.Role:
			who, rules = o.Namespace+"/"+o.Name, o.Rules
		}
		for _, r := range rules {
			for _, resource := range r.Resources {
				line := who + ": " + resource + ": " + strings.Join(r.Verbs, ",")
				if len(r.ResourceNames) > 0 {
					line += " only " + strings.Join(r.ResourceNames, ",")
				}
				got = append(got, line)
			}
		}
	}
	slices.Sort(got)
	want := []string{
		"orlop-admin: imagecaches: get,list,watch,create,update,patch,delete,deletecollection",
		"orlop-admin: imageinventories: get,list,watch",
		"orlop-admin: imagestores: get,list,watch",
		"orlop-admin: nodecronjobs: get,list,watch,create,update,patch,delete,deletecollection",
		"orlop-admin: nodejobs/prune: create",
		"orlop-admin: nodejobs/pull: create",
		"orlop-admin: nodejobs/remove: create",
		"orlop-admin: nodejobs/run: create",
		"orlop-admin: nodejobs: get,list,watch,create,update,patch,delete,deletecollection",
		"orlop-admin: nodes: get,list",
		"orlop-agent: imageinventories/status: patch,update",
		"orlop-agent: imageinventories: get,list,watch",
		"orlop-agent: imagestores/status: patch,update",
		"orlop-agent: imagestores: get,list,watch",
		"orlop-controller: events: create,patch",
		"orlop-controller: imagecaches/status: patch,update",
		"orlop-controller: imagecaches: get,list,watch",
		"orlop-controller: imageinventories: get,list,watch,create,patch,update,delete",
		"orlop-controller: imagestores: get,list,watch,create,patch,update,delete",
		"orlop-controller: nodecronjobs/status: patch,update",
		"orlop-controller: nodecronjobs: get,list,watch",
		"orlop-controller: nodejobs/prune: create",
		"orlop-controller: nodejobs/pull: create",
		"orlop-controller: nodejobs/remove: create",
		"orlop-controller: nodejobs/run: create",
		"orlop-controller: nodejobs/status: patch,update",
		"orlop-controller: nodejobs: get,list,watch,create,delete",
		"orlop-controller: nodes: get,list,watch",
		"orlop-controller: pods: get,list,watch,create,patch,delete",
		"orlop-controller: secrets: get",
		"orlop-controller: serviceaccounts: get",
		"orlop-edit: imagecaches: create,update,patch,delete,deletecollection",
		"orlop-edit: imagecaches: get,list,watch",
		"orlop-edit: imageinventories: get,list,watch",
		"orlop-edit: imagestores: get,list,watch",
		"orlop-edit: nodecronjobs: get,list,watch",
		"orlop-edit: nodejobs: get,list,watch",
		"orlop-edit: nodes: get,list",
		"orlop-operate: imagecaches: get,list,watch",
		"orlop-operate: imageinventories: get,list,watch",
		"orlop-operate: imagestores: get,list,watch",
		"orlop-operate: nodecronjobs: create,update,patch,delete,deletecollection",
		"orlop-operate: nodecronjobs: get,list,watch",
		"orlop-operate: nodejobs/prune: create",
		"orlop-operate: nodejobs/pull: create",
		"orlop-operate: nodejobs/remove: create",
		"orlop-operate: nodejobs: create,update,patch,delete,deletecollection",
		"orlop-operate: nodejobs: get,list,watch",
		"orlop-operate: nodes: get,list",
		"orlop-retire: imageinventories: get,list,watch,patch,delete,deletecollection",
		"orlop-retire: imagestores: get,list,watch,patch,delete,deletecollection",
		"orlop-retire: pods: list,patch",
		"orlop-system/orlop-controller: leases: get,create,update,patch",
		"orlop-system/orlop-retire: deployments/scale: patch only orlop-controller",
		"orlop-system/orlop-view: daemonsets: get,list,watch",
		"orlop-system/orlop-view: deployments: get,list,watch",
		"orlop-system/orlop-view: leases: get,list",
		"orlop-system/orlop-view: pods: get,list,watch",
		"orlop-view: imagecaches: get,list,watch",
		"orlop-view: imageinventories: get,list,watch",
		"orlop-view: imagestores: get,list,watch",
		"orlop-view: nodecronjobs: get,list,watch",
		"orlop-view: nodejobs: get,list,watch",
		"orlop-view: nodes: get,list",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func keys(m map[string]string) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// The policy stands for whatever namespace the chart is in, and refuses rather than lets pass when it cannot be evaluated.
func TestPolicyFails(t *testing.T) {
	for _, o := range parsed(t, scenarios["defaults"].render(t).Objects) {
		policy, ok := o.(*admissionv1.ValidatingAdmissionPolicy)
		if !ok {
			continue
		}
		if *policy.Spec.FailurePolicy != admissionv1.Fail || policy.Spec.Variables[0].Expression != "'system:serviceaccount:orlop-system:orlop-agent'" {
			t.Errorf("failure policy %v, agent %s", *policy.Spec.FailurePolicy, policy.Spec.Variables[0].Expression)
		}
		return
	}
	t.Error("there is no policy")
}

// The kinds are well below what one request and etcd take, and what kubectl apply keeps in an annotation.
func TestKindsAreSmall(t *testing.T) {
	const limit = 200 << 10
	files, err := filepath.Glob(folder + "/files/crds/orlop.dev_*.yaml")
	if err != nil || len(files) != 5 {
		t.Fatalf("kinds: %v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > limit {
			t.Errorf("%s has %d bytes", file, len(data))
		}
	}
}

func TestInstallYAML(t *testing.T) {
	c, err := chart.Load(folder, "v7")
	if err != nil {
		t.Fatal(err)
	}
	out, err := chart.InstallYAML(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for _, part := range bytes.Split(out, []byte("\n---\n"))[1:] {
		var o object
		if err := yaml.UnmarshalStrict(part, &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	parsed(t, objects)
	if got := name(objects[0]); got != "Namespace/orlop-system" {
		t.Errorf("the first object is %s", got)
	}
	for _, o := range objects {
		annotations, _ := at(o, "metadata.annotations").(object)
		if annotations["meta.helm.sh/release-name"] != "orlop" || annotations["meta.helm.sh/release-namespace"] != "orlop-system" {
			t.Errorf("Helm would not take over %s: %v", name(o), annotations)
		}
		if annotations["helm.sh/hook"] != nil {
			t.Errorf("%s is a hook", name(o))
		}
	}
	if got := text(t, one(t, objects, "DaemonSet/orlop-agent"), containerPath+".image"); got != "ghcr.io/orlop-dev/orlop-node:v7" {
		t.Errorf("the agent's image is %s", got)
	}
}
