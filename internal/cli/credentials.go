// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	authsecrets "github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
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
	var secrets []corev1.Secret
	for _, n := range names {
		secret, err := client.CoreV1().Secrets(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("reading the Secret %s/%s: %w", n.namespace, n.name, err)
		}
		if secret.Type != corev1.SecretTypeDockerConfigJson && secret.Type != corev1.SecretTypeDockercfg {
			return nil, fmt.Errorf("the Secret %s/%s is of type %s; one with registry credentials is of type %s", n.namespace, n.name, secret.Type, corev1.SecretTypeDockerConfigJson)
		}
		secrets = append(secrets, *secret)
	}
	chain, err := authsecrets.NewFromPullSecrets(ctx, secrets)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	return chain, nil
}

// credentials are those for just the repositories that are asked for: a node is told of no others. warnings are told
// and hold up nothing, since the nodes may have credentials of their own.
func credentials(chain authn.Keychain, refs []oci.Ref) (found map[string]engine.Credentials, warnings []string) {
	found = map[string]engine.Credentials{}
	for _, ref := range refs {
		repository, err := name.NewRepository(ref.Repository())
		if err != nil {
			continue // It is none that credentials could be kept for.
		}
		auth, err := chain.Resolve(repository)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("no credentials for %s: %s", ref.Registry(), err))
			continue
		}
		config, err := auth.Authorization()
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("no credentials for %s: %s", ref.Registry(), err))
			continue
		}
		c := engine.Credentials{Username: config.Username, Password: config.Password, IdentityToken: config.IdentityToken}
		switch {
		case c != (engine.Credentials{}):
			found[ref.Repository()] = c
		case config.RegistryToken != "":
			warnings = append(warnings, fmt.Sprintf("the credentials for %s are a bare registry token, which runtimes do not take", ref.Registry()))
		}
	}
	return found, warnings
}
