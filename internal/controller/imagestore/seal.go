// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/seal"
)

// The bounds of what is sealed for one node, and of one envelope as the schema has it. Credentials of a cloud's registry take
// 3 KB: maxSealedBytes is for them in any case, and what the images leave of their room.
const (
	maxSealed      = 256
	maxSealedBytes = 24 << 10
	maxEnvelope    = 16384
	maxPerImage    = 32
)

// safe is what is sealed for a node: the envelopes, which images refer to by name.
type safe struct {
	view    *view
	secrets keys
	// key is what to seal to; nil: the agent has published none, or another node's agent has.
	key       *v1alpha1.SealingKey
	stands    map[string]*v1alpha1.SealedCredentials
	envelopes map[string]v1alpha1.SealedCredentials
	room      int
	left      map[string]bool // those that found none
}

// credentials names for each entry the envelopes to open, and gives the envelopes. One that stands is left as it is while
// the agent's key and the Secret are the same. Where there is no key yet the names are there without them, so that the agent waits.
// One that finds no room is not named: the agent would wait for ever, and with it those who wait for its turn.
func (v *view) credentials(entries []v1alpha1.StoreImage, secrets keys) (_ []v1alpha1.SealedCredentials, left int, _ error) {
	s := &safe{
		view: v, secrets: secrets, room: maxSealedBytes + max(0, roomBeside(entries).bytes-v.jobs.weight()), left: map[string]bool{},
		stands: map[string]*v1alpha1.SealedCredentials{}, envelopes: map[string]v1alpha1.SealedCredentials{},
	}
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
			return nil, 0, err
		}
		entries[i].Credentials = names
	}
	if err := s.forJobs(); err != nil {
		return nil, 0, err
	}
	sealed := make([]v1alpha1.SealedCredentials, 0, len(s.envelopes))
	for _, e := range s.envelopes {
		sealed = append(sealed, e)
	}
	slices.SortFunc(sealed, func(a, b v1alpha1.SealedCredentials) int { return strings.Compare(a.Name, b.Name) })
	return sealed, len(s.left), nil
}

func (s *safe) forImage(w *want) (names []string, err error) {
	for _, c := range w.caches {
		for i := range s.secrets.caches[c.Key] {
			if names, err = s.name(names, &s.secrets.caches[c.Key][i], w.ref); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// name adds the envelope with what the Secret has for the image, if it has anything, and that finds room.
func (s *safe) name(names []string, secret *pullsecret.Secret, ref oci.Ref) ([]string, error) {
	credentials, ok := secret.Credentials(ref)
	if !ok {
		return names, nil
	}
	name := envelopeName(secret, scope(secret, ref, credentials))
	if slices.Contains(names, name) || len(names) == maxPerImage {
		return names, nil
	}
	fits, err := s.put(name, secret, ref.Registry(), credentials)
	if err != nil || !fits {
		return names, err
	}
	return append(names, name), nil
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

// put makes sure of an envelope, if there is a key and room.
func (s *safe) put(name string, secret *pullsecret.Secret, registry string, credentials engine.Credentials) (fits bool, err error) {
	if _, ok := s.envelopes[name]; ok || s.key == nil {
		return true, nil
	}
	if s.left[name] {
		return false, nil
	}
	stands := s.stands[name]
	if stands == nil || stands.KeyID != s.key.ID || stands.SecretUID != secret.UID || stands.SecretResourceVersion != secret.ResourceVersion {
		plain, err := json.Marshal(credentials)
		if err != nil {
			return false, fmt.Errorf("writing credentials for %s: %w", registry, err)
		}
		sealed, err := seal.Seal(s.key.Public, plain, seal.Binding{
			NodeUID: string(s.view.node.UID), StoreUID: string(s.view.store.UID), SecretUID: secret.UID, Registry: registry,
		})
		if err != nil {
			return false, err
		}
		stands = &v1alpha1.SealedCredentials{
			Name: name, KeyID: s.key.ID, Registry: registry, Secret: secret.Namespace + "/" + secret.Name,
			SecretUID: secret.UID, SecretResourceVersion: secret.ResourceVersion, Sealed: sealed,
		}
	}
	encoded := base64.StdEncoding.EncodedLen(len(stands.Sealed))
	if len(s.envelopes) == maxSealed || encoded > maxEnvelope || encoded+envelopeBytes > s.room {
		s.left[name] = true
		return false, nil
	}
	s.room -= encoded + envelopeBytes
	s.envelopes[name] = *stands
	return true, nil
}

// envelopeBytes is what an envelope takes beside what is sealed.
const envelopeBytes = 300
