// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"fmt"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// killers end one part of the whole, hard; what they end comes back by itself.
var killers = []struct {
	name, what string
	kill       func(t *testing.T)
}{
	{"controller", "the controller", func(t *testing.T) { here.KillPods(t, here.ControllerPods(t)...) }},
	{"agent", "an agent", func(t *testing.T) { here.KillPods(t, here.AgentPod(t, "node1")) }},
	{"api", "the API server", func(t *testing.T) {
		if err := here.Lab(t).RestartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}},
}

// TestKilledInTheMiddleOfPods: each part is killed while pods run, and each node runs it once.
func TestKilledInTheMiddleOfPods(t *testing.T) {
	for _, killer := range killers {
		t.Run(killer.what, func(t *testing.T) {
			image := at("killed/" + killer.name + ":1")
			here.Push(t, image)
			name, file := "killed-"+killer.name, "killed-"+killer.name
			start(t, name, fields{"parallelism": 2, "template": notes(image, file, "3")})
			until(t, name, "runs", func(j v1alpha1.NodeJob) bool { return j.Status.Active == 2 })
			killer.kill(t)
			if job := complete(t, name); job.Status.Succeeded != 3 {
				t.Errorf("status %+v", job.Status)
			}
			once(t, file, nodes...)
		})
	}
}

// TestKilledInTheMiddleOfPulls: each part is killed while images come slowly, and in the end each node has them and says so.
func TestKilledInTheMiddleOfPulls(t *testing.T) {
	t.Cleanup(func() { emptied(t, at("slow/")) })
	for _, killer := range killers {
		t.Run(killer.what, func(t *testing.T) {
			repository := at("slow/" + killer.name)
			image := repository + ":1"
			here.PushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 3 << 20}}})
			if err := here.Lab(t).AddFault(t.Context(), lab.Fault{Images: repository, Only: "blobs", BytesPerSecond: 512 << 10}); err != nil {
				t.Fatal(err)
			}
			fast := func() {
				if err := here.Lab(t).ClearFaults(detached(t)); err != nil {
					t.Error(err)
				}
			}
			t.Cleanup(fast)
			name := "slow-" + killer.name
			start(t, name, fields{"pull": fields{"images": []string{image}}})
			until(t, name, "is under way", func(j v1alpha1.NodeJob) bool { return j.Status.Active == 3 })
			killer.kill(t)
			fast()
			job := complete(t, name)
			for _, node := range nodes {
				if !here.HasTag(t, node, image) {
					t.Errorf("%s is not on %s", image, node)
				}
				if a := answer(t, node, job); a.Pulled+a.Present != 1 {
					t.Errorf("%s answered %+v", node, a)
				}
			}
		})
	}
}

// TestKilledInTheMiddleOfRemovals: what was asked for is gone, nothing else is.
func TestKilledInTheMiddleOfRemovals(t *testing.T) {
	t.Cleanup(func() { emptied(t, at("swept/")) })
	for _, killer := range killers {
		t.Run(killer.what, func(t *testing.T) {
			var going []string
			stays := at("swept/stays:1")
			here.Push(t, stays)
			for i := range 12 {
				going = append(going, at(fmt.Sprintf("swept/%s-%d:1", killer.name, i)))
			}
			here.Push(t, going...)
			for _, node := range nodes {
				pulled(t, node, append(going, stays)...)
			}
			name := "swept-" + killer.name
			start(t, name, fields{"remove": fields{"images": []string{at("swept/" + killer.name + "-*")}, "force": true}})
			killer.kill(t)
			complete(t, name)
			for _, node := range nodes {
				for _, image := range going {
					if here.HasTag(t, node, image) {
						t.Errorf("%s is still on %s", image, node)
					}
				}
				if !here.HasTag(t, node, stays) {
					t.Errorf("%s went from %s", stays, node)
				}
			}
		})
	}
}

// TestAJobThatGoesLeavesNothing: it is deleted while its pods run.
func TestAJobThatGoesLeavesNothing(t *testing.T) {
	image := at("leaves/a:1")
	here.Push(t, image)
	start(t, "leaves", fields{"template": task(image, "sleep", "600")})
	until(t, "leaves", "runs", func(j v1alpha1.NodeJob) bool { return j.Status.Active == 3 })
	here.Kubectl(t, "delete", "nodejob", "leaves", "-n", "default")
	stage.Eventually(t, "its pods are gone", func() (bool, string) {
		out := here.Kubectl(t, "get", "pods", "-n", "default", "-l", v1alpha1.LabelNodeJob+"=leaves", "-o", "name")
		return out == "", out
	})
}
