// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"orlop.dev/orlop/internal/session"
)

// streams are the ends of a container's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// attachFunc joins streams to a pod's container until one side ends.
type attachFunc func(ctx context.Context, pod string, s streams) error

func (f *Fleet) attachTo(ctx context.Context, pod string, s streams) error {
	options := &corev1.PodAttachOptions{Container: containerName, Stdin: true, Stdout: true, Stderr: true}
	where := f.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(f.cfg.Namespace).Name(pod).
		SubResource("attach").VersionedParams(options, scheme.ParameterCodec).URL()
	exec, err := f.executor(where)
	if err != nil {
		return err
	}
	return exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: s.in, Stdout: s.out, Stderr: s.err})
}

// maxMessage bounds one line from a node: 500 images with all their names are under 2 MB.
const maxMessage = 32 << 20

// talk is one session with a node that has been attached to.
type talk struct {
	in     *io.PipeWriter
	outbox *outbox
	// heard has what the node says, in order, and is closed at the end.
	heard chan session.Message
	// over is closed when both streams have ended; then broke says how: nil is an orderly end.
	over   chan struct{}
	broke  error
	stderr *tail
	cancel context.CancelFunc
	writer sync.WaitGroup
}

// newTalk attaches and begins to listen. It goes on when ctx is cancelled, since the node is then told to end and
// has a last word: end, which must be called, ends it.
func newTalk(ctx context.Context, attach attachFunc, pod string) *talk {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	t := &talk{in: inW, outbox: newOutbox(), heard: make(chan session.Message), over: make(chan struct{}), stderr: &tail{}, cancel: cancel}
	t.writer.Go(t.write)
	// Whatever the attach does then, nothing is read any more, and what is written ends in an error.
	context.AfterFunc(ctx, func() { _ = outR.CloseWithError(io.ErrClosedPipe) })
	var both sync.WaitGroup
	var streamErr, readErr error
	both.Go(func() {
		streamErr = attach(ctx, pod, streams{in: inR, out: outW, err: t.stderr})
		// Writers that are still about, here and in the attach, must not wait for a reader.
		_ = inR.Close()
		_ = outW.Close()
	})
	both.Go(func() {
		defer close(t.heard)
		readErr = t.listen(ctx, outR)
		_ = outR.CloseWithError(io.ErrClosedPipe)
	})
	go func() { // It ends with those before, and end waits for it.
		both.Wait()
		if t.broke = streamErr; t.broke == nil {
			t.broke = readErr
		}
		close(t.over)
	}()
	return t
}

// listen passes on what comes in, a JSON document each.
func (t *talk) listen(ctx context.Context, from io.Reader) error {
	limited := &io.LimitedReader{R: from}
	decoder := json.NewDecoder(limited)
	for {
		limited.N = maxMessage
		var m session.Message
		err := decoder.Decode(&m)
		switch {
		case err != nil && limited.N <= 0: // What was cut off ends in one error or another.
			return fmt.Errorf("the node's answer is larger than %d MB", maxMessage>>20)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the node's answer: %w", err)
		}
		select {
		case t.heard <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *talk) write() {
	defer func() { _ = t.in.Close() }()
	encoder := json.NewEncoder(t.in)
	for line := t.outbox.next(); line != nil; line = t.outbox.next() {
		if err := encoder.Encode(line); err != nil {
			return // The connection is closed, which its reader tells.
		}
	}
}

// hush closes our side, upon which the node ends. Nothing is said after it.
func (t *talk) hush() { t.outbox.close() }

// end breaks off what has not ended, and waits for it.
func (t *talk) end() {
	t.hush()
	t.cancel()
	for range t.heard { // What nobody wants to hear any more.
	}
	<-t.over
	t.writer.Wait()
}

// maxTail is how much of what a pod says on its standard error is kept: the last lines tell why it ended.
const maxTail = 2 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-maxTail):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}

// executor prefers WebSockets, and falls back to SPDY where a server or a proxy before it does not take them. A WebSocket's handshake
// has a SHA-1 in it, which FIPS 140-3 does not approve: where nothing else is allowed it is SPDY from the start.
func (f *Fleet) executor(url *url.URL) (remotecommand.Executor, error) {
	spdy, err := remotecommand.NewSPDYExecutor(f.rest, "POST", url)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the pod: %w", err)
	}
	if fips140.Enforced() {
		return spdy, nil
	}
	socket, err := remotecommand.NewWebSocketExecutor(f.rest, "GET", url.String())
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the pod: %w", err)
	}
	return remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}
