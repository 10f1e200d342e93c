// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/catalog"
)

// recheckTries is how many nodes try in turn to look what a name stands for; the last of them goes on trying by itself. What
// so many cannot reach is most likely down.
const recheckTries = 3

// asks reports whether the entry that stands asks the node this question.
func (w *want) asks(token string) bool {
	return w.had != nil && !w.had.Released && w.had.Recheck == token
}

// open is the question that some node is to answer. Until this process has asked the registry itself, what stands goes on.
func (w *want) open(fact catalog.Entry) string {
	if fact.Asked.IsZero() && w.had != nil && !w.had.Released && !w.answered() {
		return w.had.Recheck
	}
	return fact.ToRecheck()
}

// answered reports whether the node has answered the question that stands.
func (w *want) answered() bool {
	return w.had != nil && w.record != nil && w.had.Recheck != "" && w.record.Rechecked == w.had.Recheck && w.record.State == v1alpha1.ImagePresent
}

// askToRecheck is the turn to look what a name stands for. The node that has it keeps it until its answer is known to all.
func (v *view) askToRecheck(w *want) ask {
	need := needsTurn
	if w.asks(w.recheck) {
		need = hasTurn
		if w.record != nil && w.record.RecheckReason != "" && v.store.Status.ObservedRevision >= v.store.Spec.Revision {
			need = failsInTurn
		}
	}
	return ask{slot: scoutSlot(w.ref), need: need, limit: func(int) int { return 1 }, tries: recheckTries}
}

// toRecheck is what the entry asks the node to look for. A question that was answered stays, since to take it away would be a
// write; but where the node found something else than what counts, it goes, and with it what the node holds back.
func (w *want) toRecheck(granted map[string]bool) string {
	switch {
	case w.recheck != "" && granted[scoutSlot(w.ref)]:
		return w.recheck
	case w.had == nil || w.had.Released || w.had.Recheck == w.recheck || !w.answered() || w.record.Digest != w.digest:
		return ""
	}
	return w.had.Recheck
}
