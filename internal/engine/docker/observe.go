// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// Observer hears of each call: its method and code, in the words of HTTP, and how long it took until the answer began.
type Observer func(method, code string, took time.Duration)

type beganKey struct{}

func observed(tell Observer) []client.Opt {
	if tell == nil {
		return nil
	}
	return []client.Opt{
		client.WithHTTPRequestHook(func(req *http.Request) error {
			*req = *req.WithContext(context.WithValue(req.Context(), beganKey{}, time.Now()))
			return nil
		}),
		client.WithHTTPResponseHook(func(resp *http.Response) {
			if began, ok := resp.Request.Context().Value(beganKey{}).(time.Time); ok {
				tell(methodOf(resp.Request), strconv.Itoa(resp.StatusCode), time.Since(began))
			}
		}),
	}
}

// words are the parts of paths that are no names.
var words = []string{"_ping", "containers", "create", "df", "distribution", "events", "images", "info", "json", "system", "tag", "version"}

// methodOf is such as GET images/{}/json: without the version, and whatever the image is called.
func methodOf(req *http.Request) string {
	var parts []string
	for i, part := range strings.Split(strings.Trim(req.URL.Path, "/"), "/") {
		switch {
		case i == 0 && strings.HasPrefix(part, "v1."):
		case slices.Contains(words, part):
			parts = append(parts, part)
		case len(parts) == 0 || parts[len(parts)-1] != "{}":
			parts = append(parts, "{}")
		}
	}
	return req.Method + " " + strings.Join(parts, "/")
}
