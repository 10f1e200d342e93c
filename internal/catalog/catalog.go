// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog holds what registries said of names, for the reconcilers: one fact for a name in the whole cluster, so that a
// tag is the same image on every node and in every cache. It may be lost: it is filled again from what stands in the
// caches and on the nodes.
package catalog

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Entry is what is known of one name.
type Entry struct {
	// Digest is what the name stands for; empty is not known.
	Digest digest.Digest
	// Sizes are the compressed sizes in bytes by platform, such as linux/amd64, as far as they were asked for.
	Sizes map[string]int64
	// Refusal is why the registry did not answer when it was last asked; nil: it did, or it was not asked.
	Refusal *Refusal
	// Asked is when the registry last answered or refused; zero: this process has not asked.
	Asked time.Time
	// Known is when the digest was learnt, or confirmed by the registry, as far as this process knows.
	Known time.Time
	// Recheck asks one node to look what the name stands for, where the registry refuses; empty: no node was ever asked.
	Recheck Recheck
}

// Recheck is the newest question to a node.
type Recheck struct {
	// Token is new for each question, and greater than those before it.
	Token string
	// Answered: a node has told what it found.
	Answered bool
	// Followed: the last question that came to an end was answered.
	Followed bool
}

// ToRecheck is the token of the question that a node is still to answer; empty: none is.
func (e Entry) ToRecheck() string {
	if e.Refusal == nil || e.Digest == "" || e.Recheck.Answered {
		return ""
	}
	return e.Recheck.Token
}

// Refusal is an answer that decides nothing: nodes may have mirrors and credentials of their own.
type Refusal struct {
	Reason  engine.Reason
	Message string
	// Since is when the registry began to refuse.
	Since time.Time
}

// Catalog is a table of entries, safe for use by several goroutines.
type Catalog struct {
	mu      sync.RWMutex
	entries map[oci.Ref]Entry
}

// New makes an empty catalog.
func New() *Catalog { return &Catalog{entries: map[oci.Ref]Entry{}} }

// Get gives what is known of a name.
func (c *Catalog) Get(ref oci.Ref) (Entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	entry, ok := c.entries[ref]
	return entry, ok
}

// Update replaces what is known of a name by what change makes of it, and reports whether its digest is another now.
func (c *Catalog) Update(ref oci.Ref, change func(Entry) Entry) (moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.entries[ref]
	after := change(before)
	c.entries[ref] = after
	return before.Digest != after.Digest
}

// Retain forgets every name that is not wanted.
func (c *Catalog) Retain(wanted func(oci.Ref) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref := range c.entries {
		if !wanted(ref) {
			delete(c.entries, ref)
		}
	}
}
