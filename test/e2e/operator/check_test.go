// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// tripImage is what check --e2e pulls unless it is told otherwise.
const tripImage = "registry.k8s.io/e2e-test-images/busybox:1.29-4"

// TestCheckEndToEnd: a real round trip by a NodeJob and by pods, on one node or on all, of which nothing is left.
func TestCheckEndToEnd(t *testing.T) {
	here.Push(t, tripImage)
	for name, c := range map[string]struct {
		flags []string
		steps int
	}{
		"by a NodeJob": {nil, 3},
		"by pods":      {[]string{"--ephemeral"}, 3},
		"on all nodes": {[]string{"--node", strings.Join(nodes, ",")}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var found struct {
				Items []struct {
					Check, Status, Message string
					TookSeconds            float64
				}
			}
			here.Orlop(t, append([]string{"check", "--e2e", "-o", "json"}, c.flags...)...).Want(t, 0).Decode(t, &found)
			steps, metrics := 0, 0
			for _, f := range found.Items {
				switch {
				case f.Check == "e2e" && f.Status == "ok" && f.TookSeconds > 0:
					steps++
				case f.Check == "metrics" && f.Status == "ok":
					metrics++
				}
			}
			if steps != c.steps || metrics != 2 {
				t.Errorf("%d steps, %d metrics: %+v", steps, metrics, found.Items)
			}
			nothingOfTheTrip(t)
		})
	}
}

// What was on a node before the check is there after it.
func TestCheckSparesWhatWasThere(t *testing.T) {
	name := at("check/there:1")
	here.Push(t, name)
	for _, node := range nodes {
		here.Emptied(t, node, at("check/"))
		if _, err := here.Lab(t).Crictl(t.Context(), node, "pull", name); err != nil {
			t.Fatal(err)
		}
	}
	stage.Eventually(t, "the agents have seen it", func() (bool, string) {
		var found struct {
			Items []struct{ Nodes []struct{ Name string } }
		}
		got := here.Orlop(t, "list", name, "-o", "json")
		got.Decode(t, &found)
		return len(found.Items) == 1 && len(found.Items[0].Nodes) == len(nodes), got.Out
	})
	got := here.Orlop(t, "check", "--e2e", "--image-to-pull", name).Want(t, 0)
	if !strings.Contains(got.Out, "no round trip: "+name+" is on node1, node2, node3 already") {
		t.Error(got)
	}
	onNodes(t, name, nodes...)
}

// A pull that is interrupted is taken back, and its NodeJobs go.
func TestCheckInterrupted(t *testing.T) {
	name := at("check/stalls:1")
	here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 2 << 20}}})
	if err := here.Lab(t).AddFault(t.Context(), lab.Fault{Images: "*check/stalls*", Only: "blobs", Stall: true, StallAfter: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := here.Lab(t).ClearFaults(detached(t)); err != nil {
			t.Error(err)
		}
	})
	cmd := here.OrlopCommand(t, "check", "--e2e", "--image-to-pull", name)
	var out bytes.Buffer
	errs := &interrupting{at: "by NodeJob", interrupt: func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
	}}
	cmd.Stdout, cmd.Stderr = &out, errs
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("%v\n%s%s", err, out.String(), errs.text.String())
	}
	if !strings.Contains(errs.text.String(), "is no longer on node") {
		t.Errorf("%s%s", out.String(), errs.text.String())
	}
	nothingOfTheTrip(t)
	if err := here.Lab(t).ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	onNodes(t, name)
}

// interrupting is a stream that interrupts once, when it reads certain words.
type interrupting struct {
	text      bytes.Buffer
	at        string
	interrupt func()
	once      sync.Once
}

func (i *interrupting) Write(p []byte) (int, error) {
	n, err := i.text.Write(p)
	if strings.Contains(i.text.String(), i.at) {
		i.once.Do(i.interrupt)
	}
	return n, err
}

// nothingOfTheTrip makes sure that neither the image nor a NodeJob nor a pod of the check is left.
func nothingOfTheTrip(t *testing.T) {
	t.Helper()
	onNodes(t, tripImage)
	if left := kubectl(t, "get", "nodejobs", "-A", "-o", "name"); strings.Contains(left, "check-") {
		t.Errorf("left: %s", left)
	}
	if left := kubectl(t, "get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/managed-by=kubectl-orlop", "-o", "name"); left != "" {
		t.Errorf("left: %s", left)
	}
}
