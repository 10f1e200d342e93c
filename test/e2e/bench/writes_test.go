// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/test/lab"
)

const controllerUser, agentUser = ofOrlop + "controller", ofOrlop + "agent"

// account reads lines as the API server writes them.
func account(t *testing.T, lines ...string) []lab.Write {
	t.Helper()
	var all []lab.Write
	for _, line := range lines {
		fields := strings.Fields(line) // user verb group/resource[/subresource] code
		what := append(strings.Split(fields[2], "/"), "")
		text, err := json.Marshal(map[string]any{
			"user": map[string]any{"username": fields[0]}, "verb": fields[1], "responseStatus": map[string]any{"code": json.Number(fields[3])},
			"objectRef": map[string]any{"apiGroup": what[0], "resource": what[1], "subresource": what[2]},
		})
		if err != nil {
			t.Fatal(err)
		}
		var w lab.Write
		if err := json.Unmarshal(text, &w); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	return all
}

func TestTally(t *testing.T) {
	for name, tt := range map[string]struct {
		lines []string
		want  tally
		says  string
	}{
		"a cache": {
			[]string{
				"kubernetes-admin create orlop.dev/imagecaches 201",
				controllerUser + " patch orlop.dev/imagestores 200", controllerUser + " patch orlop.dev/imagestores 200",
				agentUser + " patch orlop.dev/imagestores/status 200", agentUser + " patch orlop.dev/imageinventories/status 200",
				controllerUser + " update coordination.k8s.io/leases 200", controllerUser + " create events.k8s.io/events 201",
			},
			tally{writes: 6, inventories: 1, leases: 1},
			"1 agent patch imagestores/status, 1 controller create events, 2 controller patch imagestores, 1 controller update leases, 1 kubernetes-admin create imagecaches, 1 inventories",
		},
		"others' affairs": {
			[]string{
				"system:node:node1 update coordination.k8s.io/leases 200", "system:kube-scheduler create /pods/binding 201",
				"system:node:node1 create /pods 201", "system:serviceaccount:kube-system:daemon-set-controller create /pods 201",
			},
			tally{}, "0 inventories",
		},
		"a pod": {[]string{"someone create /pods 201"}, tally{pods: 1}, "0 inventories"},
		"refused": {
			[]string{agentUser + " patch orlop.dev/imagestores/status 403", "system:serviceaccount:kube-system:generic-garbage-collector delete orlop.dev/imagestores 200"},
			tally{writes: 2}, "1 agent patch imagestores/status refused with 403, 1 generic-garbage-collector delete imagestores, 0 inventories",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := tallyOf(account(t, tt.lines...))
			if got.String() != tt.says {
				t.Errorf("it says %q, want %q", got, tt.says)
			}
			if rest := got.withoutLease(); rest.writes != tt.want.writes-tt.want.leases || strings.Contains(rest.String(), "leases") {
				t.Errorf("without the lease it is %s", rest)
			}
			got.kinds = nil
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(tally{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
