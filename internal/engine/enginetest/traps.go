// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package enginetest

// Traps are what real runtimes do to those who believe them, each of RUNTIMES.md. An adapter hides those that it can;
// here they are switched on behind the port, so that whoever uses it meets a runtime whose adapter missed one.
type Traps struct {
	// ListFails: one corrupt image makes the whole list fail (CRI-O).
	ListFails bool
	// ListShort: the list leaves out half of the images, and says OK (containerd, where a config blob is missing).
	ListShort bool
	// ListLags: this many lists after a change still show what was before (containerd, whose CRI plugin learns by events).
	ListLags int
	// UsesRunningOnly: containers that do not run are not told (a list of containers without "all").
	UsesRunningOnly bool

	// PullNoEffect: OK, and no image (Docker, whose error is inside the stream of a 200).
	PullNoEffect bool
	// PullDropsTag: a pull by tag and digest leaves the digest's name alone (containerd, CRI-O).
	PullDropsTag bool
	// PullIgnoresDigest: a pull by tag and digest brings what the tag names now (a pull by tag, unchecked).
	PullIgnoresDigest bool
	// PullForgetsOld: the image that a moved tag named before is not listed any more.
	PullForgetsOld bool

	// RemoveNoEffect: OK, and all is still there (CRI-O for sha256: and for repo@digest, cri-dockerd for tags).
	RemoveNoEffect bool
	// RemoveTakesAll: a removal of one tag takes every name of the image (CRI's RemoveImage on containerd).
	RemoveTakesAll bool
	// RemoveLeavesUntagged: the image loses its names and stays as <none> (Docker's containerd store, forced).
	RemoveLeavesUntagged bool
	// RemoveHalfWay: the first name goes, then the rest is refused as in use (cri-dockerd).
	RemoveHalfWay bool
	// RemoveGoneFails: removing what is gone is an error (Docker's 404).
	RemoveGoneFails bool
	// RemoveIgnoresUse: what is in use goes without a word (containerd, by itself; Docker and CRI-O never).
	RemoveIgnoresUse bool

	// PinDropped: a second pull of the tag drops its pin (containerd, for a pin on the tag's record).
	PinDropped bool
	// RestoreLosesPin: what a batch gives back has its names and not its pins.
	RestoreLosesPin bool
	// CloseKeepsContent: a batch ends and its content stays, until some later collection (containerd, asynchronous).
	CloseKeepsContent bool
}
