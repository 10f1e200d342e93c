// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Observer hears of each call when it has ended: its method and code, in the words of its protocol.
type Observer func(method, code string, took time.Duration)

// Observed tells an observer, if there is one, of every call but those that subscribe to events, which end when somebody has had enough.
func Observed(tell Observer) []grpc.DialOption {
	if tell == nil {
		return nil
	}
	ended := func(method string) grpc.CallOption {
		began := time.Now()
		return grpc.OnFinish(func(err error) {
			tell(strings.TrimPrefix(method, "/"), status.Code(err).String(), time.Since(began))
		})
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
			invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			return invoke(ctx, method, req, reply, conn, append(opts, ended(method))...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
			open grpc.Streamer, opts ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			if !strings.HasSuffix(method, "/Subscribe") && !strings.HasSuffix(method, "Events") {
				opts = append(opts, ended(method))
			}
			return open(ctx, desc, conn, method, opts...)
		}),
	}
}
