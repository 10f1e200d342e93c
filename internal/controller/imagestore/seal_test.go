// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/seal"
)

func TestSealing(t *testing.T) {
	secret := func(version string) []pullsecret.Secret {
		read, err := pullsecret.Read(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "reg", UID: "uid-secret", ResourceVersion: version},
			Type:       corev1.SecretTypeDockerConfigJson,
			Data:       map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"ghcr.io":{"username":"ann","password":"pw%s"},"ghcr.io/acme/other":{"username":"bob","password":"pw"}}}`, version)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return []pullsecret.Secret{read}
	}
	b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web, "ghcr.io/acme/third:1", other, "quay.io/public:1"))
	for _, image := range []string{web, "ghcr.io/acme/third:1", other, "quay.io/public:1"} {
		b.learn(image, one)
	}
	b.secrets = secret("1")
	b.reconcile("n1")
	named := func() string {
		var names []string
		for _, e := range b.store("n1").Spec.Images {
			names = append(names, strings.Join(e.Credentials, "+"))
		}
		return strings.Join(names, " ")
	}
	if got := strings.Fields(named()); len(got) != 3 || got[0] == got[1] || got[1] != got[2] || b.store("n1").Spec.Credentials != nil {
		t.Fatalf("names %q, envelopes %v", got, b.store("n1").Spec.Credentials)
	}
	publish := func(key *seal.Key, node string) {
		b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
			s.NodeUID, s.Key = node, &v1alpha1.SealingKey{ID: key.ID(), Public: key.Public()}
		})
	}
	newKey := func() *seal.Key {
		key, err := seal.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	opens := func(key *seal.Key, want ...string) {
		t.Helper()
		var got []string
		store := b.store("n1")
		for _, c := range store.Spec.Credentials {
			plain, err := key.Open(c.Sealed, seal.Binding{NodeUID: "uid-node", StoreUID: string(store.UID), SecretUID: "uid-secret", Registry: c.Registry})
			var credentials engine.Credentials
			if err := errors.Join(err, json.Unmarshal(plain, &credentials)); err != nil {
				t.Fatal(err)
			}
			got = append(got, credentials.Username+"/"+credentials.Password)
		}
		if !gocmp.Equal(want, got) && !gocmp.Equal([]string{want[1], want[0]}, got) {
			t.Errorf("%q; want %q", got, want)
		}
	}
	first := newKey()
	publish(first, "uid-another")
	b.quiet("n1")
	publish(first, "uid-node")
	b.reconcile("n1")
	opens(first, "ann/pw1", "bob/pw")
	b.quiet("n1")
	b.secrets = secret("2")
	b.reconcile("n1")
	opens(first, "ann/pw2", "bob/pw")
	second := newKey()
	publish(second, "uid-node")
	b.reconcile("n1")
	opens(second, "ann/pw2", "bob/pw")
	b.quiet("n1")
}

// A node waits for the envelopes that are named to it, and holds its turn meanwhile: none may be named that does not come.
func TestEveryEnvelopeThatIsNamedComes(t *testing.T) {
	for name, c := range map[string]struct {
		secrets, most, least int
	}{
		"a dozen tokens of a cloud's registry": {secrets: 12, least: 12, most: 12},
		"more than one object takes":           {secrets: 32, least: 12, most: 31},
	} {
		t.Run(name, func(t *testing.T) {
			size := 3 << 10
			if c.most < c.secrets {
				size = 8 << 10
			}
			b := newBench(t, nodeOf("n1"), agentOn("n1"), cacheOf("x", web))
			b.learn(web, one)
			for i := range c.secrets {
				read, err := pullsecret.Read(&corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprint("reg", i), UID: "uid-secret", ResourceVersion: "1"},
					Type:       corev1.SecretTypeDockerConfigJson,
					Data:       map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"ghcr.io":{"username":"ann","password":%q}}}`, strings.Repeat("x", size))},
				})
				if err != nil {
					t.Fatal(err)
				}
				b.secrets = append(b.secrets, read)
			}
			b.reconcile("n1")
			key, err := seal.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			b.answer("n1", func(s *v1alpha1.ImageStoreStatus) {
				s.NodeUID, s.Key = "uid-node", &v1alpha1.SealingKey{ID: key.ID(), Public: key.Public()}
			})
			b.reconcile("n1")
			store := b.store("n1")
			there := map[string]bool{}
			for _, e := range store.Spec.Credentials {
				there[e.Name] = true
			}
			for _, e := range store.Spec.Images[0].Credentials {
				if !there[e] {
					t.Errorf("%s is named, and is not there", e)
				}
			}
			if n := len(there); n < c.least || n > c.most {
				t.Errorf("%d envelopes of %d", n, c.secrets)
			}
			if size := len(encoded(t, store.Spec)); size > maxImageBytes+maxSealedBytes {
				t.Errorf("the spec takes %d bytes", size)
			}
			b.quiet("n1")
		})
	}
}
