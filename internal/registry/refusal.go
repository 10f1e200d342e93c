// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// maxBody bounds an answer: registries take manifests of at most 4 MiB.
const maxBody = 8 << 20

// maxWords bounds what is repeated of a registry's words.
const maxWords = 256

// Error is a registry's refusal, or its silence.
type Error struct {
	Registry string
	Reason   engine.Reason
	// Status is the HTTP status; 0: there was no answer.
	Status int
	// RetryAfter is how long the registry wants to be left alone, if it is RateLimited.
	RetryAfter time.Duration

	words string
	err   error
}

// Error is the registry and its own words. The same refusal has the same words each time.
func (e *Error) Error() string { return e.Registry + ": " + e.words }

// Unwrap gives the reason and the cause.
func (e *Error) Unwrap() []error { return []error{e.Reason, e.err} }

func (r *Resolver) failure(ref oci.Ref, err error, wait time.Duration) *Error {
	e := &Error{Registry: ref.Registry(), err: err}
	var code string
	if refusal, ok := errors.AsType[*transport.Error](err); ok {
		e.Status, e.words = refusal.StatusCode, said(refusal)
		if len(refusal.Errors) > 0 {
			code = string(refusal.Errors[0].Code)
		}
	} else {
		e.words = plain(err.Error())
	}
	e.words = condition.Cut(e.words, maxWords)
	e.Reason = reason(e.Status, code, err)
	if e.Reason == engine.RateLimited {
		e.RetryAfter = min(max(wait, pauseDefault), pauseMost)
	}
	return e
}

func reason(status int, code string, err error) engine.Reason {
	switch {
	case errors.Is(err, errSilent):
		return engine.Timeout
	case status == http.StatusTooManyRequests || code == string(transport.TooManyRequestsErrorCode):
		return engine.RateLimited
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return engine.Unauthorized
	case status == http.StatusNotFound:
		return engine.NotFound
	case status >= http.StatusInternalServerError:
		return engine.RegistryUnavailable
	}
	if found := engine.ReasonFromText(err.Error()); found != engine.Unknown {
		return found
	}
	return engine.ReasonOf(err)
}

// said are the words in a registry's answer, without what is other each time.
func said(refusal *transport.Error) string {
	var all []string
	for _, d := range refusal.Errors {
		all = append(all, strings.TrimSuffix(fmt.Sprintf("%s: %s", d.Code, d.Message), ": "))
	}
	if all == nil {
		all = []string{fmt.Sprintf("%d %s", refusal.StatusCode, http.StatusText(refusal.StatusCode))}
	}
	return plain(strings.Join(all, "; "))
}

// fleeting are parts of messages that differ from one time to the next: our own port, and ids of requests.
var fleeting = regexp.MustCompile(`\S+:\d+->|(?i)\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)

// asked is where a question went, which the reader knows, and which may hold a signature.
var asked = regexp.MustCompile(`(?i)\b(get|head) "?https?://\S+ `)

func plain(text string) string {
	return strings.Join(strings.Fields(fleeting.ReplaceAllString(asked.ReplaceAllString(text, ""), "")), " ")
}

// notes is a transport that remembers how long a registry wants to be left alone.
type notes struct {
	inner http.RoundTripper

	mu   sync.Mutex
	wait time.Duration
}

func (n *notes) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := n.inner.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	}
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		n.mu.Lock()
		n.wait = max(n.wait, until(resp.Header.Get("Retry-After"), time.Now()))
		n.mu.Unlock()
	}
	return resp, err
}

func (n *notes) retryAfter() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wait
}

// until reads Retry-After: seconds, or a date.
func until(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 && seconds <= int(pauseMost/time.Second) {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
