// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"net/url"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"orlop.dev/orlop/internal/engine"
)

// asked is whether containerd would use the credentials at a host: with an address, only where that names just this host.
func asked(auth *cri.AuthConfig, host string) bool {
	if auth.GetServerAddress() == "" {
		return true
	}
	u, err := url.Parse(auth.GetServerAddress())
	return err == nil && u.Host == host
}

func TestCredentialsServeWhateverHostTheRuntimeAsks(t *testing.T) {
	auth := authOf(&engine.Credentials{Username: "me", Password: "secret"})
	for _, host := range []string{"registry-1.docker.io", "mirror.internal:5000", "reg.example"} {
		if !asked(auth, host) || auth.GetUsername() != "me" || auth.GetPassword() != "secret" {
			t.Errorf("at %s it would be asked as a stranger: %q", host, auth.GetServerAddress())
		}
	}
	if authOf(nil) != nil {
		t.Error("without credentials there is a login")
	}
	if token := authOf(&engine.Credentials{IdentityToken: "t"}); token.GetIdentityToken() != "t" || token.GetUsername() != "" {
		t.Errorf("of a token alone only that it is one may be told: user %q", token.GetUsername())
	}
}
