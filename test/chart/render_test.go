// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart tests charts/orlop: what it renders, by both of Helm's generations, and what a real API server makes of it.
package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

const folder = "../../charts/orlop"

// object is a rendered object.
type object = chart.Object

// scenario is one way to use the chart.
type scenario struct {
	values      string
	apiVersions []string
	kubeVersion string
}

// scenarios turn every switch, alone or with others.
var scenarios = map[string]scenario{
	"defaults": {},
	"all images from one registry": {values: `
registry: mirror.example:5000/orlop/
image: {tag: v9, pullPolicy: Always, pullSecrets: [{name: regcred}]}`},
	"no kinds":          {values: `crds: {install: false}`},
	"kinds not kept":    {values: `crds: {keep: false}`},
	"namespace":         {values: `namespace: {create: true}`},
	"no retiring":       {values: `uninstall: {retire: false}`},
	"two controllers":   {values: `controller: {replicas: 2}`},
	"private authority": {values: "registryCA: |\n  -----BEGIN CERTIFICATE-----\n  MIIB\n  -----END CERTIFICATE-----\n"},
	"monitors": {values: `
podMonitor: {enabled: true, interval: 30s, labels: {release: prom}}
serviceMonitor: {enabled: true}`},
	"alerts and dashboard": {values: `
alerts: {enabled: true, labels: {release: prom}}
dashboard: {enabled: true}`},
	"quota":        {values: `resourceQuota: {enabled: true}`},
	"no templates": {values: `nodeJobs: {template: false}`},
	"GKE":          {kubeVersion: "v1.34.3-gke.1245000"},
	"OpenShift":    {apiVersions: []string{"security.openshift.io/v1"}},
	"SELinux type": {values: `seLinux: {type: container_runtime_t}`},
	"agent": {values: `
agent:
  maxParallelPulls: 8
  pullTimeout: 1h30m
  diskLimit: 90
  pinLimit: 40
  socketFolder: /var/snap/microk8s/common/run
  priorityClassName: high
  nodeSelector: {pool: web}
  tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
  resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {cpu: 1, memory: 1Gi}}
  maxUnavailable: 3
  podAnnotations: {a.example/b: "true"}`},
	"node pools": {values: `
runtimes:
- {name: k3s, nodeSelector: {pool: edge, arch: arm}, socket: /run/k3s/containerd/containerd.sock}
- name: snap
  nodeSelector: {pool: snap}
  socket: /var/snap/microk8s/common/run/containerd.sock
  tolerations: [{key: snap, operator: Exists}]
  resources: {limits: {memory: 64Mi}}`},
	"controller": {values: `
controller:
  replicas: 2
  priorityClassName: high
  nodeSelector: {pool: infra}
  tolerations: [{key: infra, operator: Equal, value: "yes", effect: NoExecute, tolerationSeconds: 60}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  resources: {limits: {memory: 2Gi}}
  extraEnv: [{name: HTTPS_PROXY, value: "http://proxy.example:3128"}]
  extraVolumes: [{name: more, configMap: {name: more}}]
  extraVolumeMounts: [{name: more, mountPath: /more}]
  hostAliases: [{ip: 10.0.0.9, hostnames: [registry.example]}]
  registryMirrors: {docker.io: mirror.example/hub}
  podAnnotations: {a.example/b: "true"}`},
}

