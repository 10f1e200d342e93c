// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package control carries calls with JSON over a unix socket, and the types that cross it.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMessage bounds a message of either side; a node's command output is the largest.
const maxMessage = 64 << 20

// Handle serves a method of the mux by a function of typed values.
func Handle[Q, A any](mux *http.ServeMux, method string, serve func(context.Context, Q) (A, error)) {
	mux.HandleFunc("POST /"+method, func(w http.ResponseWriter, r *http.Request) {
		var question Q
		if err := json.NewDecoder(io.LimitReader(r.Body, maxMessage)).Decode(&question); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := serve(r.Context(), question)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		// The caller went away: there is nobody left to tell.
		_ = json.NewEncoder(w).Encode(answer)
	})
}

// Call asks the method of whoever listens on the socket.
func Call[A any](ctx context.Context, socket, method string, question any) (A, error) {
	var answer A
	body, err := json.Marshal(question)
	if err != nil {
		return answer, err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://lab/"+method, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer, fmt.Errorf("calling %s: %w", method, err)
	}
	defer response.Body.Close()
	content := io.LimitReader(response.Body, maxMessage)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(content)
		return answer, errors.New(strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(content).Decode(&answer); err != nil {
		return answer, fmt.Errorf("reading the answer of %s: %w", method, err)
	}
	return answer, nil
}

// Peer is the process that listens on the socket, by its id in the caller's namespace.
func Peer(socket string) (int, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	if cred.Pid == 0 {
		return 0, fmt.Errorf("the process behind %s is not visible from here", socket)
	}
	return int(cred.Pid), nil
}
