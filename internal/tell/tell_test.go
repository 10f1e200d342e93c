// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package tell

import (
	"testing"

	"orlop.dev/orlop/internal/session"
)

func TestStep(t *testing.T) {
	const image = "docker.io/library/nginx:1"
	for name, tt := range map[string]struct {
		step session.Step
		want string
	}{
		"pulled":  {session.Step{Asked: image, State: session.StatePulled, Bytes: 2e6, TookSeconds: 1.234, Digest: "sha256:0123456789abcdef"}, "✔ " + image + " pulled 2MB in 1.2s 0123456789abc"},
		"present": {session.Step{Asked: image, State: session.StatePresent, Digest: "sha256:0123456789abcdef"}, "✔ " + image + " present 0123456789abc"},
		"removed with all names": {session.Step{Asked: image, State: session.StateRemoved, Names: []string{image, "a/b:1"}, Bytes: 1e6},
			"✔ " + image + ", a/b:1 removed 1MB"},
		"failed, the name once": {session.Step{Asked: image, State: session.StateFailed, Reason: "NotFound", Message: "pulling " + image + ": not found"},
			"✗ " + image + " NotFound: not found"},
		"kept": {session.Step{Asked: image, State: session.StateKept, Message: "in use by a/b"}, "- " + image + " kept: in use by a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Step(tt.step); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}
