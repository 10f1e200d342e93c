// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package pullsecret

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/demand"
)

const (
	// Secrets are neither listed nor watched, so a rotated one is seen when it is read again.
	freshGood = time.Minute
	freshBad  = 10 * time.Second
	// keptFor bounds how long credentials stay in memory that nobody asks for.
	keptFor = 10 * time.Minute
	// maxWords bounds what a problem repeats of the API server's words.
	maxWords = 256
)

// Problem is a Secret, as namespace/name, that does not give the credentials that it should.
type Problem struct{ Secret, Message string }

// Holder names pull secrets: some of a namespace, or, where it names none, those of a ServiceAccount of it.
type Holder struct {
	Namespace      string
	Secrets        []string
	ServiceAccount string
}

// Of names those of a cache.
func Of(c *demand.Cache) Holder {
	return Holder{Namespace: c.Key.Namespace, Secrets: c.Secrets, ServiceAccount: c.ServiceAccount}
}

// OfPull names those of a NodeJob that pulls.
func OfPull(namespace string, pull *v1alpha1.PullAction) Holder {
	h := Holder{Namespace: namespace, ServiceAccount: pull.ServiceAccountName}
	for _, secret := range pull.ImagePullSecrets {
		h.Secrets = append(h.Secrets, secret.Name)
	}
	return h
}

// Source gives the pull secrets of caches and jobs. It is safe for use by several goroutines.
type Source struct {
	reader client.Reader

	mu       sync.Mutex
	secrets  map[types.NamespacedName]*slot[Secret]
	accounts map[types.NamespacedName]*slot[[]string]
	swept    time.Time
}

// slot is one object as it was last read.
type slot[T any] struct {
	mu      sync.Mutex
	value   T
	known   bool // value is that of an object that was there
	problem string
	read    time.Time
	until   time.Time
	asked   time.Time // guarded by Source.mu
}

// New makes a source over a live client: Secrets are got by name and never listed nor watched, so a cache cannot serve.
func New(reader client.Reader) *Source {
	return &Source{reader: reader, secrets: map[types.NamespacedName]*slot[Secret]{}, accounts: map[types.NamespacedName]*slot[[]string]{}}
}

// For gives the Secrets that are named, else those of the ServiceAccount, in their order, and what is wrong with the others.
func (s *Source) For(ctx context.Context, h Holder) (secrets []Secret, problems []Problem) {
	names := h.Secrets
	if len(names) == 0 && h.ServiceAccount != "" {
		key := types.NamespacedName{Namespace: h.Namespace, Name: h.ServiceAccount}
		var problem string
		names, _, problem = take(ctx, s.account(key), func(ctx context.Context) ([]string, error) { return s.readAccount(ctx, key) })
		if problem != "" {
			problems = append(problems, Problem{Message: problem})
		}
	}
	for _, name := range names {
		key := types.NamespacedName{Namespace: h.Namespace, Name: name}
		secret, known, problem := take(ctx, s.secret(key), func(ctx context.Context) (Secret, error) { return s.readSecret(ctx, key) })
		if problem != "" {
			problems = append(problems, Problem{Secret: key.String(), Message: problem})
		}
		if known {
			secrets = append(secrets, secret)
		}
	}
	return secrets, problems
}

// Doubt has the Secrets read again sooner, since a registry refused what they hold.
func (s *Source) Doubt(h Holder) {
	names := h.Secrets
	if len(names) == 0 && h.ServiceAccount != "" {
		account := s.account(types.NamespacedName{Namespace: h.Namespace, Name: h.ServiceAccount})
		account.doubt()
		account.mu.Lock()
		names = account.value
		account.mu.Unlock()
	}
	for _, name := range names {
		s.secret(types.NamespacedName{Namespace: h.Namespace, Name: name}).doubt()
	}
}

func (s *slot[T]) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if soon := s.read.Add(freshBad); soon.Before(s.until) {
		s.until = soon
	}
}

func (s *Source) secret(key types.NamespacedName) *slot[Secret] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	return at(s.secrets, key)
}

func (s *Source) account(key types.NamespacedName) *slot[[]string] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return at(s.accounts, key)
}

func at[T any](slots map[types.NamespacedName]*slot[T], key types.NamespacedName) *slot[T] {
	found := slots[key]
	if found == nil {
		found = &slot[T]{}
		slots[key] = found
	}
	found.asked = time.Now()
	return found
}

// sweep forgets what nobody asks for any more.
func (s *Source) sweep() {
	now := time.Now()
	if now.Sub(s.swept) < freshGood {
		return
	}
	s.swept = now
	for key, slot := range s.secrets {
		if now.Sub(slot.asked) > keptFor {
			delete(s.secrets, key)
		}
	}
	for key, slot := range s.accounts {
		if now.Sub(slot.asked) > keptFor {
			delete(s.accounts, key)
		}
	}
}

// take gives what a slot holds, read anew if it is too old. An API server that does not answer changes nothing that is known.
func take[T any](ctx context.Context, s *slot[T], read func(context.Context) (T, error)) (value T, known bool, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.until) {
		return s.value, s.known, s.problem
	}
	value, err := read(ctx)
	if ctx.Err() != nil {
		return s.value, s.known, s.problem
	}
	s.read, s.until = now, now.Add(freshBad)
	switch {
	case err == nil:
		s.value, s.known, s.problem, s.until = value, true, "", now.Add(freshGood)
	case s.known && silent(err):
	default:
		var none T
		s.value, s.known, s.problem = none, false, condition.Cut(err.Error(), maxWords)
	}
	return s.value, s.known, s.problem
}

// silent: the API server has not said anything about the object.
func silent(err error) bool {
	return apierrors.ReasonForError(err) == "" && !wrong(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}

func (s *Source) readAccount(ctx context.Context, key types.NamespacedName) (names []string, err error) {
	var account corev1.ServiceAccount
	err = s.reader.Get(ctx, key, &account)
	if apierrors.IsNotFound(err) && key.Name == defaultAccount {
		return nil, nil
	}
	if apierrors.IsNotFound(err) {
		return nil, wrongError{fmt.Errorf("the ServiceAccount %s does not exist", key)}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ServiceAccount %s: %w", key, err)
	}
	for _, secret := range account.ImagePullSecrets {
		names = append(names, secret.Name)
	}
	return names, nil
}

// defaultAccount is asked for by every cache that says nothing, so that its absence is nobody's mistake.
const defaultAccount = "default"

func (s *Source) readSecret(ctx context.Context, key types.NamespacedName) (Secret, error) {
	var secret corev1.Secret
	err := s.reader.Get(ctx, key, &secret)
	if apierrors.IsNotFound(err) {
		return Secret{}, wrongError{fmt.Errorf("the Secret %s does not exist", key)}
	}
	if err != nil {
		return Secret{}, fmt.Errorf("reading the Secret %s: %w", key, err)
	}
	read, err := Read(&secret) //nolint:contextcheck // It asks nobody.
	if err != nil {
		return Secret{}, wrongError{err}
	}
	return read, nil
}

// wrongError is about the object, and not about whether the API server answered.
type wrongError struct{ error }

func wrong(err error) bool {
	_, is := err.(wrongError) //nolint:errorlint // It is never wrapped.
	return is
}
