// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/session"
)

// The labels and annotations of our pods.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelVersion   = "app.kubernetes.io/version"
	LabelRun       = "orlop.dev/run"
	LabelNode      = "orlop.dev/node"
	AnnotationVerb = "orlop.dev/verb"
	AnnotationUser = "orlop.dev/user"
	annotationMark = "orlop.dev/mark"

	manager       = "kubectl-orlop"
	containerName = "orlop"
	volumeName    = "runtime"
	// socketInPod is where the runtime's socket is found in every pod, wherever the node has it.
	socketInPod = "/run/orlop/runtime.sock"
)

// deadlineMargin is what a pod may live longer than its work may take: for the image of a first use to be fetched,
// and for the answer.
const deadlineMargin = 2 * time.Minute

const (
	// briefGrace is what a pod gets to end that has nothing to finish: it was told to end when its input was closed.
	briefGrace = time.Second
	// removalGrace is what a pod gets that removes: to put back what has come into use, and to see its batches to
	// their end, each of which may take some minutes. Killed before, it would leave names without content looked after.
	removalGrace = 10 * time.Minute
)

// order is what one pod is for.
type order struct {
	node    Node
	socket  string
	attempt int
	verb    string
	image   string
	command []string // nil: the image's own
	args    []string
	life    time.Duration
	grace   time.Duration // 0: briefGrace
}

// pod is bound to its node directly, so that neither a cordon nor a taint keeps it away, and holds one socket and
// nothing else of the host.
func (f *Fleet) pod(o order) *corev1.Pod {
	socketType := corev1.HostPathSocket
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:        f.podName(o),
			Namespace:   f.cfg.Namespace,
			Labels:      f.labels(o),
			Annotations: map[string]string{AnnotationVerb: "kubectl orlop " + o.verb, AnnotationUser: f.user},
		},
		Spec: corev1.PodSpec{
			NodeName:                      o.node.Name,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         new(int64((o.life + deadlineMargin).Seconds())),
			TerminationGracePeriodSeconds: new(int64(cmp.Or(o.grace, briefGrace).Seconds())),
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsUser:      new(int64(0)), // The socket belongs to root.
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Volumes: []corev1.Volume{{Name: volumeName, VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: o.socket, Type: &socketType},
			}}},
			Containers: []corev1.Container{f.container(o)},
		},
	}
	if o.node.selinux {
		pod.Spec.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"}
	}
	if len(o.node.Pressure) > 0 {
		pod.Spec.PriorityClassName = "system-node-critical" // Else its kubelet refuses it.
	}
	for _, secret := range f.cfg.PullSecrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
	}
	return pod
}

func (f *Fleet) container(o order) corev1.Container {
	return corev1.Container{
		Name:                     containerName,
		Image:                    o.image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Command:                  o.command,
		Args:                     o.args,
		Stdin:                    true,
		StdinOnce:                true,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		},
		SecurityContext: &corev1.SecurityContext{
			Privileged:               new(false),
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: volumeName, MountPath: socketInPod}},
	}
}

func (f *Fleet) labels(o order) map[string]string {
	labels := map[string]string{
		LabelName: "orlop", LabelComponent: o.verb, LabelManagedBy: manager,
		LabelRun: f.run, LabelNode: shorten(o.node.Name),
	}
	if version := notInLabel.ReplaceAllString(f.cfg.Version, "-"); version != "" {
		labels[LabelVersion] = shorten(version)
	}
	return labels
}

// maxLabel is the longest value of a label, and the longest name of a pod that is its host's name too.
const maxLabel = 63

var notInLabel = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// shorten is a text that fits a label, with a hash of what was cut off.
func shorten(s string) string {
	if len(s) <= maxLabel {
		return s
	}
	return s[:maxLabel-7] + "-" + hash(s)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:3])
}

// podName tells verb and node to who looks at the pods of a cluster, and is unique through the run's id.
func (f *Fleet) podName(o order) string {
	run := f.run
	if o.attempt > 0 {
		run += string(rune('a' + o.attempt)) // Run ids are of one length, so that this is no other's name.
	}
	name := f.cfg.NamePrefix + "-" + o.verb + "-" + run + "-" + strings.ReplaceAll(o.node.Name, ".", "-")
	if len(name) > maxLabel || strings.Contains(o.node.Name, ".") {
		name = strings.TrimRight(name[:min(len(name), maxLabel-7)], "-") + "-" + hash(o.node.Name)
	}
	return name
}

// ours matches the pods of any command of ours in this namespace, as namespace/name.
func (f *Fleet) ours() *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`^%s/%s-[a-z]+-[a-z2-7]{%d}[b-z]?-`, regexp.QuoteMeta(f.cfg.Namespace), regexp.QuoteMeta(f.cfg.NamePrefix), runIDLength))
}

// withoutOurs takes the pods with which we look out of what we see: an hour later nothing else of them is there.
func (f *Fleet) withoutOurs(inventory *session.Inventory) {
	ours := f.ours()
	for i := range inventory.Images {
		image := &inventory.Images[i]
		image.Uses = slices.DeleteFunc(image.Uses, func(u engine.Use) bool { return ours.MatchString(u.Pod) })
	}
}

// socketURL is the argument with which the programs in the pod find the runtime.
func socketURL(socket string) string { return "unix://" + path.Clean(socket) }
