// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry asks registries what names stand for, politely: a few questions at once, no question while a registry
// asked to be left alone, and an answer or a refusal within seconds.
package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

const (
	// answerWithin bounds one answer, so that a refusal stands in a status within 5 s.
	answerWithin = 4 * time.Second
	// pauseDefault is for a registry that says "too many" without saying until when; pauseMost bounds what it may ask for.
	pauseDefault, pauseMost = 10 * time.Second, time.Hour
)

// Resolver asks registries. Its zero value works; it is safe for use by several goroutines.
type Resolver struct {
	// Transport carries the questions; nil is one of the package's own.
	Transport http.RoundTripper
	// Mirrors are asked instead of a registry: its host leads to a host, with a path if need be, below which its repositories
	// lie. "*" stands for every other registry, whose host then comes before the repository.
	Mirrors map[string]string

	mu       sync.Mutex
	hosts    map[string]*host
	slots    slots
	fallback http.RoundTripper
}

// Description is what a name stands for, and what it weighs.
type Description struct {
	Digest digest.Digest
	// Sizes are compressed, by platform; one that could not be had is left out.
	Sizes map[string]int64
}

// Digest asks what a name stands for, by one HEAD. The chains are tried one after the other while the registry refuses; none
// is to ask without credentials. The error is an *Error.
func (r *Resolver) Digest(ctx context.Context, ref oci.Ref, chains ...authn.Keychain) (found digest.Digest, err error) {
	err = r.ask(ctx, ref, chains, func(ctx context.Context, puller *remote.Puller, where name.Reference) error {
		found, err = head(ctx, puller, where)
		return err
	})
	return found, err
}

// Describe asks what a name stands for, and what it weighs on each platform, such as linux/amd64.
func (r *Resolver) Describe(ctx context.Context, ref oci.Ref, platforms []string, chains ...authn.Keychain) (found Description, err error) {
	err = r.ask(ctx, ref, chains, func(ctx context.Context, puller *remote.Puller, where name.Reference) error {
		manifest, err := puller.Get(ctx, where)
		if err != nil {
			return err
		}
		found = Description{Digest: digest.Digest(manifest.Digest.String()), Sizes: sizes(ctx, puller, where.Context(), manifest, platforms)}
		return nil
	})
	return found, err
}

// head falls back to GET: some registries refuse HEAD, or answer it without a digest, and no refusal of it has words.
func head(ctx context.Context, puller *remote.Puller, where name.Reference) (digest.Digest, error) {
	found, err := puller.Head(ctx, where)
	if err == nil {
		return digest.Digest(found.Digest.String()), nil
	}
	if refusal, ok := errors.AsType[*transport.Error](err); ok && (refusal.Request == nil || refusal.Request.Method != http.MethodHead || refusal.StatusCode == http.StatusTooManyRequests) {
		return "", err
	}
	if _, ok := errors.AsType[net.Error](err); ok || ctx.Err() != nil {
		return "", err
	}
	manifest, err := puller.Get(ctx, where)
	if err != nil {
		return "", err
	}
	return digest.Digest(manifest.Digest.String()), nil
}

type question func(context.Context, *remote.Puller, name.Reference) error

// ask waits for its turn and puts the question.
func (r *Resolver) ask(ctx context.Context, ref oci.Ref, chains []authn.Keychain, q question) error {
	where, err := r.where(ref)
	if err != nil {
		return &Error{Registry: ref.Registry(), Reason: engine.InvalidReference, words: err.Error(), err: err}
	}
	h, all := r.host(ref.Registry())
	held, err := h.admit(ctx, all)
	defer held.leave()
	if err != nil {
		return r.failure(ref, err, 0)
	}
	if err := h.paused(); err != nil {
		return err
	}

	began := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, answerWithin, errSilent)
	defer cancel()
	if len(chains) == 0 {
		chains = []authn.Keychain{authn.NewMultiKeychain()}
	}
	var refused *Error
	for _, chain := range chains {
		known, last := r.try(limited, ref, where, chain, q)
		if last == nil {
			h.answer()
			return nil
		}
		// The words of those who know us count: a stranger may be told anything.
		if refused == nil || known && last.Reason == engine.NotFound {
			refused = last
		}
		if last.Reason != engine.Unauthorized && last.Reason != engine.NotFound {
			refused = last
			break
		}
	}
	if ctx.Err() == nil {
		h.refusal(refused, began)
	}
	return refused
}

// try puts the question with the credentials of one chain; known is whether it has any.
func (r *Resolver) try(ctx context.Context, ref oci.Ref, where name.Reference, chain authn.Keychain, q question) (known bool, refused *Error) {
	notes := &notes{inner: r.transport()}
	auth, err := authn.Resolve(ctx, chain, where.Context())
	if err != nil {
		return false, r.failure(ref, err, 0)
	}
	puller, err := remote.NewPuller(remote.WithTransport(notes), remote.WithAuth(auth),
		remote.WithRetryBackoff(remote.Backoff{Duration: retryAfter, Factor: 1, Steps: 2}), remote.WithRetryStatusCodes(), remote.WithUserAgent("orlop"))
	if err == nil {
		err = q(ctx, puller, where)
	}
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return auth != authn.Anonymous, r.failure(ref, err, notes.retryAfter())
}

// retryAfter is before the one repetition of a question whose connection broke.
const retryAfter = 200 * time.Millisecond

var errSilent = errors.New("no answer within " + answerWithin.String())

func (r *Resolver) where(ref oci.Ref) (name.Reference, error) {
	text := ref.WithoutTag().String()
	if mirror, ok := r.Mirrors[ref.Registry()]; ok {
		text = mirror + text[len(ref.Registry()):]
	} else if mirror, ok := r.Mirrors["*"]; ok {
		text = mirror + "/" + text
	}
	return name.ParseReference(text)
}

func (r *Resolver) transport() http.RoundTripper {
	if r.Transport != nil {
		return r.Transport
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fallback == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = perRegistry
		own.IdleConnTimeout = 30 * time.Second
		r.fallback = own
	}
	return r.fallback
}
