// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package socket knows where container runtimes listen, finds the one that serves Kubernetes, and speaks gRPC with it.
package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"orlop.dev/orlop/internal/engine"
)

const (
	// maxMessage bounds one answer. gRPC's own 4 MiB are too few for a list of some thousand images; runtimes
	// send no more than 16 MiB, and CRI-O's messages grow beyond that only on nodes that are broken.
	maxMessage = 32 << 20

	// window is how much a runtime may send before it is answered. gRPC's own beginning of 64 KiB would make a list of
	// images wait for a dozen answers.
	window = 8 << 20

	// readBuffer spares system calls on large answers.
	readBuffer = 256 << 10

	// maxReconnectDelay is how long a runtime that restarts may go unnoticed. gRPC's own two minutes would turn a
	// restart of a second into an outage.
	maxReconnectDelay = 2 * time.Second

	// maxErrorText bounds what an error repeats of a registry's answer, which may be a whole page of HTML.
	maxErrorText = 1000
)

// Dial prepares a connection to the gRPC server at endpoint, a path or unix:// and a path. Nothing is sent, and
// nothing on the machine changes: a dead socket shows with the first call, which fails at once.
func Dial(endpoint string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	path, err := pathOf(endpoint)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	reconnect := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: maxReconnectDelay},
		MinConnectTimeout: maxReconnectDelay,
	}
	conn, err := grpc.NewClient("passthrough:///localhost", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(reconnect),
		grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(window),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("preparing a connection to %s: %w", endpoint, err)
	}
	return conn, nil
}

// Bounded gives every unary call a deadline, but for the methods named.
func Bounded(timeout time.Duration, but ...string) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
		invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		if slices.Contains(but, method) {
			return invoke(ctx, method, req, reply, conn, opts...)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return invoke(ctx, method, req, reply, conn, opts...)
	})
}

// pathOf is the file that an endpoint names, for one like unix:///run/crio/crio.sock or the path alone.
func pathOf(endpoint string) (string, error) {
	path := strings.TrimPrefix(endpoint, "unix://")
	if !filepath.IsAbs(path) {
		return "", engine.Becausef(engine.InvalidReference, "%q is not a runtime's endpoint: it must read unix:///PATH", endpoint)
	}
	return filepath.Clean(path), nil
}

// transport recognises what gRPC itself says of a connection, as opposed to what a runtime passes on from a registry.
var transport = regexp.MustCompile(`^(connection error|error reading from server|transport is closing|the connection is draining|` +
	`closing transport|name resolver|last connection error|unexpected EOF$|EOF$)`)

// Why makes an error of ours of what a gRPC call gave: with its reason, in the runtime's and the registry's own
// words, without gRPC's. A nil err stays nil.
func Why(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	said := errors.New(plain(s.Message()))
	switch s.Code() {
	case codes.Canceled:
		return as(context.Canceled, said)
	case codes.DeadlineExceeded:
		return engine.Because(engine.Timeout, as(context.DeadlineExceeded, said))
	case codes.Unimplemented:
		return engine.Because(engine.Unsupported, said)
	case codes.Unavailable:
		if transport.MatchString(s.Message()) {
			return engine.Because(engine.RuntimeUnavailable, said)
		}
	default: // The text decides, and the code where that says nothing.
	}
	if reason := engine.ReasonFromText(s.Message()); reason != engine.Unknown {
		return engine.Because(reason, said)
	}
	if reason, ok := ofCode[s.Code()]; ok {
		return engine.Because(reason, said)
	}
	return said
}

// Gone reports whether a call's answer is that there is no such thing. Only the code says so: the text of another failure
// may speak of something else that was not found.
func Gone(err error) bool { return status.Code(err) == codes.NotFound }

// as is an error of this process that a server has passed on, mostly in the very same words.
func as(cause, said error) error {
	if said.Error() == cause.Error() {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, said)
}

// ofCode decides only where the text does not: runtimes pass on most of what registries say as Unknown.
var ofCode = map[codes.Code]engine.Reason{
	codes.NotFound:         engine.NotFound,
	codes.Unavailable:      engine.RuntimeUnavailable,
	codes.Unauthenticated:  engine.Unauthorized,
	codes.PermissionDenied: engine.Unauthorized,
	codes.InvalidArgument:  engine.InvalidReference,
}

var (
	noise = regexp.MustCompile(`rpc error: code = \w+ desc = `)
	// retold is what runtimes put before a registry's words and what the caller has said already, and what CRI-O says
	// after them: that it is no artifact either.
	retold = regexp.MustCompile(`(failed to pull and unpack image|failed to pull image|failed to resolve reference|failed to resolve image) ?("[^"]*")?: |` +
		`unable to pull image( or OCI artifact)?: |pull image err: |; artifact err: .*$`)
)

// plain takes away what says nothing: gRPC's frame, the runtime's repetition of what it was asked, equal parts.
func plain(text string) string {
	text = retold.ReplaceAllString(noise.ReplaceAllString(text, ""), "")
	var parts []string
	for part := range strings.SplitSeq(text, ": ") {
		if n := len(parts); n == 0 || parts[n-1] != part {
			parts = append(parts, part)
		}
	}
	text = strings.TrimSpace(strings.Join(parts, ": "))
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}
