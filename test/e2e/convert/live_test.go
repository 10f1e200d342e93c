// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"strings"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
)

type cache = v1alpha1.ImageCache

// fledgedKind is a small CustomResourceDefinition of kube-fledged's group and shape.
const fledgedKind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: imagecaches.kubefledged.io}
spec:
  group: kubefledged.io
  scope: Namespaced
  names: {kind: ImageCache, plural: imagecaches, singular: imagecache, listKind: ImageCacheList}
  versions:
  - name: v1alpha2
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

// live are objects as a cluster holds them: caches, the controller with its flags, and a ConfigMap that an operator has made.
const live = `
apiVersion: kubefledged.io/v1alpha2
kind: ImageCache
metadata: {name: live, namespace: default}
spec:
  cacheSpec:
  - images: [registry.example/live:1]
    nodeSelector: {tier: none}
---
apiVersion: kubefledged.io/v1alpha2
kind: ImageCache
metadata: {name: elsewhere, namespace: kube-public}
spec:
  cacheSpec:
  - images: [registry.example/elsewhere:1]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: kubefledged-controller, namespace: default}
spec:
  replicas: 0
  selector: {matchLabels: {app: kubefledged}}
  template:
    metadata: {labels: {app: kubefledged}}
    spec:
      containers:
      - {name: controller, image: "senthilrch/kubefledged-controller:v0.11.0", args: ["--image-cache-refresh-frequency=45m"]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: live-puller, namespace: default}
data: {IMAGES: "a=registry.example/puller:1", CACHING_INTERVAL_HOURS: "3"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nothing-of-the-kind, namespace: default}
data: {a: b}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reads-fledged}
rules:
- {apiGroups: [kubefledged.io], resources: [imagecaches], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reads-fledged}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reads-fledged}
subjects: [{kind: User, name: reader, apiGroup: rbac.authorization.k8s.io}]
`

// TestFromCluster: what the cluster holds, with the flags of the controller that runs in it, and no more than one may read.
func TestFromCluster(t *testing.T) {
	if got := here.Orlop(t, "convert", "--from-cluster"); got.Code != 0 || got.Out != "" || !strings.Contains(got.Err, "nothing to convert in namespace default") {
		t.Errorf("before there is anything: %s", got)
	}
	here.Apply(t, fledgedKind)
	here.Kubectl(t, "wait", "crd/imagecaches.kubefledged.io", "--for=condition=Established", "--timeout=60s")
	here.Apply(t, live)

	own := here.Orlop(t, "convert", "--from-cluster").Want(t, 0)
	says(t, own.Out, "From kubefledged.io ImageCache default/live", "name: live\n", "refreshInterval: 45m", "name: live-puller", "refreshInterval: 3h")
	if strings.Contains(own.Out, "elsewhere") || strings.Contains(own.Out, "resourceVersion") || strings.Contains(own.Out, "uid") {
		t.Errorf("%s", own)
	}
	here.KubectlReads(t, own.Out, "apply", "--server-side", "--dry-run=server", "-f", "-").Want(t, 0)

	all := here.Orlop(t, "convert", "--from-cluster", "-A", "-o", "json").Want(t, 0)
	says(t, all.Out, `"name": "elsewhere"`, `"name": "live-puller"`)
	here.KubectlReads(t, all.Out, "apply", "--server-side", "--dry-run=server", "-f", "-").Want(t, 0)

	part := here.Orlop(t, "convert", "--from-cluster", "--as", "reader").Want(t, 3)
	says(t, part.Out, "name: live\n", "REVIEW 15m is kube-fledged's default")
	says(t, part.Err, "you have no permission to list configmaps in namespace default", "kubectl auth can-i list configmaps -n default")
	none := here.Orlop(t, "convert", "--from-cluster", "--as", "nobody").Want(t, 1)
	if says(t, none.Err, "you have no permission to list"); none.Out != "" {
		t.Errorf("%s", none)
	}
}

func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("does not say %q:\n%s", word, text)
		}
	}
}
