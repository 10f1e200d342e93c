// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package seal carries credentials from the controller to one node and to nobody else. Everything that is sealed stands in an
// object that every agent may read; only the process that made the key can open it. It is HPKE (RFC 9180) with DHKEM(P-256),
// HKDF-SHA256 and AES-256-GCM.
package seal

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Binding is what an envelope is for. One that is opened under another binding does not open: an envelope that was
// copied to another node's object, to a node made anew under the same name, or to another Secret's name is worth nothing.
type Binding struct {
	NodeUID, StoreUID, SecretUID string
	// Registry is the host that the credentials may be sent to.
	Registry string
}

// info is the binding as HPKE's info: each part with its length before it, so that no two bindings look alike.
func (b Binding) info() []byte {
	info := []byte("orlop.dev/credentials/v1")
	for _, part := range []string{b.NodeUID, b.StoreUID, b.SecretUID, b.Registry} {
		info = fmt.Appendf(info, "/%d:%s", len(part), part)
	}
	return info
}

// Key opens what is sealed to it. It lives in memory alone.
type Key struct {
	private hpke.PrivateKey
	public  []byte
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	secret, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	private, err := hpke.NewDHKEMPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &Key{private: private, public: secret.PublicKey().Bytes()}, nil
}

// Public is the half to publish: an uncompressed point of P-256.
func (k *Key) Public() []byte { return k.public }

// ID names the key.
func (k *Key) ID() string { return ID(k.public) }

// ID names the key with this public half: the beginning of its SHA-256, in hex.
func ID(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:16])
}

// Open gives what Seal was given, if it was sealed to this key and under this binding.
func (k *Key) Open(sealed []byte, b Binding) ([]byte, error) {
	plain, err := hpke.Open(k.private, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), sealed)
	if err != nil {
		return nil, fmt.Errorf("opening credentials for %s: %w", b.Registry, err)
	}
	return plain, nil
}

// Seal closes plain so that only the key with this public half opens it, under the same binding.
func Seal(public, plain []byte, b Binding) ([]byte, error) {
	point, err := ecdh.P256().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("reading the node's key: %w", err)
	}
	key, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		return nil, fmt.Errorf("reading the node's key: %w", err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), plain)
	if err != nil {
		return nil, fmt.Errorf("sealing credentials for %s: %w", b.Registry, err)
	}
	return sealed, nil
}
