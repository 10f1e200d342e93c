// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// actions are what a NodeJob may do: its spec, and the right that it takes.
var actions = map[string]struct{ spec, right, words, role string }{
	"pull":     {`pull: {images: [nginx]}`, "pull", "pull images", "orlop-operate"},
	"remove":   {`remove: {images: ["docker.io/minchou/*"]}`, "remove", "remove images", "orlop-operate"},
	"prune":    {`prune: {}`, "prune", "prune images", "orlop-operate"},
	"template": {`template: {spec: {restartPolicy: Never, containers: [{name: a, image: nginx}]}}`, "run", "run a pod", "orlop-admin"},
}

var jobKinds = map[string]string{"nodejobs": "NodeJob", "nodecronjobs": "NodeCronJob"}

// jobOf is a NodeJob, or a NodeCronJob with one.
func jobOf(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	if kind == "NodeCronJob" {
		spec = "schedule: 0 3 * * 0\njobTemplate:\n  spec:\n" + indent(spec, "    ")
	}
	return written(t, kind, name, spec)
}

// written is an object of ours with a spec as it was written.
func written(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	var content map[string]any
	if err := yaml.UnmarshalStrict([]byte(spec), &content); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "orlop.dev/v1alpha1", "kind": kind, "metadata": map[string]any{"name": name, "namespace": "default"}, "spec": content,
	}}
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by)
}

var (
	trial     = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
	trialEdit = metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
)

// withRights makes sure that the kinds are served and that the chart's roles and policies for NodeJobs are in force.
func withRights(t *testing.T) {
	t.Helper()
	withKinds(t)
	var all bytes.Buffer
	for _, o := range scenarios["defaults"].render(t).Objects {
		isOurs := strings.HasPrefix(text(t, o, "metadata.name"), "orlop-nodejob-") || o["kind"] == "ClusterRole"
		if !isOurs {
			continue
		}
		out, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s", out)
	}
	all.WriteString(people())
	if out, err := apply(t, all.String(), "--server-side", "--force-conflicts"); err != nil {
		t.Fatal(out)
	}
	// Roles and policies take effect within a moment, each in its own. That of the policies is seen by a refusal of each.
	nobody := as(t, "without-run").Resource(resource("nodejobs")).Namespace("default")
	await(t, "the rights are asked for", func() bool {
		_, err := nobody.Create(t.Context(), jobOf(t, "NodeJob", "tried", actions["template"].spec), trial)
		return err != nil && strings.Contains(err.Error(), "nodejobs/run")
	})
	for _, right := range []string{"pull", "remove", "prune"} {
		await(t, "the role is known", func() bool {
			_, err := nobody.Create(t.Context(), jobOf(t, "NodeJob", "tried", actions[right].spec), trial)
			return err == nil
		})
	}
}

// people are users: one for each role of the chart, named as it, and one for each right, who has all but that.
func people() string {
	var all strings.Builder
	bind := func(user, role string) {
		fmt.Fprintf(&all, `
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: test-%[1]s, labels: {app.kubernetes.io/part-of: orlop}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[2]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]`, user, role)
	}
	for _, role := range []string{"orlop-view", "orlop-edit", "orlop-operate", "orlop-admin"} {
		bind(role, role)
	}
	rights := []string{"pull", "remove", "prune", "run"}
	for _, without := range append(rights, "all") {
		var has []string
		for _, right := range rights {
			if right != without && without != "all" {
				has = append(has, "nodejobs/"+right)
			}
		}
		rule := ""
		if len(has) > 0 {
			rule = "\n- {apiGroups: [orlop.dev], resources: [" + strings.Join(has, ", ") + "], verbs: [create]}"
		}
		fmt.Fprintf(&all, `
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: test-without-%[1]s, labels: {app.kubernetes.io/part-of: orlop}}
rules:
- {apiGroups: [orlop.dev], resources: [nodejobs, nodecronjobs], verbs: [get, list, create, update, patch, delete]}%[2]s`, without, rule)
		bind("without-"+without, "test-without-"+without)
	}
	return all.String()
}

