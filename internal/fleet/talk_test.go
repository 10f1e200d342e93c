// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"io"
	"strings"
	"testing"

	"orlop.dev/orlop/internal/session"
)

// endless never comes to the end of what it says.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestAnswerTooLargeToRead(t *testing.T) {
	node := &talk{heard: make(chan session.Message)}
	err := node.listen(t.Context(), io.MultiReader(strings.NewReader(`{"step":{"asked":"`), endless{}))
	if err == nil || !strings.Contains(err.Error(), "larger than 32 MB") {
		t.Errorf("error %v", err)
	}
}
