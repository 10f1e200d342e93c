// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/test/lab"
)

// ofOrlop begins the names of the accounts that Orlop's parts have.
const ofOrlop = "system:serviceaccount:" + system + ":orlop-"

// tally is what the API server was asked to change in Orlop's affairs.
type tally struct {
	// writes are all but those of inventories; kinds tells of which there were how many.
	writes, inventories, leases int
	kinds                       map[string]int
	// pods are those that somebody made, for whatever purpose, but a kubelet or a DaemonSet.
	pods int
}

func tallyOf(writes []lab.Write) tally {
	t := tally{kinds: map[string]int{}}
	for _, w := range writes {
		if makesPod(w) {
			t.pods++
		}
		switch {
		case !concerns(w):
		case w.Object.Resource == "imageinventories":
			t.inventories++
		default:
			t.writes++
			t.kinds[kindOf(w)]++
			if isLease(w) {
				t.leases++
			}
		}
	}
	return t
}

// withoutLease is of what is written for the lease whatever happens.
func (t tally) withoutLease() tally {
	t.kinds = maps.Clone(t.kinds)
	maps.DeleteFunc(t.kinds, func(kind string, _ int) bool { return strings.HasSuffix(kind, " leases") })
	t.writes -= t.leases
	t.leases = 0
	return t
}

// concerns: one of Orlop's parts asked for it, whatever it is, or anyone else asked for a change of Orlop's objects.
func concerns(w lab.Write) bool {
	return strings.HasPrefix(w.User.Name, ofOrlop) || w.Object.Group == "orlop.dev"
}

func makesPod(w lab.Write) bool {
	return w.Verb == "create" && w.Object.Resource == "pods" && w.Object.Subresource == "" &&
		!strings.HasPrefix(w.User.Name, "system:node:") && w.User.Name != "system:serviceaccount:kube-system:daemon-set-controller"
}

func isLease(w lab.Write) bool { return w.Object.Resource == "leases" }

// beforehand leaves out the renewals of the lease after a moment: they go on for as long as anybody watches.
func beforehand(writes []lab.Write, end time.Time) []lab.Write {
	return slices.DeleteFunc(slices.Clone(writes), func(w lab.Write) bool { return isLease(w) && w.Time.After(end) })
}

// kindOf is such as "agent patch imagestores/status".
func kindOf(w lab.Write) string {
	who, ours := strings.CutPrefix(w.User.Name, ofOrlop)
	if !ours {
		who = w.User.Name[strings.LastIndexByte(w.User.Name, ':')+1:]
	}
	what := w.Object.Resource
	if w.Object.Subresource != "" {
		what += "/" + w.Object.Subresource
	}
	text := who + " " + w.Verb + " " + what
	if w.Response.Code >= 400 {
		text += fmt.Sprintf(" refused with %d", w.Response.Code)
	}
	return text
}

// String is such as "6 agent patch imagestores/status, 3 controller patch imagestores".
func (t tally) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", t.kinds[kind], kind))
	}
	parts = append(parts, fmt.Sprintf("%d inventories", t.inventories))
	return strings.Join(parts, ", ")
}

const (
	// calm outlasts what an agent or the controller coalesces.
	calm = 4 * time.Second
	// inventoryWithin is how late an inventory may be.
	inventoryWithin = 12 * time.Second
)

// settled waits until Orlop has written nothing but its lease for a while, and as many inventories as there must be, unless
// they are too late; then it gives everything since the mark.
func (b *bench) settled(ctx context.Context, mark int64, inventories int) ([]lab.Write, error) {
	begun := time.Now()
	ctx, cancel := patiently(ctx)
	defer cancel()
	for {
		reading := time.Now()
		writes, err := b.lab.Writes(mark)
		if err != nil {
			return nil, err
		}
		read := time.Since(reading)
		last := begun
		for _, w := range writes {
			if concerns(w) && !isLease(w) && w.Time.After(last) {
				last = w.Time
			}
		}
		late := time.Since(begun) > inventoryWithin || tallyOf(writes).inventories >= inventories
		if late && time.Since(last) > calm {
			return writes, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting until Orlop writes nothing more: %v: %w", tallyOf(writes), context.Cause(ctx))
		case <-time.After(max(200*time.Millisecond, 10*read)): // A long account is read seldom.
		}
	}
}

// hush waits until whatever happened before is in every inventory, so that it is in no count of what comes.
func (b *bench) hush(ctx context.Context) error {
	mark, err := b.lab.AuditMark()
	if err != nil {
		return err
	}
	_, err = b.settled(ctx, mark, math.MaxInt)
	return err
}
