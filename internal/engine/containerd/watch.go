// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"

	eventsapi "github.com/containerd/containerd/api/services/events/v1"

	"orlop.dev/orlop/internal/engine/socket"
)

// topics are the events after which images, or what uses them, may be others. What runs in a container, such as the
// kubelet's probes, is not among them.
var topics = []string{"/images/create", "/images/update", "/images/delete", "/containers/create", "/containers/delete"}

// Watch hears containerd's own events. Those of the CRI plugin follow from them, a few milliseconds later.
func (r *Runtime) Watch(ctx context.Context, changed func()) error {
	request := &eventsapi.SubscribeRequest{}
	for _, topic := range topics {
		request.Filters = append(request.Filters, fmt.Sprintf("namespace==%s,topic==%q", namespace, topic))
	}
	stream, err := r.events.Subscribe(ctx, request)
	if err != nil {
		return fmt.Errorf("listening to containerd: %w", socket.Why(err))
	}
	for {
		changed()
		if _, err := stream.Recv(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("listening to containerd: %w", socket.Why(err))
		}
	}
}
