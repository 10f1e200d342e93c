// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/internal/catalog"
	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/registry"
)

// asker puts questions to registries beside the reconciler, one at a time for each name, and keeps the answers in the
// catalog. A name is asked for with the credentials of every cache that wants it, so that the answer is the same whoever asks.
type asker struct {
	registry Registry
	secrets  *pullsecret.Source
	catalog  *catalog.Catalog
	who      func(oci.Ref) []demand.Cache
	wake     func(context.Context, types.NamespacedName)

	ctx    context.Context //nolint:containedctx // That of the goroutines, which outlive the call that starts them.
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu        sync.Mutex
	inquiries map[oci.Ref]*inquiry
	pending   map[types.NamespacedName]int
}

// inquiry is what is remembered of asking for one name.
type inquiry struct {
	busy        bool
	waiting     map[types.NamespacedName]bool
	refusals    int
	next        time.Time
	credentials string
}

// Start waits for the end, and then for the questions that are under way.
func (a *asker) Start(ctx context.Context) error {
	<-ctx.Done()
	a.stop()
	return nil
}

func (a *asker) stop() {
	a.mu.Lock()
	a.cancel()
	a.mu.Unlock()
	a.all.Wait()
}

// ask has a name asked for, and the cache woken when nothing that it waits for is left.
func (a *asker) ask(ref oci.Ref, platforms []string, key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.inquiry(ref)
	if a.ctx.Err() != nil {
		return
	}
	if !in.waiting[key] {
		in.waiting[key] = true
		a.pending[key]++
	}
	if in.busy {
		return
	}
	in.busy = true
	a.all.Go(func() {
		a.answer(a.ctx, ref, platforms)
		for _, key := range a.done(ref) {
			a.wake(a.ctx, key)
		}
	})
}

// wakeAll wakes caches, beside its caller: the one that hears of it may be just that.
func (a *asker) wakeAll(keys []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(keys) == 0 || a.ctx.Err() != nil {
		return
	}
	a.all.Go(func() {
		for _, key := range keys {
			a.wake(a.ctx, key)
		}
	})
}

func (a *asker) inquiry(ref oci.Ref) *inquiry {
	if a.inquiries[ref] == nil {
		a.inquiries[ref] = &inquiry{waiting: map[types.NamespacedName]bool{}}
	}
	return a.inquiries[ref]
}

// done gives the caches that wait for nothing more.
func (a *asker) done(ref oci.Ref) (ready []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.inquiry(ref)
	for key := range in.waiting {
		a.pending[key]--
		if a.pending[key] == 0 {
			delete(a.pending, key)
			ready = append(ready, key)
		}
	}
	in.busy = false
	clear(in.waiting)
	return ready
}

// state is whether a name is being asked for, and until when it is left alone.
func (a *asker) state(ref oci.Ref) (busy bool, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.inquiry(ref)
	return in.busy, in.next
}

// forget drops what is remembered of names that nobody wants.
func (a *asker) forget(wanted func(oci.Ref) bool) {
	a.mu.Lock()
	var gone []oci.Ref
	for ref, in := range a.inquiries {
		if !in.busy {
			gone = append(gone, ref)
		}
	}
	a.mu.Unlock()
	gone = slices.DeleteFunc(gone, wanted)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ref := range gone {
		if in := a.inquiries[ref]; in != nil && !in.busy {
			delete(a.inquiries, ref)
		}
	}
}

// otherCredentials reports whether the Secrets are others than those with which the registry refused.
func (a *asker) otherCredentials(ctx context.Context, ref oci.Ref) bool {
	_, _, now := a.chains(ctx, ref)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inquiry(ref).credentials != now
}

