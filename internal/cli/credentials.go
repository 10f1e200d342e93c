// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
)

// secretName is a Secret that holds credentials for registries.
type secretName struct{ namespace, name string }

func parseSecret(text string) (secretName, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return secretName{}, fmt.Errorf("--secret %q: write it as NAMESPACE/NAME", text)
	}
	return secretName{namespace, name}, nil
}

// keychain finds credentials in the Secrets, or, if none are named, where docker login has put them.
func keychain(ctx context.Context, client kubernetes.Interface, names []secretName) (authn.Keychain, error) {
	if len(names) == 0 {
		return authn.DefaultKeychain, nil
	}
	var secrets []pullsecret.Secret
	for _, n := range names {
		secret, err := client.CoreV1().Secrets(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("reading the Secret %s/%s: %w", n.namespace, n.name, err)
		}
		read, err := pullsecret.Read(secret) //nolint:contextcheck // It asks nobody.
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, read)
	}
	return pullsecret.Keychain(secrets), nil
}

// credentials are those for just the repositories that are asked for: a node is told of no others. warnings are told
// and hold up nothing, since the nodes may have credentials of their own.
func credentials(chain authn.Keychain, refs []oci.Ref) (found map[string]engine.Credentials, warnings []string) {
	found = map[string]engine.Credentials{}
	for _, ref := range refs {
		c, err := pullsecret.Lookup(chain, ref)
		switch {
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("no credentials for %s: %s", ref.Registry(), err))
		case c != (engine.Credentials{}):
			found[ref.Repository()] = c
		}
	}
	return found, warnings
}
