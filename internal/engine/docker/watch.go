// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/client"
)

// Watch hears the daemon's events. What runs in a container, such as its health check, is not among them.
func (r *Runtime) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filters := client.Filters{}
	filters.Add("type", "image", "container")
	filters.Add("event", "pull", "load", "import", "tag", "untag", "delete", "create", "destroy")
	heard := r.api.Events(ctx, client.EventsListOptions{
		// Docker cannot say that it has begun to listen; what it tells since now it does not leave out.
		Since: fmt.Sprint(time.Now().Unix()), Filters: filters,
	})
	changed()
	for {
		select {
		case <-heard.Messages:
			changed()
		case err := <-heard.Err:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return foreign(fmt.Errorf("listening to %s: %w", r.endpoint, err))
		}
	}
}
