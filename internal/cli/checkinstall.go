// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/operator"
)

// checkInstall looks at an installed Orlop.
func (o *checkOptions) checkInstall(ctx context.Context, op *operator.Client, nodes []fleet.Node) {
	o.checkKinds(op)
	install, err := op.Install(ctx, o.nodes.agentNamespace())
	if err != nil {
		o.fail("install", err.Error(), o.rightFor(err))
		return
	}
	if len(install.Hidden) > 0 {
		for _, words := range install.Hidden {
			o.warn("install", words, "")
		}
		return
	}
	if install.Nothing() {
		o.warn("install", "neither a controller nor an agent was found: nothing acts on ImageCaches", "install Orlop, or remove its kinds: "+o.commandLine("uninstall", "--crds", "--dry-run"))
		return
	}
	o.checkController(install)
	stores, err := op.Stores(ctx, nil)
	if err != nil {
		o.fail("agents", err.Error(), o.rightFor(err))
		return
	}
	o.checkAgents(nodes, install, stores)
	o.checkVersions(install, stores)
	o.checkStores(ctx, op, stores)
	o.checkPolicy(ctx, op)
	if all, err := op.Caches(ctx, ""); err == nil {
		if stalled := countCaches(all).StalledOnes; len(stalled) > 0 {
			namespace, name, _ := strings.Cut(stalled[0], "/")
			o.warn("caches", "stalled: "+some(stalled), o.commandLine("status", "imagecache/"+name, "-n", namespace))
		}
	}
}

func (o *checkOptions) rightFor(err error) string {
	_, _, try := o.explain(err)
	return try
}

// checkKinds looks whether every kind is served, which is what a definition's being established is for.
func (o *checkOptions) checkKinds(op *operator.Client) {
	served, err := op.Core().Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if err != nil {
		o.fail("kinds", "asking for the kinds of "+v1alpha1.GroupVersion.String()+": "+err.Error(), "")
		return
	}
	var missing []string
	for _, kind := range []string{"ImageCache", "ImageStore", "ImageInventory"} {
		if !slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind }) {
			missing = append(missing, kind)
		}
	}
	if len(missing) > 0 {
		o.fail("kinds", "not served: "+strings.Join(missing, ", "), "apply the definitions of this version: kubectl get crd | grep orlop.dev")
		return
	}
	o.ok("kinds", "the kinds of %s are served", v1alpha1.GroupVersion)
}

func (o *checkOptions) checkController(install operator.Install) {
	look := "kubectl -n " + install.Namespace + " describe deployment -l " + operator.LabelComponent + "=controller"
	switch {
	case install.Controller == "":
		o.fail("controller", "no controller was found: nothing acts on ImageCaches", "install Orlop, or name its namespace with --agent-namespace")
	case install.Replicas == 0:
		o.fail("controller", "the controller is scaled to 0", "kubectl -n "+install.Namespace+" scale deployment -l "+operator.LabelComponent+"=controller --replicas=1")
	case install.Ready == 0:
		o.fail("controller", "the controller is not ready: "+install.Why, look)
	case install.Ready < install.Replicas:
		o.warn("controller", fmt.Sprintf("%d of %d controllers ready: %s", install.Ready, install.Replicas, install.Why), look)
	default:
		o.ok("controller", "controller %d/%d ready in %s", install.Ready, install.Replicas, install.Namespace)
	}
}

// checkAgents looks for the nodes that nobody looks after.
func (o *checkOptions) checkAgents(nodes []fleet.Node, install operator.Install, stores map[string]*v1alpha1.ImageStore) {
	without, failing := map[string][]string{}, map[string][]string{}
	ready := 0
	for _, node := range nodes {
		agent, there := install.Agents[node.Name]
		store := stores[node.Name]
		switch {
		case node.Trouble != nil: // That is told of the node.
		case !there:
			without["no agent runs there"] = append(without["no agent runs there"], node.Name)
		case !agent.Ready:
			without[agent.Why] = append(without[agent.Why], node.Name)
		case store == nil || store.Status.AgentVersion == "":
			why := "its agent is ready, but has written nothing"
			failing[why] = append(failing[why], node.Name)
		default:
			ready++
			if why := unwell(store); why != "" {
				failing[why] = append(failing[why], node.Name)
			}
		}
	}
	for _, why := range slices.Sorted(maps.Keys(without)) {
		o.fail("agents", some(without[why])+": "+why, "kubectl -n "+install.Namespace+" get pods -o wide -l "+operator.LabelComponent+"=agent")
	}
	for _, why := range slices.Sorted(maps.Keys(failing)) {
		o.warn("agents", some(failing[why])+": "+why, "kubectl -n "+install.Namespace+" logs -l "+operator.LabelComponent+"=agent --prefix --tail=20")
	}
	if len(without)+len(failing) == 0 {
		o.ok("agents", "%s ready and well", count(ready, "agent"))
	}
}

