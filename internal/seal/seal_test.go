// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package seal_test

import (
	"bytes"
	"testing"

	"orlop.dev/orlop/internal/seal"
)

func newKey(t *testing.T) *seal.Key {
	t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestOnlyTheNodeItselfOpens(t *testing.T) {
	binding := seal.Binding{NodeUID: "n1", StoreUID: "s1", SecretUID: "x1", Registry: "ghcr.io"}
	plain := []byte(`{"username":"lab","password":"swordfish"}`)
	key := newKey(t)
	sealed, err := seal.Seal(key.Public(), plain, binding)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("swordfish")) {
		t.Error("the password stands in the envelope")
	}
	opened, err := key.Open(sealed, binding)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(opened, plain) {
		t.Errorf("opened %q", opened)
	}

	if _, err := newKey(t).Open(sealed, binding); err == nil {
		t.Error("another key opened it")
	}
	for name, other := range map[string]seal.Binding{
		"another node":     {NodeUID: "n2", StoreUID: "s1", SecretUID: "x1", Registry: "ghcr.io"},
		"another store":    {NodeUID: "n1", StoreUID: "s2", SecretUID: "x1", Registry: "ghcr.io"},
		"another secret":   {NodeUID: "n1", StoreUID: "s1", SecretUID: "x2", Registry: "ghcr.io"},
		"another registry": {NodeUID: "n1", StoreUID: "s1", SecretUID: "x1", Registry: "evil.example"},
		"shifted parts":    {NodeUID: "n1/2:s1", StoreUID: "x1", SecretUID: "ghcr.io"},
	} {
		if _, err := key.Open(sealed, other); err == nil {
			t.Errorf("it opened under the binding of %s", name)
		}
	}
}

func TestKeysHaveNamesOfTheirOwn(t *testing.T) {
	a, b := newKey(t), newKey(t)
	if a.ID() == b.ID() {
		t.Error("two keys have one name")
	}
	if a.ID() != seal.ID(a.Public()) {
		t.Error("the name is not that of the public half")
	}
}

func TestAKeyThatIsNoneIsRefused(t *testing.T) {
	if _, err := seal.Seal([]byte("no point"), []byte("x"), seal.Binding{}); err == nil {
		t.Error("sealed to what is no key")
	}
}
