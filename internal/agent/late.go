// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"
)

// A pull that ended without a clear answer may bring its image all the same: it had just come when it was given up, or the runtime
// hears a moment later that nobody waits any more. What there is no record of stays for ever. So the record of a released image
// stays until a look shows what became of its pull. Likewise what is there no more, and was not removed here: whoever removed it may put
// it back.

// lateness is how long after its end such a pull may bring its image. The runtime hears of the end in milliseconds, and writes a
// name in tens of them.
const lateness = 900 * time.Millisecond

// wayBack is how long another process may take to put back what it removed: one that has been told to end in the middle of a batch, as the
// agent before this one, whose pod was deleted by force and which the kubelet kills seconds later.
const wayBack = 10 * time.Second

// comingOf is the look for what a pull that was given up may have brought, or what another process may have put back.
func comingOf(image string) tried { return tried{"look", image} }

// mayCome notes that what an entry stood for, as this digest, may yet come, though no pull of it is under way any more.
func (a *Agent) mayCome(now time.Time, image, digest string) {
	settles := now.Add(lateness)
	a.view.settle(settles)
	for _, record := range recordsOf(image, digest) {
		a.tries[comingOf(record)] = try{next: settles}
	}
}

// mayComeBack notes that what a record is about has gone, and nobody here knows how.
func (a *Agent) mayComeBack(now time.Time, record string) {
	settles := now.Add(wayBack)
	a.view.settle(settles)
	a.tries[comingOf(record)] = try{next: settles}
}

// isMissed reports whether what a record is about, and was not seen, has to be looked for again.
func (d *decider) isMissed(record string) bool {
	_, known := d.tries[comingOf(record)]
	return d.restores && !known
}

// comes reports whether what a record is about, and was not seen, may yet come.
func (d *decider) comes(record string) bool {
	for _, p := range d.pulls {
		if slices.Contains(recordsOf(p.entry.Image, p.entry.Digest), record) {
			return true
		}
	}
	t, late := d.tries[comingOf(record)]
	return late && d.view.shows.Before(t.next)
}

// recordsOf are the names under which an image is recorded: its entry's and, once the tag means another, that by digest.
func recordsOf(image, digest string) []string {
	names := []string{image}
	if ref, err := wantNamed(image, digest); err == nil && ref.Tag() != "" && digest != "" {
		names = append(names, byDigestName(ref, digest))
	}
	return names
}
