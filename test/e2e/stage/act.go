// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/test/lab"
)

// Answer is what a command gave back.
type Answer struct {
	Out, Err string
	Code     int
}

func (a Answer) String() string { return fmt.Sprintf("exit code %d\n%s%s", a.Code, a.Out, a.Err) }

// Decode reads standard output as JSON.
func (a Answer) Decode(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Out), into); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, a)
	}
}

// Want fails the test unless the command ended with the code.
func (a Answer) Want(t testing.TB, code int) Answer {
	t.Helper()
	if a.Code != code {
		t.Fatalf("exit code %d, want %d\n%s", a.Code, code, a)
	}
	return a
}

// Run runs a command to its end, whatever its exit code.
func Run(t testing.TB, cmd *exec.Cmd) Answer {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("running %v: %v", cmd.Args, err)
	}
	return Answer{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// OrlopCommand is kubectl-orlop as the administrator, ready to be started.
func (s *Stage) OrlopCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	c := s.Lab(t)
	cmd := exec.CommandContext(t.Context(), s.Bin("kubectl-orlop"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "ORLOP_IMAGE="+NodeImage, "ORLOP_TOOLS_IMAGE="+ToolsImage, "DOCKER_CONFIG="+t.TempDir())
	return cmd
}

// Orlop runs kubectl-orlop as the administrator.
func (s *Stage) Orlop(t testing.TB, args ...string) Answer {
	t.Helper()
	return Run(t, s.OrlopCommand(t, args...))
}

// Kubectl runs kubectl as the administrator, and fails the test if that fails.
func (s *Stage) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.Lab(t).Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// KubectlReads is kubectl with something on its standard input, whatever its exit code. It goes on after the test's end.
func (s *Stage) KubectlReads(t testing.TB, stdin string, args ...string) Answer {
	t.Helper()
	c := s.Lab(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), c.Program("kubectl"), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return Run(t, cmd)
}

// Apply creates objects, and takes them away when the test ends.
func (s *Stage) Apply(t testing.TB, manifest string) {
	t.Helper()
	s.KubectlReads(t, manifest, "apply", "-f", "-").Want(t, 0)
	t.Cleanup(func() {
		if gone := s.KubectlReads(t, manifest, "delete", "--ignore-not-found", "--grace-period=0", "--force", "-f", "-"); gone.Code != 0 {
			t.Errorf("deleting what the test made: %s", gone)
		}
	})
}

// Push makes images of one small layer and of the lab's program, which they share.
func (s *Stage) Push(t testing.TB, images ...string) {
	t.Helper()
	for _, image := range images {
		s.PushSpec(t, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	}
}

// PushSpec makes an image of any shape, and gives its digest.
func (s *Stage) PushSpec(t testing.TB, image string, spec lab.ImageSpec) string {
	t.Helper()
	digest, err := s.Lab(t).PushImage(t.Context(), image, spec)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// Eventually waits until the condition holds, and fails with its last words.
func Eventually(t testing.TB, what string, condition func() (bool, string)) {
	t.Helper()
	Within(t, Patience, what, condition)
}

// Within is Eventually with a patience of its own. It serves at a test's end too.
func Within(t testing.TB, patience time.Duration, what string, condition func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, words := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, patience, words)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
