// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"slices"
	"sync"
	"testing"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/socket"
)

func TestCallsAreObserved(t *testing.T) {
	s := newServer(t, nameContainerd)
	first := s.connected(t) // It serves.
	var mu sync.Mutex
	var told []string
	r, err := Connect(t.Context(), first.endpoint, socket.Observed(func(method, code string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if took <= 0 {
			t.Errorf("%s took %s", method, took)
		}
		told = append(told, method+" "+code)
	})...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := r.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pull(t.Context(), engine.PullRequest{Ref: ref(t, "none.test/a:1")}); err == nil {
		t.Fatal("what is not there was pulled")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) < 3 || told[0] != "runtime.v1.RuntimeService/Version OK" || !slices.Contains(told, "runtime.v1.ImageService/PullImage Unknown") {
		t.Errorf("told of %q", told)
	}
	listed := slices.ContainsFunc(told, func(call string) bool {
		return call == "runtime.v1.ImageService/ListImages OK" || call == "runtime.v1.ImageService/StreamImages OK"
	})
	if !listed {
		t.Errorf("the list is not in %q", told)
	}
}
