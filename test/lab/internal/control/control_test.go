// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package control_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"orlop.dev/orlop/test/lab/internal/control"
)

func serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	control.Handle(mux, "Double", func(_ context.Context, n int) (int, error) {
		if n < 0 {
			return 0, errors.New("only numbers from 0")
		}
		return 2 * n, nil
	})
	control.Handle(mux, "Wait", func(ctx context.Context, _ struct{}) (struct{}, error) {
		<-ctx.Done()
		return struct{}{}, ctx.Err()
	})
	server := &http.Server{Handler: mux}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return socket
}

func TestCall(t *testing.T) {
	socket := serve(t)
	if got, err := control.Call[int](t.Context(), socket, "Double", 21); got != 42 || err != nil {
		t.Errorf("Double 21: %d, %v", got, err)
	}
	if _, err := control.Call[int](t.Context(), socket, "Double", -1); err == nil || err.Error() != "only numbers from 0" {
		t.Errorf("an error of the other side: %v", err)
	}
	if _, err := control.Call[int](t.Context(), socket, "Double", "word"); err == nil || !strings.Contains(err.Error(), "word") && !strings.Contains(err.Error(), "string") {
		t.Errorf("a question of the wrong type: %v", err)
	}
	if _, err := control.Call[int](t.Context(), socket, "Unheard", 1); err == nil {
		t.Error("a method that is not there: no error")
	}
	if _, err := control.Call[int](t.Context(), socket+"gone", "Double", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := control.Call[struct{}](ctx, socket, "Wait", struct{}{}); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestPeer(t *testing.T) {
	if pid, err := control.Peer(serve(t)); pid != os.Getpid() || err != nil {
		t.Errorf("the listener is %d, %v; want %d", pid, err, os.Getpid())
	}
}
