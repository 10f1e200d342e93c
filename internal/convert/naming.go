// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long names may be: of objects at all, of NodeJobs, whose name becomes a label, and of what a schedule is, whose jobs add to it.
const (
	maxObjectName = 253
	maxJobName    = 63
	maxCronName   = 52
)

// named is the metadata of what a document becomes, and what is to be said of it.
type named struct {
	object metav1.ObjectMeta
	was    string
	limit  int
}

// metaOf is the metadata of what a document becomes. A name that is too long is shortened, with a piece of its hash, so that two of
// them stay two.
func metaOf(doc *Document, opts Options, row *Row, limit int) named {
	n := named{object: metadata(doc, row, opts), limit: limit}
	n.was = n.object.Name
	n.object.Name = shortened(n.was, limit)
	if n.object.Name != n.was {
		row.Note("the name is shortened to %d characters: %s", limit, n.object.Name)
	}
	return n
}

const hashLength = 8

func shortened(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:limit-hashLength-1], "-.") + "-" + hex.EncodeToString(sum[:])[:hashLength]
}

// numbered is the name of the i-th object of several, from 0.
func numbered(name string, i, limit int) string {
	if i == 0 {
		return name
	}
	suffix := fmt.Sprintf("-%d", i+1)
	return shortened(name, limit-len(suffix)) + suffix
}

// review says that the name is another.
func (n named) review(draft *Draft) {
	if n.object.Name != n.was {
		draft.Review("metadata.name", "it was %s: a name here has at most %d characters", n.was, n.limit)
	}
}
