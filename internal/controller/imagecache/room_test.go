// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagecache

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatFindsNoRoomIsTold: a node that is not told of an image has nothing to say of it. A controller that starts anew, and has yet to
// find out, writes nothing meanwhile.
func TestWhatFindsNoRoomIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nodes("n1", "n2")...)
		defer func() { b.stop() }()
		first, second := b.shelf.set(one, "1"), b.shelf.set(two, "2")
		b.create(web, nil, one, two)
		b.node("n1", present(two, second))
		b.node("n2", present(one, first), present(two, second))
		b.leftOut = map[string]map[string]bool{"n1": {one: true}}
		b.run(2*time.Second, web)
		const want = "1/2 Ready=False/TooManyImages Stalled=True/TooManyImages"
		b.expect(web, want)
		status := b.cache(web).Status
		if len(status.Failures) != 1 || status.Failures[0].Node != "n1" || status.Failures[0].Image != one || status.FailedNodes != 1 {
			t.Errorf("%+v", status.Failures)
		}

		b.counted()
		b.restart()
		b.unheard, b.leftOut = true, nil
		b.run(3*time.Second, web)
		b.expect(web, want)
		b.unheard, b.leftOut = false, map[string]map[string]bool{"n1": {one: true}}
		b.run(3 * time.Second)
		b.expect(web, want)
		if n := b.counted(); n != 0 {
			t.Errorf("a restart took %d writes", n)
		}

		b.restart()
		b.unheard, b.leftOut = true, nil
		b.run(500*time.Millisecond, web)
		b.unheard = false // There is room by now.
		b.run(3 * time.Second)
		b.expect(web, "1/2 Ready=False/RollingOut Reconciling=True/RollingOut")
		b.node("n1", present(one, first), present(two, second))
		b.run(3*time.Second, web)
		b.expect(web, "2/2 Ready=True/Ready")
		if c := b.cache(web); len(c.Status.Failures) != 0 || c.Status.Images[0].Reason != "" {
			t.Errorf("%+v", c.Status)
		}
	})
}
