// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/operator"
)

// versions are those of all parts of Orlop.
type versions struct {
	program, controller string
	// agents are the nodes by the version of their agent.
	agents    map[string][]string
	namespace string
}

func versionsOf(program string, install operator.Install, stores map[string]*v1alpha1.ImageStore) versions {
	v := versions{program: program, controller: install.Version, agents: map[string][]string{}, namespace: install.Namespace}
	for _, node := range slices.Sorted(maps.Keys(stores)) {
		if of := stores[node].Status.AgentVersion; of != "" {
			v.agents[of] = append(v.agents[of], node)
		}
	}
	return v
}

// String is all of them in a line; empty where nothing is installed.
func (v versions) String() string {
	var parts []string
	if v.controller != "" {
		parts = append(parts, "controller "+v.controller)
	}
	for _, agent := range slices.Sorted(maps.Keys(v.agents)) {
		parts = append(parts, fmt.Sprintf("agents %s ×%d", agent, len(v.agents[agent])))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(append([]string{"this program " + v.program}, parts...), ", ")
}

// skew says which parts do not fit together, and what to do; empty where all do.
func (v versions) skew() (message, fix string) {
	if v.controller == "" { // It is not seen, or not there, which others tell.
		return "", ""
	}
	for agent := range v.agents {
		if !alike(agent, v.controller) {
			return "controller and agents differ: " + v.String(), "wait for an upgrade to end: kubectl -n " + v.namespace + " rollout status daemonset -l " + operator.LabelComponent + "=agent"
		}
	}
	if !alike(v.program, v.controller) {
		return "this program has another version: " + v.String(), "get the same version of this program"
	}
	return "", ""
}

// alike compares versions as they are written in tags and by linkers.
func alike(a, b string) bool {
	return strings.TrimPrefix(imageTag(a), "v") == strings.TrimPrefix(imageTag(b), "v")
}