// unwell is what an agent itself says is wrong.
func unwell(store *v1alpha1.ImageStore) string {
	asked, _, _ := strings.Cut(store.Spec.Runtime, "://")
	answers, _, _ := strings.Cut(store.Status.Runtime, "://")
	if asked != "" && answers != "" && asked != answers {
		return fmt.Sprintf("the agent talks to %s, but the Node reports %s", store.Status.Runtime, store.Spec.Runtime)
	}
	if ready := meta.FindStatusCondition(store.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		return ready.Reason + ": " + ready.Message
	}
	return ""
}

// checkVersions compares this program, the controller and the agents.
func (o *checkOptions) checkVersions(install operator.Install, stores map[string]*v1alpha1.ImageStore) {
	all := versionsOf(o.version, install, stores)
	if all.String() == "" { // With nothing to compare, nothing is well.
		return
	}
	if message, fix := all.skew(); message != "" {
		o.warn("versions", message, fix)
		return
	}
	o.ok("versions", "%s", all)
}

// checkStores looks for what an uninstall has begun, and for what is left of nodes that are gone.
func (o *checkOptions) checkStores(ctx context.Context, op *operator.Client, stores map[string]*v1alpha1.ImageStore) {
	var retired, orphans []string
	there := map[string]bool{}
	list, err := op.Core().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err == nil {
		for i := range list.Items {
			there[list.Items[i].Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		if stores[name].Spec.Retire {
			retired = append(retired, name)
		}
		if err == nil && !there[name] {
			orphans = append(orphans, name)
		}
	}
	if len(retired) > 0 {
		o.warn("retired", some(retired)+": told to let go of everything, by an uninstall that did not finish", o.commandLine("uninstall"))
	}
	if len(orphans) > 0 {
		o.warn("leftovers", "ImageStores of nodes that are gone: "+some(orphans), "kubectl delete imagestores,imageinventories "+strings.Join(orphans[:min(len(orphans), maxNamed)], " "))
	}
}

// checkPolicy looks for the admission policy, without which one node's agent could write for another.
func (o *checkOptions) checkPolicy(ctx context.Context, op *operator.Client) {
	ours := metav1.ListOptions{LabelSelector: operator.LabelPartOf + "=" + operator.Product}
	policies, err := op.Core().AdmissionregistrationV1().ValidatingAdmissionPolicies().List(ctx, ours)
	if err == nil {
		bindings, bindErr := op.Core().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().List(ctx, ours)
		if err = bindErr; err == nil {
			if len(policies.Items) == 0 || len(bindings.Items) == 0 {
				o.fail("policy", "the admission policy or its binding is missing: an agent's token may write for other nodes", "apply the install's manifests again")
				return
			}
			o.ok("policy", "the admission policy is there and bound")
			return
		}
	}
	if apierrors.IsForbidden(err) {
		o.warn("policy", "you may not see whether the admission policy is there", "kubectl auth can-i list validatingadmissionpolicies.admissionregistration.k8s.io")
		return
	}
	o.fail("policy", "looking for the admission policy: "+err.Error(), "")
}

// checkInstallable asks for the rights that installing needs.
func (o *checkOptions) checkInstallable(ctx context.Context, f *fleet.Fleet) error {
	const installing, without = "installing Orlop", "an admin must install it; everything else works without"
	var rights []fleet.Right
	for _, kind := range []fleet.Right{
		{Resource: "namespaces"}, {Resource: "customresourcedefinitions", Group: "apiextensions.k8s.io"},
		{Resource: "daemonsets", Group: "apps", Namespace: operator.DefaultNamespace}, {Resource: "deployments", Group: "apps", Namespace: operator.DefaultNamespace},
		{Resource: "clusterroles", Group: "rbac.authorization.k8s.io"}, {Resource: "clusterrolebindings", Group: "rbac.authorization.k8s.io"},
		{Resource: "validatingadmissionpolicies", Group: "admissionregistration.k8s.io"},
	} {
		kind.Verb, kind.For, kind.Without = "create", installing, without
		rights = append(rights, kind)
	}
	missing, err := f.Missing(ctx, rights)
	if err != nil {
		return err
	}
	for _, right := range missing {
		o.warn("install", fmt.Sprintf("you may not %s (%s): %s", right, right.For, right.Without), getRight+right.CanI())
	}
	if len(missing) == 0 {
		o.ok("install", "you have the permissions to install Orlop; it is not installed")
	}
	return nil
}
