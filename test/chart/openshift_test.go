// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// constraints are OpenShift's own type, of the only version of its module that can be had, and the fields that we use and that it has
// got since (3.10).
type constraints struct {
	securityv1.SecurityContextConstraints `json:",inline"`

	AllowPrivilegeEscalation        *bool `json:"allowPrivilegeEscalation"`
	DefaultAllowPrivilegeEscalation *bool `json:"defaultAllowPrivilegeEscalation"`
}

// strictly reads an object as its type, which must know each field.
func strictly[T any](t *testing.T, o any) (into T) {
	t.Helper()
	text, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &into); err != nil {
		t.Fatal(err)
	}
	return into
}

// onOpenShift are both ways to say it: the cluster's own word, and ours.
var onOpenShift = map[string]scenario{
	"found": {apiVersions: []string{"security.openshift.io/v1"}},
	"said":  {values: `openshift: true`},
}

// The constraints give the agents what they need beyond restricted-v2, and nothing else.
func TestOpenShiftConstraints(t *testing.T) {
	for label, s := range onOpenShift {
		t.Run(label, func(t *testing.T) {
			got := strictly[constraints](t, one(t, s.render(t).Objects, "SecurityContextConstraints/orlop-agent"))
			got.ObjectMeta = metav1.ObjectMeta{}
			want := constraints{AllowPrivilegeEscalation: new(false), DefaultAllowPrivilegeEscalation: new(false)}
			want.TypeMeta = metav1.TypeMeta{APIVersion: "security.openshift.io/v1", Kind: "SecurityContextConstraints"}
			want.AllowHostDirVolumePlugin = true // The folder of the runtime's socket.
			want.Volumes = []securityv1.FSType{"configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret"}
			want.ReadOnlyRootFilesystem = true
			want.RequiredDropCapabilities = []corev1.Capability{"ALL"}
			want.SeccompProfiles = []string{"runtime/default"}
			// The socket is root's, whatever range the namespace has been given.
			want.RunAsUser = securityv1.RunAsUserStrategyOptions{Type: "RunAsAny"}
			// MustRunAs would want the namespace's level beside the type, which no chart can know.
			want.SELinuxContext = securityv1.SELinuxContextStrategyOptions{Type: "RunAsAny"}
			// Of groups the pods ask for nothing: neither gives them anything.
			want.FSGroup = securityv1.FSGroupStrategyOptions{Type: "RunAsAny"}
			want.SupplementalGroups = securityv1.SupplementalGroupsStrategyOptions{Type: "RunAsAny"}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Nobody may use them but the agents' service account: they name no users and no groups, and one role has the verb.
func TestOpenShiftConstraintsAreTheAgentsAlone(t *testing.T) {
	rendered := onOpenShift["said"].render(t)
	scc := strictly[constraints](t, one(t, rendered.Objects, "SecurityContextConstraints/orlop-agent"))
	if len(scc.Users)+len(scc.Groups) > 0 || scc.Priority != nil {
		t.Errorf("users %v, groups %v, priority %v", scc.Users, scc.Groups, scc.Priority)
	}
	var may []string
	for _, o := range slices.Concat(rendered.Objects, rendered.Hooks) {
		if o["kind"] != "Role" && o["kind"] != "ClusterRole" {
			continue
		}
		for _, rule := range strictly[rbacv1.Role](t, o).Rules {
			if !slices.Contains(rule.APIGroups, "security.openshift.io") && !slices.Contains(rule.APIGroups, "*") {
				continue
			}
			may = append(may, name(o))
			if !slices.Equal(rule.ResourceNames, []string{"orlop-agent"}) || !slices.Equal(rule.Verbs, []string{"use"}) {
				t.Errorf("%s: %+v", name(o), rule)
			}
		}
	}
	if !slices.Equal(may, []string{"Role/orlop-agent-scc"}) {
		t.Errorf("%v speak of constraints", may)
	}
	binding := strictly[rbacv1.RoleBinding](t, one(t, rendered.Objects, "RoleBinding/orlop-agent-scc"))
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "orlop-agent", Namespace: namespace}}
	if diff := gocmp.Diff(want, binding.Subjects); diff != "" || binding.RoleRef.Name != "orlop-agent-scc" || binding.Namespace != namespace {
		t.Errorf("%s %+v", diff, binding)
	}
}

// restricted are OpenShift's constraints for everybody, restricted-v2, as far as they are compared here: uids of a range that
// each namespace has of its own, and no folder of the host.
var restricted = func() constraints {
	c := constraints{AllowPrivilegeEscalation: new(false)}
	c.Volumes = []securityv1.FSType{"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
	c.RequiredDropCapabilities = []corev1.Capability{"ALL"}
	c.SeccompProfiles = []string{"runtime/default"}
	c.RunAsUser = securityv1.RunAsUserStrategyOptions{Type: "MustRunAsRange", UIDRangeMin: new(int64(1000650000)), UIDRangeMax: new(int64(1000659999))}
	c.SELinuxContext = securityv1.SELinuxContextStrategyOptions{Type: "MustRunAs"}
	return c
}()

// The agents' pods fit their own constraints and not everybody's; all other pods fit everybody's. The rules are OpenShift's as its
// documentation has them: its admission cannot be had here.
func TestOpenShiftAdmits(t *testing.T) {
	rendered := onOpenShift["said"].render(t)
	own := strictly[constraints](t, one(t, rendered.Objects, "SecurityContextConstraints/orlop-agent"))
	for kindName, agent := range map[string]bool{"DaemonSet/orlop-agent": true, "Deployment/orlop-controller": false, "Job/orlop-retire": false} {
		pod := strictly[corev1.PodSpec](t, at(one(t, slices.Concat(rendered.Objects, rendered.Hooks), kindName), podPath))
		if refused := against(own, pod); agent && len(refused) > 0 {
			t.Errorf("%s is refused by its own constraints: %v", kindName, refused)
		}
		if refused := against(restricted, pod); agent != (len(refused) > 0) {
			t.Errorf("%s is refused by everybody's constraints: %v", kindName, refused)
		}
	}
	// Without the switch the controller's uid is in no namespace's range.
	plain := strictly[corev1.PodSpec](t, at(one(t, scenarios["defaults"].render(t).Objects, "Deployment/orlop-controller"), podPath))
	if len(against(restricted, plain)) == 0 {
		t.Error("the comparison sees no uid")
	}
}

// against is what of a pod its constraints do not allow.
func against(c constraints, pod corev1.PodSpec) (refused []string) {
	no := func(is bool, what string, args ...any) {
		if is {
			refused = append(refused, fmt.Sprintf(what, args...))
		}
	}
	no(pod.HostNetwork && !c.AllowHostNetwork || pod.HostPID && !c.AllowHostPID || pod.HostIPC && !c.AllowHostIPC, "a namespace of the host")
	for _, v := range pod.Volumes {
		no(v.HostPath != nil && (!c.AllowHostDirVolumePlugin || !slices.Contains(c.Volumes, "hostPath")), "volume %s", v.Name)
		no(v.ConfigMap != nil && !slices.Contains(c.Volumes, "configMap"), "volume %s", v.Name)
	}
	if uid := pod.SecurityContext.RunAsUser; uid != nil && c.RunAsUser.Type == "MustRunAsRange" {
		no(*uid < *c.RunAsUser.UIDRangeMin || *uid > *c.RunAsUser.UIDRangeMax, "uid %d", *uid)
	}
	no(pod.SecurityContext.SELinuxOptions != nil && c.SELinuxContext.Type == "MustRunAs", "an SELinux type of its own")
	no(pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" || !slices.Contains(c.SeccompProfiles, "runtime/default"), "seccomp")
	for _, container := range pod.Containers {
		s := container.SecurityContext
		no(*s.Privileged && !c.AllowPrivilegedContainer, "privileged")
		no(*s.AllowPrivilegeEscalation && !*c.AllowPrivilegeEscalation, "escalation")
		no(!*s.ReadOnlyRootFilesystem && c.ReadOnlyRootFilesystem, "a root that can be written to")
		no(len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, c.RequiredDropCapabilities), "capabilities")
		for _, port := range container.Ports {
			no(port.HostPort != 0 && !c.AllowHostPorts, "port %d of the host", port.HostPort)
		}
	}
	return refused
}

// Where the cluster is no OpenShift, or it is said that it is none, nothing of it is there.
func TestOpenShiftSwitch(t *testing.T) {
	for label, s := range map[string]scenario{
		"no":             {values: `openshift: false`, apiVersions: []string{"security.openshift.io/v1"}},
		"not found":      {},
		"another's word": {apiVersions: []string{"route.openshift.io/v1"}},
	} {
		for _, o := range s.render(t).Objects {
			if o["kind"] == "SecurityContextConstraints" || name(o) == "Role/orlop-agent-scc" {
				t.Errorf("%s: %s is there", label, name(o))
			}
		}
	}
	if _, err := (scenario{values: `openshift: yep`}).try(); err == nil {
		t.Error("a word that is none was taken")
	}
	typed := scenario{values: "openshift: true\nseLinux: {type: container_runtime_t}"}.render(t)
	if got := text(t, one(t, typed.Objects, "DaemonSet/orlop-agent"), podPath+".securityContext.seLinuxOptions"); got != `{"type":"container_runtime_t"}` {
		t.Errorf("the type is %s", got)
	}
	labels := scenario{values: "openshift: true\nnamespace: {create: true}"}.render(t)
	// OpenShift's own label syncer leaves alone what is set.
	if got := text(t, one(t, labels.Objects, "Namespace/"+namespace), "metadata.labels.pod-security|kubernetes|io/enforce"); got != "privileged" {
		t.Errorf("the namespace enforces %q", got)
	}
}
