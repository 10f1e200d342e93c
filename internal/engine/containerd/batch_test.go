// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"orlop.dev/orlop/internal/engine"
)

func TestOnlyTheCodeSaysThatSomethingIsGone(t *testing.T) {
	misleading := status.Error(codes.Unknown, "rotating the log: file not found")
	tag := "a.test/x:1"
	for _, method := range []string{"Images/Get", "Images/Delete", "Content/Info"} {
		t.Run(method, func(t *testing.T) {
			s := newServer("2.4.2", at(tag, indexA))
			r := s.connected(t)
			s.fails[method] = misleading
			if err := r.Remove(t.Context(), engine.RemoveRequest{Image: listed(t, imageID, tag)}); err == nil {
				t.Error("the removal says OK")
			}
			if s.records[tag] == nil {
				t.Error("the name is gone")
			}
		})
	}
}
