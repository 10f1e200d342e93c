// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/test/e2e/stage"
)

// TestApprovedAlgorithmsAreEnough: where Go's FIPS 140-3 module allows nothing else, the command line does what it does elsewhere,
// which takes streams to pods.
func TestApprovedAlgorithmsAreEnough(t *testing.T) {
	leavesNothing(t)
	enforced := func(args ...string) stage.Answer {
		t.Helper()
		cmd := orlopCommand(t, args...)
		cmd.Env = append(cmd.Env, "GODEBUG=fips140=only")
		return stage.Run(t, cmd).Want(t, 0)
	}
	const image = "docker.io/fips/a:1"
	for _, node := range nodes {
		emptied(t, node, "docker.io/fips/")
	}
	push(t, image)
	got := enforced("pull", image)
	if diff := cmp.Diff(nodes, whereIs(t, image)); diff != "" {
		t.Errorf("after the pull: %s\n%s", diff, got)
	}
	got = enforced("shell", "node1", "--", "images", "-q")
	if want, err := theCluster(t).Crictl(t.Context(), "node1", "images", "-q"); err != nil || !sameLines(got.Out, want) {
		t.Errorf("crictl by shell:\n%s\ncrictl on the node:\n%s%v", got.Out, want, err)
	}
	got = enforced("rm", image, "--yes")
	if left := whereIs(t, image); len(left) > 0 {
		t.Errorf("it is left on %v\n%s", left, got)
	}
}
