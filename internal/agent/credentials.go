// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/seal"
)

// sealedAs are the credentials of that name in the store; nil: they have not come yet.
func (a *Agent) sealedAs(name string) *v1alpha1.SealedCredentials {
	if i := slices.IndexFunc(a.store.Spec.Credentials, func(c v1alpha1.SealedCredentials) bool { return c.Name == name }); i >= 0 {
		return &a.store.Spec.Credentials[i]
	}
	return nil
}

// sealed is why the credentials of an entry cannot be opened yet; empty where they can, or none are named.
func (a *Agent) sealed(e v1alpha1.StoreImage) string {
	for _, name := range e.Credentials {
		switch c := a.sealedAs(name); {
		case c == nil:
			return "its credentials have not come yet"
		case c.KeyID != a.key.ID():
			return "its credentials are sealed to the key that the agent had before its restart"
		}
	}
	return ""
}

// credentials opens those of an entry, in their order. What does not open is left out, and told.
func (a *Agent) credentials(e v1alpha1.StoreImage) (logins []engine.Credentials, unread error) {
	for _, name := range e.Credentials {
		c := a.sealedAs(name)
		if c == nil {
			continue
		}
		login, err := a.open(c, e)
		if err != nil {
			unread = errors.Join(unread, err)
			continue
		}
		logins = append(logins, login)
	}
	return logins, unread
}

func (a *Agent) open(c *v1alpha1.SealedCredentials, e v1alpha1.StoreImage) (login engine.Credentials, err error) {
	ref, err := wantNamed(e.Image, "")
	if err != nil {
		return login, err
	}
	if ref.Registry() != c.Registry {
		return login, fmt.Errorf("the credentials of %s are for %s, and not for %s", c.Secret, c.Registry, ref.Registry())
	}
	plain, err := a.key.Open(c.Sealed, seal.Binding{
		NodeUID: a.cfg.NodeUID, StoreUID: string(a.store.UID), SecretUID: c.SecretUID, Registry: c.Registry,
	})
	if err != nil {
		return login, err
	}
	if json.Unmarshal(plain, &login) != nil { // Its error would repeat the text.
		return login, fmt.Errorf("the credentials of %s cannot be read", c.Secret)
	}
	return login, nil
}

// NodeUID takes the node's uid from the token of the agent's ServiceAccount, which the API server binds to the node. It is not
// verified, since it is only published: who says so is what the API server verifies.
func NodeUID(token string) (string, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return "", errors.New("the ServiceAccount's token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errors.New("the ServiceAccount's token is no JWT")
	}
	var claims struct {
		Kubernetes struct {
			Node struct{ Name, UID string } `json:"node"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", errors.New("the ServiceAccount's token is no JWT")
	}
	if claims.Kubernetes.Node.UID == "" {
		return "", errors.New("the ServiceAccount's token is not bound to a node: Kubernetes 1.32 or newer does so")
	}
	return claims.Kubernetes.Node.UID, nil
}
