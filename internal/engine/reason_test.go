// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// The texts are what containerd 2.4, CRI-O 1.36 and Docker 29 said, with the names of images changed.
func TestReasonFromText(t *testing.T) {
	for text, want := range map[string]Reason{
		`failed to resolve image: docker.io/acme/nope:1: not found`:                                                       NotFound,
		`unexpected status from HEAD request to https://reg.example/v2/acme/a/manifests/1: 429 Too Many Requests`:         RateLimited,
		`toomanyrequests: You have reached your pull rate limit`:                                                          RateLimited,
		`pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth`: Unauthorized,
		`unexpected status from HEAD request to https://reg.example/v2/acme/a/manifests/1: 401 Unauthorized`:              Unauthorized,
		`failed to do request: Head "https://reg.example/v2/": dial tcp: lookup reg.example: no such host`:                RegistryUnavailable,
		`failed to do request: Get "https://reg.example/v2/": dial tcp 10.0.0.1:443: i/o timeout`:                         RegistryUnavailable,
		`RegistryUnavailable: unable to pull image: pinging container registry`:                                           RegistryUnavailable,
		`no match for platform in manifest: not found`:                                                                    NoMatchingPlatform,
		`write /var/lib/containerd/io.containerd.content.v1.content/ingest/1/data: no space left on device`:               InsufficientDisk,
		`image used by 2c7f1e90aa: image is in use by a container`:                                                        InUse,
		`manifest unknown: manifest unknown`:                                                                              NotFound,
		`something else happened`:                                                                                         Unknown,
		// What an image is called says nothing of what went wrong.
		`reg.example/acme/app:429: manifest unknown`:                      NotFound,
		`app:503: not found`:                                              NotFound,
		`removing docker.io/acme/app:404: image is in use by a container`: InUse,
		`reg.example/denied/app:401: no such host`:                        RegistryUnavailable,
		`docker.io/library/app@sha256:40140342950040140342950040140342950040140342950040140342950040aa: something`: Unknown,
	} {
		if got := ReasonFromText(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestReasonOf(t *testing.T) {
	cause := errors.New("said so")
	for name, tt := range map[string]struct {
		err  error
		want Reason
	}{
		"none":        {nil, ""},
		"given":       {fmt.Errorf("pulling x: %w", Because(Unauthorized, cause)), Unauthorized},
		"itself":      {Unsupported, Unsupported},
		"a deadline":  {fmt.Errorf("pulling x: %w", context.DeadlineExceeded), Timeout},
		"Ctrl-C":      {fmt.Errorf("pulling x: %w", context.Canceled), Interrupted},
		"not known":   {cause, Unknown},
		"of a reason": {Becausef(NoEffect, "still there"), NoEffect},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ReasonOf(tt.err); got != tt.want {
				t.Errorf("ReasonOf = %q, want %q", got, tt.want)
			}
			if tt.err != nil && tt.want != Timeout && tt.want != Interrupted && tt.want != Unknown && !errors.Is(tt.err, tt.want) {
				t.Errorf("errors.Is does not find %s", tt.want)
			}
		})
	}
	if err := Because(NotFound, cause); err.Error() != "said so" || !errors.Is(err, cause) {
		t.Errorf("the reason hides its cause: %v", err)
	}
	if Because(NotFound, nil) != nil {
		t.Error("no error has become one")
	}
}
