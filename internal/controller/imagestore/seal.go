// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/seal"
)

// The bounds of what is sealed for one node. Credentials of a cloud's registry take 3 KB.
const (
	maxSealed      = 256
	maxSealedBytes = 24 << 10
	maxPerImage    = 32
)

// safe is what is sealed for a node: the envelopes, which images refer to by name.
type safe struct {
	view    *view
	secrets map[types.NamespacedName][]pullsecret.Secret
	// key is what to seal to; nil: the agent has published none, or another node's agent has.
	key       *v1alpha1.SealingKey
	stands    map[string]*v1alpha1.SealedCredentials
	envelopes map[string]v1alpha1.SealedCredentials
	bytes     int
}

// credentials names for each entry the envelopes to open, and gives the envelopes. One that stands is left as it is while
// the agent's key and the Secret are the same. Where there is no key yet the names are there without them, so that the agent waits.
func (v *view) credentials(entries []v1alpha1.StoreImage, secrets map[types.NamespacedName][]pullsecret.Secret) ([]v1alpha1.SealedCredentials, error) {
	s := &safe{view: v, secrets: secrets, stands: map[string]*v1alpha1.SealedCredentials{}, envelopes: map[string]v1alpha1.SealedCredentials{}}
	if v.store.UID != "" && v.store.Status.NodeUID == string(v.node.UID) {
		s.key = v.store.Status.Key
	}
	for i := range v.store.Spec.Credentials {
		s.stands[v.store.Spec.Credentials[i].Name] = &v.store.Spec.Credentials[i]
	}
	wants := map[string]*want{}
	for _, w := range v.wants {
		wants[w.image] = w
	}
	for i := range entries {
		w := wants[entries[i].Image]
		if w == nil || entries[i].Released {
			continue
		}
		names, err := s.forImage(w)
		if err != nil {
			return nil, err
		}
		entries[i].Credentials = names
	}
	sealed := make([]v1alpha1.SealedCredentials, 0, len(s.envelopes))
	for _, e := range s.envelopes {
		sealed = append(sealed, e)
	}
	slices.SortFunc(sealed, func(a, b v1alpha1.SealedCredentials) int { return strings.Compare(a.Name, b.Name) })
	return sealed, nil
}

func (s *safe) forImage(w *want) (names []string, err error) {
	for _, c := range w.caches {
		for i := range s.secrets[c.Key] {
			secret := &s.secrets[c.Key][i]
			credentials, ok := secret.Credentials(w.ref)
			if !ok {
				continue
			}
			name := envelopeName(secret, scope(secret, w.ref, credentials))
			if slices.Contains(names, name) || len(names) == maxPerImage {
				continue
			}
			if err := s.put(name, secret, w.ref.Registry(), credentials); err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// scope is what the credentials are for: the whole registry, or, if the Secret has others for that, the repository.
func scope(secret *pullsecret.Secret, ref oci.Ref, credentials engine.Credentials) string {
	other, err := oci.Parse(ref.Registry() + "/orlop.dev/none")
	if err != nil {
		return ref.Repository()
	}
	if whole, ok := secret.Credentials(other); ok && whole == credentials {
		return ref.Registry()
	}
	return ref.Repository()
}

func envelopeName(secret *pullsecret.Secret, scope string) string {
	sum := sha256.Sum256([]byte(secret.Namespace + "/" + secret.Name + " " + scope))
	return hex.EncodeToString(sum[:8])
}

// put makes sure of an envelope, if there is a key.
func (s *safe) put(name string, secret *pullsecret.Secret, registry string, credentials engine.Credentials) error {
	if _, ok := s.envelopes[name]; ok || s.key == nil || len(s.envelopes) == maxSealed {
		return nil
	}
	stands := s.stands[name]
	if stands == nil || stands.KeyID != s.key.ID || stands.SecretUID != secret.UID || stands.SecretResourceVersion != secret.ResourceVersion {
		plain, err := json.Marshal(credentials)
		if err != nil {
			return fmt.Errorf("writing credentials for %s: %w", registry, err)
		}
		sealed, err := seal.Seal(s.key.Public, plain, seal.Binding{
			NodeUID: string(s.view.node.UID), StoreUID: string(s.view.store.UID), SecretUID: secret.UID, Registry: registry,
		})
		if err != nil {
			return err
		}
		stands = &v1alpha1.SealedCredentials{
			Name: name, KeyID: s.key.ID, Registry: registry, Secret: secret.Namespace + "/" + secret.Name,
			SecretUID: secret.UID, SecretResourceVersion: secret.ResourceVersion, Sealed: sealed,
		}
	}
	if s.bytes += len(stands.Sealed)*4/3 + 300; s.bytes > maxSealedBytes {
		return nil
	}
	s.envelopes[name] = *stands
	return nil
}