// Who may make NodeJobs, and lacks the right to one of the actions, can have none that does it: not by hand, and not on a schedule.
func TestEachActionIsARight(t *testing.T) {
	withRights(t)
	for resourceName, kind := range jobKinds {
		for field, action := range actions {
			for _, user := range []string{"without-pull", "without-remove", "without-prune", "without-run", "without-all", "orlop-operate", "orlop-admin"} {
				t.Run(kind+" "+field+" "+user, func(t *testing.T) {
					_, err := as(t, user).Resource(resource(resourceName)).Namespace("default").Create(t.Context(), jobOf(t, kind, "tried", action.spec), trial)
					lacks := user == "without-"+action.right || user == "without-all" || user == "orlop-operate" && action.right == "run"
					if !lacks {
						if err != nil {
							t.Error(err)
						}
						return
					}
					want := fmt.Sprintf("%s may not let a NodeJob %s on nodes in namespace default: that takes the right to create nodejobs/%s (ClusterRole %s)", user, action.words, action.right, action.role)
					if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v\nwant %s", err, want)
					}
				})
			}
		}
	}
	for _, user := range []string{"orlop-view", "orlop-edit", "nobody"} {
		for resourceName, kind := range jobKinds {
			_, err := as(t, user).Resource(resource(resourceName)).Namespace("default").Create(t.Context(), jobOf(t, kind, "tried", actions["pull"].spec), trial)
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot create resource") {
				t.Errorf("%s, %s: %v", user, kind, err)
			}
		}
	}
	for _, policy := range []string{"orlop-nodejob-rights", "orlop-nodejob-edits"} {
		if status := kubectl(t, "get", "validatingadmissionpolicy", policy, "-o", "jsonpath={.status.typeChecking}"); strings.Contains(status, "warning") {
			t.Errorf("the expressions of %s: %s", policy, status)
		}
	}
}

// A right in one namespace is none in another.
func TestARightIsThatOfItsNamespace(t *testing.T) {
	withRights(t)
	out, err := apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operate, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: orlop-operate}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: without-all}]