func (s scenario) render(t *testing.T) chart.Rendered {
	t.Helper()
	out, err := s.try()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s scenario) try() (chart.Rendered, error) {
	c, err := chart.Load(folder, "")
	if err != nil {
		return chart.Rendered{}, err
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict([]byte(s.values), &values); err != nil {
		return chart.Rendered{}, err
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(common.VersionSet{}, append(capabilities.APIVersions, s.apiVersions...)...)
	if s.kubeVersion != "" {
		v, err := common.ParseKubeVersion(s.kubeVersion)
		if err != nil {
			return chart.Rendered{}, err
		}
		capabilities.KubeVersion = *v
	}
	return chart.Render(c, values, capabilities)
}

// name is kind/name.
func name(o object) string { return fmt.Sprintf("%v/%v", o["kind"], at(o, "metadata.name")) }

// one is the object of this kind/name.
func one(t *testing.T, objects []object, kindName string) object {
	t.Helper()
	for _, o := range objects {
		if name(o) == kindName {
			return o
		}
	}
	t.Fatalf("there is no %s", kindName)
	return nil
}

// at is what stands at a path of fields, and of indexes into lists; nil where there is nothing.
func at(from any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		switch v := from.(type) {
		case map[string]any:
			from = v[strings.ReplaceAll(part, "|", ".")]
		case []any:
			var i int
			if _, err := fmt.Sscanf(part, "%d", &i); err != nil || i >= len(v) {
				return nil
			}
			from = v[i]
		default:
			return nil
		}
	}
	return from
}

// text is what stands at a path, in one line.
func text(t *testing.T, from any, path string) string {
	t.Helper()
	found := at(from, path)
	if found == nil {
		return ""
	}
	if s, ok := found.(string); ok {
		return s
	}
	out, err := yaml.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	js, err := yaml.YAMLToJSON(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(js)
}

const (
	podPath       = "spec.template.spec"
	containerPath = podPath + ".containers.0"
)

// Each switch does what its comment says: the values at some paths, "" where nothing may be.
func TestSwitches(t *testing.T) {
	outside := podPath + ".affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
	for label, want := range map[string]map[string]string{
		"defaults": {
			"DaemonSet/orlop-agent " + containerPath + ".image":                                           "ghcr.io/orlop-dev/orlop-node:0.0.0-dev",
			"DaemonSet/orlop-agent " + podPath + ".priorityClassName":                                     "system-node-critical",
			"DaemonSet/orlop-agent " + podPath + ".tolerations":                                           `[{"operator":"Exists"}]`,
			"DaemonSet/orlop-agent " + podPath + ".nodeSelector":                                          `{"kubernetes.io/os":"linux"}`,
			"DaemonSet/orlop-agent " + podPath + ".affinity":                                              "",
			"DaemonSet/orlop-agent " + podPath + ".securityContext.seLinuxOptions":                        "",
			"DaemonSet/orlop-agent " + podPath + ".volumes":                                               `[{"hostPath":{"path":"/run","type":"Directory"},"name":"sockets"}]`,
			"DaemonSet/orlop-agent " + containerPath + ".args":                                            `["agent","--max-parallel-pulls=3","--pull-timeout=30m","--disk-limit=80","--pin-limit=60","--metrics-address=:9808"]`,
			"DaemonSet/orlop-agent " + containerPath + ".env":                                             `[{"name":"NODE_NAME","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}},{"name":"GOMEMLIMIT","value":"108MiB"}]`,
			"DaemonSet/orlop-agent spec.updateStrategy.rollingUpdate.maxUnavailable":                      "10%",
			"Deployment/orlop-controller spec.replicas":                                                   "1",
			"Deployment/orlop-controller " + podPath + ".affinity":                                        "",
			"Deployment/orlop-controller " + podPath + ".volumes":                                         "",
			"Deployment/orlop-controller " + podPath + ".securityContext.runAsUser":                       "65532",
			"CustomResourceDefinition/imagecaches.orlop.dev metadata.annotations.helm|sh/resource-policy": "keep",
		},
		"all images from one registry": {
			"DaemonSet/orlop-agent " + containerPath + ".image":                 "mirror.example:5000/orlop/orlop-node:v9",
			"DaemonSet/orlop-agent " + containerPath + ".imagePullPolicy":       "Always",
			"DaemonSet/orlop-agent " + podPath + ".imagePullSecrets":            `[{"name":"regcred"}]`,
			"Deployment/orlop-controller " + containerPath + ".image":           "mirror.example:5000/orlop/orlop-controller:v9",
			"Deployment/orlop-controller " + containerPath + ".imagePullPolicy": "Always",
			"Deployment/orlop-controller " + podPath + ".imagePullSecrets":      `[{"name":"regcred"}]`,
			"Job/orlop-retire " + containerPath + ".image":                      "mirror.example:5000/orlop/orlop-controller:v9",
			"Job/orlop-retire " + podPath + ".imagePullSecrets":                 `[{"name":"regcred"}]`,
		},
		"kinds not kept": {"CustomResourceDefinition/imagecaches.orlop.dev metadata.annotations.helm|sh/resource-policy": ""},
		"namespace": {
			"Namespace/orlop-system metadata.labels.pod-security|kubernetes|io/enforce": "privileged",
		},
		"two controllers": {
			"Deployment/orlop-controller spec.replicas": "2",
			"Deployment/orlop-controller " + podPath + ".affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.podAffinityTerm.topologyKey": "kubernetes.io/hostname",
		},
		"private authority": {
			"ConfigMap/orlop-registry-ca data.ca|crt":                        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
			"Deployment/orlop-controller " + containerPath + ".env.2":        `{"name":"SSL_CERT_DIR","value":"/etc/orlop/registry-ca"}`,
			"Deployment/orlop-controller " + containerPath + ".volumeMounts": `[{"mountPath":"/etc/orlop/registry-ca","name":"registry-ca","readOnly":true}]`,
			"Deployment/orlop-controller " + podPath + ".volumes":            `[{"configMap":{"name":"orlop-registry-ca"},"name":"registry-ca"}]`,
		},
		"monitors": {
			"PodMonitor/orlop metadata.labels.release":             "prom",
			"PodMonitor/orlop spec.podMetricsEndpoints.0.interval": "30s",
			"ServiceMonitor/orlop spec.endpoints.0.port":           "metrics",
			"Service/orlop-metrics spec.clusterIP":                 "None",
		},
		"no templates": {
			"Deployment/orlop-controller " + containerPath + ".args.3": "--allow-templates=false",
			"ClusterRole/orlop-admin rules.3.resources":                `["nodejobs/pull","nodejobs/remove","nodejobs/prune"]`,
			"ClusterRole/orlop-controller rules.4.resources":           `["nodejobs/pull","nodejobs/remove","nodejobs/prune"]`,
			"ClusterRole/orlop-controller rules.7":                     `{"apiGroups":[""],"resources":["pods"],"verbs":["get","list","watch"]}`,
		},
		"quota": {"ResourceQuota/orlop-critical-pods spec.scopeSelector.matchExpressions.0.values": `["system-node-critical","system-cluster-critical"]`},
		"GKE":   {"ResourceQuota/orlop-critical-pods spec.hard.pods": "20000"},
		"OpenShift": {
			"SecurityContextConstraints/orlop-agent allowPrivilegedContainer":          "false",
			"RoleBinding/orlop-agent-scc subjects.0.name":                              "orlop-agent",
			"DaemonSet/orlop-agent " + podPath + ".securityContext.seLinuxOptions":     `{"type":"spc_t"}`,
			"Deployment/orlop-controller " + podPath + ".securityContext.runAsUser":    "",
			"Deployment/orlop-controller " + podPath + ".securityContext.runAsNonRoot": "true",
		},
		"SELinux type": {"DaemonSet/orlop-agent " + podPath + ".securityContext.seLinuxOptions": `{"type":"container_runtime_t"}`},
		"agent": {
			"DaemonSet/orlop-agent " + containerPath + ".args":                       `["agent","--max-parallel-pulls=8","--pull-timeout=1h30m","--disk-limit=90","--pin-limit=40","--metrics-address=:9808"]`,
			"DaemonSet/orlop-agent " + podPath + ".volumes.0.hostPath.path":          "/var/snap/microk8s/common/run",
			"DaemonSet/orlop-agent " + containerPath + ".volumeMounts.0.mountPath":   "/var/snap/microk8s/common/run",
			"DaemonSet/orlop-agent " + podPath + ".priorityClassName":                "high",
			"DaemonSet/orlop-agent " + podPath + ".nodeSelector":                     `{"kubernetes.io/os":"linux","pool":"web"}`,
			"DaemonSet/orlop-agent " + podPath + ".tolerations.0.key":                "gpu",
			"DaemonSet/orlop-agent " + containerPath + ".env.1.value":                "870MiB",
			"DaemonSet/orlop-agent spec.updateStrategy.rollingUpdate.maxUnavailable": "3",
			"DaemonSet/orlop-agent spec.template.metadata.annotations.a|example/b":   "true",
		},
		"node pools": {
			// A node with only one of the first pool's two labels is none of its nodes.
			"DaemonSet/orlop-agent " + outside: `[{"matchExpressions":[{"key":"arch","operator":"NotIn","values":["arm"]},{"key":"pool","operator":"NotIn","values":["snap"]}]},` +
				`{"matchExpressions":[{"key":"pool","operator":"NotIn","values":["edge"]},{"key":"pool","operator":"NotIn","values":["snap"]}]}]`,
			"DaemonSet/orlop-agent-k3s " + podPath + ".affinity":                     "",
			"DaemonSet/orlop-agent-k3s " + podPath + ".nodeSelector":                 `{"arch":"arm","kubernetes.io/os":"linux","pool":"edge"}`,
			"DaemonSet/orlop-agent-k3s " + podPath + ".volumes":                      `[{"hostPath":{"path":"/run/k3s/containerd","type":"Directory"},"name":"sockets"}]`,
			"DaemonSet/orlop-agent-k3s " + containerPath + ".args.6":                 "--runtime-endpoint=unix:///run/k3s/containerd/containerd.sock",
			"DaemonSet/orlop-agent-k3s " + podPath + ".tolerations":                  `[{"operator":"Exists"}]`,
			"DaemonSet/orlop-agent-snap " + outside:                                  `[{"matchExpressions":[{"key":"arch","operator":"NotIn","values":["arm"]}]},{"matchExpressions":[{"key":"pool","operator":"NotIn","values":["edge"]}]}]`,
			"DaemonSet/orlop-agent-snap " + podPath + ".tolerations":                 `[{"key":"snap","operator":"Exists"}]`,
			"DaemonSet/orlop-agent-snap " + containerPath + ".resources":             `{"limits":{"memory":"64Mi"}}`,
			"DaemonSet/orlop-agent-snap spec.selector.matchLabels.orlop|dev/runtime": "snap",
		},
		"controller": {
			"Deployment/orlop-controller " + podPath + ".priorityClassName":               "high",
			"Deployment/orlop-controller " + podPath + ".nodeSelector.pool":               "infra",
			"Deployment/orlop-controller " + podPath + ".tolerations.0.tolerationSeconds": "60",
			"Deployment/orlop-controller " + podPath + ".affinity.podAntiAffinity":        "",
			"Deployment/orlop-controller " + podPath + ".hostAliases.0.ip":                "10.0.0.9",
			"Deployment/orlop-controller " + podPath + ".containers.0.args.3":             "--registry-mirror=docker.io=mirror.example/hub",
			"Deployment/orlop-controller " + containerPath + ".env.2.name":                "HTTPS_PROXY",
			"Deployment/orlop-controller " + containerPath + ".volumeMounts.0.name":       "more",
			"Deployment/orlop-controller " + podPath + ".volumes.0.name":                  "more",
			"Job/orlop-retire " + podPath + ".nodeSelector.pool":                          "infra",
		},
	} {
		t.Run(label, func(t *testing.T) {
			s, ok := scenarios[label]
			if !ok {
				t.Fatal("there is no such scenario")
			}
			rendered := s.render(t)
			all := slices.Concat(rendered.Objects, rendered.Hooks)
			for place, value := range want {
				kindName, path, _ := strings.Cut(place, " ")
				if got := text(t, one(t, all, kindName), path); got != value {
					t.Errorf("%s:\n got %s\nwant %s", place, got, value)
				}
			}
		})
	}
}

// What a switch turns on is not there without it.
func TestWhatIsLeftOut(t *testing.T) {
	optional := map[string]string{
		"Namespace/orlop-system": "namespace", "PodMonitor/orlop": "monitors", "ServiceMonitor/orlop": "monitors", "Service/orlop-metrics": "monitors",
		"PrometheusRule/orlop": "alerts and dashboard", "ConfigMap/orlop-dashboard": "alerts and dashboard",
		"ResourceQuota/orlop-critical-pods": "quota", "SecurityContextConstraints/orlop-agent": "OpenShift", "RoleBinding/orlop-agent-scc": "OpenShift",
		"ConfigMap/orlop-registry-ca": "private authority", "DaemonSet/orlop-agent-k3s": "node pools",
	}
	defaults := scenarios["defaults"].render(t)
	for _, o := range defaults.Objects {
		if of, ok := optional[name(o)]; ok {
			t.Errorf("%s is there without %q", name(o), of)
		}
	}
	for kindName, label := range optional {
		one(t, scenarios[label].render(t).Objects, kindName)
	}
	for _, o := range scenarios["no kinds"].render(t).Objects {
		if o["kind"] == "CustomResourceDefinition" {
			t.Errorf("%s is there with crds.install=false", name(o))
		}
	}
	if hooks := scenarios["no retiring"].render(t).Hooks; len(hooks) > 0 {
		t.Errorf("hooks with uninstall.retire=false: %v", hooks)
	}
	if len(defaults.Hooks) != 6 || !strings.Contains(defaults.Notes, "kubectl") {
		t.Errorf("%d hooks, and notes %q", len(defaults.Hooks), defaults.Notes)
	}
}
