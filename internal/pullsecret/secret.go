// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package pullsecret reads the Secrets that hold credentials for registries.
package pullsecret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	authsecrets "github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Secret is one state of a Secret with credentials.
type Secret struct {
	Namespace, Name, UID, ResourceVersion string

	chain authn.Keychain
}

// Read reads the credentials of a Secret, and refuses one that has none.
func Read(secret *corev1.Secret) (Secret, error) {
	where := secret.Namespace + "/" + secret.Name
	var entries int
	var err error
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var config struct {
			Auths map[string]json.RawMessage `json:"auths"`
		}
		err = json.Unmarshal(orEmpty(secret.Data[corev1.DockerConfigJsonKey]), &config)
		entries = len(config.Auths)
	case corev1.SecretTypeDockercfg:
		var config map[string]json.RawMessage
		err = json.Unmarshal(orEmpty(secret.Data[corev1.DockerConfigKey]), &config)
		entries = len(config)
	default:
		return Secret{}, fmt.Errorf("the Secret %s is of type %s; one with registry credentials is of type %s", where, secret.Type, corev1.SecretTypeDockerConfigJson)
	}
	if err == nil && entries == 0 {
		return Secret{}, fmt.Errorf("the Secret %s holds no credentials for any registry", where)
	}
	// One at a time: NewFromPullSecrets mixes up the entries of several.
	var chain authn.Keychain
	if err == nil {
		chain, err = authsecrets.NewFromPullSecrets(context.Background(), []corev1.Secret{*secret})
	}
	if err != nil {
		return Secret{}, fmt.Errorf("reading the credentials of the Secret %s: %w", where, err)
	}
	return Secret{Namespace: secret.Namespace, Name: secret.Name, UID: string(secret.UID), ResourceVersion: secret.ResourceVersion, chain: chain}, nil
}

func orEmpty(data []byte) []byte {
	if len(data) == 0 {
		return []byte("{}")
	}
	return data
}

// Credentials are those that the Secret has for the image's repository; ok is false if it has none that a runtime takes.
func (s Secret) Credentials(ref oci.Ref) (found engine.Credentials, ok bool) {
	found, err := Lookup(s.chain, ref)
	return found, err == nil && found != engine.Credentials{}
}

// Keychain is the Secrets as one: the first that has credentials counts.
func Keychain(secrets []Secret) authn.Keychain {
	chains := make([]authn.Keychain, len(secrets))
	for i, secret := range secrets {
		chains[i] = secret.chain
	}
	return authn.NewMultiKeychain(chains...)
}

// Lookup finds the credentials for an image's repository, none if the chain has none.
func Lookup(chain authn.Keychain, ref oci.Ref) (engine.Credentials, error) {
	repository, err := name.NewRepository(ref.Repository())
	if err != nil {
		return engine.Credentials{}, nil //nolint:nilerr // It is none that credentials could be kept for.
	}
	auth, err := chain.Resolve(repository)
	if err != nil {
		return engine.Credentials{}, err
	}
	config, err := auth.Authorization()
	if err != nil {
		return engine.Credentials{}, err
	}
	found := engine.Credentials{Username: config.Username, Password: config.Password, IdentityToken: config.IdentityToken}
	if found == (engine.Credentials{}) && config.RegistryToken != "" {
		return found, errBareToken
	}
	return found, nil
}

var errBareToken = errors.New("they are a bare registry token, which runtimes do not take")
