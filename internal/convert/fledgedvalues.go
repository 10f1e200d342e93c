// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"slices"
	"strings"
)

// fledgedArgs are the flags that the values below args become, by the names of all releases of the chart.
var fledgedArgs = map[string]string{
	"controllerImagePullDeadlineDuration": "--image-pull-deadline-duration", "imagePullDeadlineDuration": "--image-pull-deadline-duration",
	"controllerImageCacheRefreshFrequency": "--image-cache-refresh-frequency", "imageCacheRefreshFrequency": "--image-cache-refresh-frequency",
	"controllerImagePullPolicy": "--image-pull-policy", "imagePullPolicy": "--image-pull-policy",
	"controllerLogLevel": "--stderrthreshold", "logLevel": "--stderrthreshold",
	"controllerServiceAccountName":        "--service-account-name",
	"controllerImageDeleteJobHostNetwork": "--image-delete-job-host-network",
	"controllerJobPriorityClassName":      "--job-priority-class-name",
	"controllerJobRetentionPolicy":        "--job-retention-policy",
	"controllerCRISocketPath":             "--cri-socket-path",
	"controllerJobsMaxSurge":              "--jobs-max-surge",
}

// fledgedOwn are the values, and those below args, that say something of kube-fledged's own pods and what they need.
var (
	fledgedOwn = []string{"replicaCount", "controllerReplicaCount", "webhookServerReplicaCount", "kubefledgedNameSpace", "controller", "webhookServer",
		"image", "command", "validatingWebhookCABundle", "imagePullSecrets", "nameOverride", "fullnameOverride", "serviceAccount", "clusterRole",
		"clusterRoleBinding", "validatingWebhook", "secret", "podSecurityContext", "securityContext", "service", "webhookService", "ingress",
		"resources", "nodeSelector", "tolerations", "affinity"}
	fledgedOwnArgs = []string{"webhookServerLogLevel", "webhookServerCertFile", "webhookServerKeyFile", "webhookServerPort"}
)

// isFledgedValues tells the values of its chart by names that no other chart has.
func isFledgedValues(doc *Document) bool {
	if doc.Kind() != "" {
		return false
	}
	image := doc.look("image").Keys()
	return slices.ContainsFunc(image, func(key string) bool { return strings.HasPrefix(key, "kubefledged") }) ||
		slices.ContainsFunc(doc.look("args").Keys(), func(key string) bool {
			return fledgedArgs[key] != "" && key != "imagePullPolicy" && key != "logLevel"
		})
}

// fledgedValues are the flags that values become. What is of kube-fledged's own pods is told, and what is unknown stays unread.
func fledgedValues(values *Fields, row *Row) (flags []fledgedFlag) {
	own := doneWith(values, fledgedOwn)
	args := values.Object("args")
	for _, key := range args.Keys() {
		if name := fledgedArgs[key]; name != "" {
			flag := fledgedFlag{name: name, value: args.Text(key), said: join(args.path, key), key: key, at: args}
			if args.Has(key) && flag.value != "" { // Left to its default, as all are in what Helm tells of a release.
				flags = append(flags, flag)
			}
		}
	}
	if own = append(own, doneWith(args, fledgedOwnArgs)...); len(own) > 0 {
		row.Note("of kube-fledged itself, which goes: %s", strings.Join(own, ", "))
	}
	return flags
}

// doneWith marks those of some fields that are there, and gives their paths.
func doneWith(f *Fields, names []string) (paths []string) {
	for _, key := range f.Keys() {
		if slices.Contains(names, key) {
			f.Done(key)
			paths = append(paths, join(f.path, key))
		}
	}
	return paths
}