`, "--server-side")
	if err != nil {
		t.Fatal(out)
	}
	t.Cleanup(func() { remove(t, "namespace", "team", "--wait=false") })
	jobs := as(t, "without-all").Resource(resource("nodejobs"))
	await(t, "the binding is known", func() bool {
		job := jobOf(t, "NodeJob", "tried", actions["prune"].spec)
		job.SetNamespace("team")
		_, err := jobs.Namespace("team").Create(t.Context(), job, trial)
		return err == nil
	})
	if _, err := jobs.Namespace("default").Create(t.Context(), jobOf(t, "NodeJob", "tried", actions["prune"].spec), trial); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v", err)
	}
}

// What does not change what is done takes no right to do it; what does, takes it again.
func TestWhoMayEdit(t *testing.T) {
	withRights(t)
	admin := as(t, "").Resource(resource("nodejobs")).Namespace("default")
	if _, err := admin.Create(t.Context(), jobOf(t, "NodeJob", "edited", actions["prune"].spec), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, "nodejob", "edited") })
	for label, c := range map[string]struct {
		patch string
		taken bool
	}{
		"nothing":              {`{}`, true},
		"the same spec":        {`{"spec":{"prune":{}}}`, true},
		"labels":               {`{"metadata":{"labels":{"a":"b"}}}`, true},
		"finalizers":           {`{"metadata":{"finalizers":["example.com/held"]}}`, true},
		"other annotations":    {`{"metadata":{"annotations":{"a":"b"}}}`, true},
		"owners":               {`{"metadata":{"ownerReferences":[]}}`, true},
		"how many at once":     {`{"spec":{"parallelism":1}}`, false},
		"suspending it":        {`{"spec":{"suspend":true}}`, false},
		"having it done again": {`{"metadata":{"annotations":{"orlop.dev/retry":"now"}}}`, false},
	} {
		t.Run(label, func(t *testing.T) {
			for _, user := range []string{"without-all", "without-prune"} {
				jobs := as(t, user).Resource(resource("nodejobs")).Namespace("default")
				_, err := jobs.Patch(t.Context(), "edited", types.MergePatchType, []byte(c.patch), trialEdit)
				if c.taken != (err == nil) || err != nil && !strings.Contains(err.Error(), "nodejobs/prune") {
					t.Errorf("%s: %v", user, err)
				}
			}
			if _, err := as(t, "orlop-operate").Resource(resource("nodejobs")).Namespace("default").Patch(t.Context(), "edited", types.MergePatchType, []byte(c.patch), trialEdit); err != nil {
				t.Errorf("who may prune: %v", err)
			}
		})
	}
}

// The garbage collector may do none of the actions, and is not asked for them.
func TestTheGarbageCollectorIsNotHeldUp(t *testing.T) {
	withRights(t)
	jobs, crons := as(t, "").Resource(resource("nodejobs")).Namespace("default"), as(t, "").Resource(resource("nodecronjobs")).Namespace("default")
	for propagation, stays := range map[metav1.DeletionPropagation]bool{
		metav1.DeletePropagationBackground: false, metav1.DeletePropagationForeground: false, metav1.DeletePropagationOrphan: true,
	} {
		t.Run(string(propagation), func(t *testing.T) {
			cron, err := crons.Create(t.Context(), jobOf(t, "NodeCronJob", "owner", actions["prune"].spec), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			child := jobOf(t, "NodeJob", "owned", actions["prune"].spec)
			child.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "orlop.dev/v1alpha1", Kind: "NodeCronJob", Name: "owner", UID: cron.GetUID(), Controller: new(true), BlockOwnerDeletion: new(true)}})
			if _, err := jobs.Create(t.Context(), child, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { remove(t, "nodejob", "owned") })
			if err := crons.Delete(t.Context(), "owner", metav1.DeleteOptions{PropagationPolicy: &propagation}); err != nil {
				t.Fatal(err)
			}
			await(t, "the owner has gone", func() bool {
				_, err := crons.Get(t.Context(), "owner", metav1.GetOptions{})
				return apierrors.IsNotFound(err)
			})
			await(t, "what it owned has gone with it, or is on its own", func() bool {
				got, err := jobs.Get(t.Context(), "owned", metav1.GetOptions{})
				return !stays && apierrors.IsNotFound(err) || stays && err == nil && len(got.GetOwnerReferences()) == 0
			})
		})
	}
}

// Each role may do what it is for, and no more.
func TestRoles(t *testing.T) {
	withRights(t)
	config, err := clientcmd.BuildConfigFromFlags("", theCluster(t).Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	const view, edit, operate, admin = "orlop-view", "orlop-edit", "orlop-operate", "orlop-admin"
	all := []string{view, edit, operate, admin}
	for what, may := range map[string][]string{
		"get orlop.dev imagecaches":               all,
		"watch orlop.dev nodejobs":                all,
		"list orlop.dev nodecronjobs":             all,
		"get orlop.dev imagestores":               all,
		"get orlop.dev imageinventories":          all,
		"list  nodes":                             all,
		"create orlop.dev imagecaches":            {edit, admin},
		"deletecollection orlop.dev imagecaches":  {edit, admin},
		"create orlop.dev nodejobs":               {operate, admin},
		"patch orlop.dev nodejobs":                {operate, admin},
		"delete orlop.dev nodejobs":               {operate, admin},
		"create orlop.dev nodecronjobs":           {operate, admin},
		"update orlop.dev nodecronjobs":           {operate, admin},
		"create orlop.dev nodejobs pull":          {operate, admin},
		"create orlop.dev nodejobs remove":        {operate, admin},
		"create orlop.dev nodejobs prune":         {operate, admin},
		"create orlop.dev nodejobs run":           {admin},
		"update orlop.dev nodejobs status":        nil,
		"patch orlop.dev nodecronjobs status":     nil,
		"patch orlop.dev imagestores":             nil,
		"patch orlop.dev imagestores status":      nil,
		"delete orlop.dev imagestores":            nil,
		"patch orlop.dev imageinventories status": nil,
		"get  secrets":                            nil,
		"create  pods":                            nil,
		"create  pods exec":                       nil,
		"patch  nodes":                            nil,
	} {
		words := strings.Split(what, " ")
		attributes := authorizationv1.ResourceAttributes{Namespace: "default", Verb: words[0], Group: words[1], Resource: words[2], Version: "*"}
		if len(words) > 3 {
			attributes.Subresource = words[3]
		}
		for _, role := range all {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: role, ResourceAttributes: &attributes}}
			got, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Status.Allowed != slices.Contains(may, role) {
				t.Errorf("%s may %s: %v", role, what, got.Status.Allowed)
			}
		}
	}
}