// chains are the credentials for a name, those of each Secret apart, and at last none; mark tells which they are.
func (a *asker) chains(ctx context.Context, ref oci.Ref) (chains []authn.Keychain, caches []demand.Cache, mark string) {
	caches = a.who(ref)
	slices.SortFunc(caches, func(a, b demand.Cache) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	var marks []string
	for _, c := range caches {
		secrets, _ := a.secrets.For(ctx, pullsecret.Of(&c))
		for _, secret := range secrets {
			id := secret.UID + "/" + secret.ResourceVersion
			if _, ok := secret.Credentials(ref); ok && !slices.Contains(marks, id) {
				marks = append(marks, id)
				chains = append(chains, pullsecret.Keychain([]pullsecret.Secret{secret}))
			}
		}
	}
	return append(chains, authn.NewMultiKeychain()), caches, strings.Join(marks, " ")
}

// answer asks, and keeps what the registry says.
func (a *asker) answer(ctx context.Context, ref oci.Ref, platforms []string) {
	chains, caches, mark := a.chains(ctx, ref)
	known, _ := a.catalog.Get(ref)
	found, err := a.question(ctx, ref, known, platforms, chains)
	if ctx.Err() != nil {
		return
	}
	result := "OK"
	if err != nil {
		result = string(engine.ReasonOf(err))
	}
	registryChecks.WithLabelValues(hosts.Of(ref.Registry()), result).Inc()
	if errors.Is(err, engine.Unauthorized) {
		for _, c := range caches {
			a.secrets.Doubt(pullsecret.Of(&c))
		}
	}
	now := time.Now()
	a.mu.Lock()
	in := a.inquiry(ref)
	in.credentials = mark
	if err == nil {
		in.refusals, in.next = 0, time.Time{}
	} else {
		in.refusals++
		in.next = now.Add(max(pause(in.refusals), wait(err)))
	}
	a.mu.Unlock()
	a.catalog.Update(ref, func(e catalog.Entry) catalog.Entry {
		e.Asked = now
		if err != nil {
			e.Refusal = refusal(e.Refusal, err, now)
			return e
		}
		e.Refusal, e.Recheck, e.Known = nil, catalog.Recheck{}, now
		if e.Digest != found.Digest || len(found.Sizes) > 0 {
			e.Digest, e.Sizes = found.Digest, found.Sizes
		}
		return e
	})
}

// question is one HEAD where the name is known and has not moved.
func (a *asker) question(ctx context.Context, ref oci.Ref, known catalog.Entry, platforms []string, chains []authn.Keychain) (registry.Description, error) {
	if known.Digest == "" {
		return a.registry.Describe(ctx, ref, platforms, chains...)
	}
	found, err := a.registry.Digest(ctx, ref, chains...)
	if err != nil || found == known.Digest {
		return registry.Description{Digest: found}, err
	}
	moved, err := a.registry.Describe(ctx, ref, platforms, chains...)
	if err != nil {
		return registry.Description{Digest: found}, nil //nolint:nilerr // What it is now is known; its size is nice to have.
	}
	return moved, nil
}

func wait(err error) time.Duration {
	if refused, ok := errors.AsType[*registry.Error](err); ok {
		return refused.RetryAfter
	}
	return 0
}

// numbers are what makes two messages about the same thing differ: times, ids, counts.
var numbers = regexp.MustCompile(`[0-9a-fA-F]*[0-9][0-9a-fA-F]*`)

// refusal is what err says. Where only numbers differ the earlier words stay, so that nothing is written for them.
func refusal(before *catalog.Refusal, err error, at time.Time) *catalog.Refusal {
	now := &catalog.Refusal{Reason: engine.ReasonOf(err), Message: err.Error(), Since: at}
	if before != nil {
		now.Since = before.Since
	}
	if before != nil && before.Reason == now.Reason && numbers.ReplaceAllString(before.Message, "#") == numbers.ReplaceAllString(now.Message, "#") {
		return before
	}
	return now
}

// adopt takes for a name that the registry refused the digest that a node got by itself.
func adopt(c *catalog.Catalog, ref oci.Ref, found digest.Digest) (moved bool) {
	return c.Update(ref, func(e catalog.Entry) catalog.Entry {
		if e.Digest == "" {
			e.Digest, e.Known = found, time.Now()
		}
		return e
	})
}
