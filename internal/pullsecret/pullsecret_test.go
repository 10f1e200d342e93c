// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package pullsecret_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/internal/demand"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/pullsecret"
)

// cluster is a client.Reader that counts.
type cluster struct {
	client.Reader // nil: nothing else may be called
	secrets       map[string]*corev1.Secret
	accounts      map[string]*corev1.ServiceAccount
	err           error
	gets          int
}

func (c *cluster) Get(_ context.Context, key types.NamespacedName, obj client.Object, _ ...client.GetOption) error {
	c.gets++
	if c.err != nil {
		return c.err
	}
	switch obj := obj.(type) {
	case *corev1.Secret:
		if found := c.secrets[key.Name]; found != nil {
			found.DeepCopyInto(obj)
			return nil
		}
	case *corev1.ServiceAccount:
		if found := c.accounts[key.Name]; found != nil {
			found.DeepCopyInto(obj)
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, key.Name)
}

func secret(name, version, config string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), ResourceVersion: version},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)},
	}
}

func ref(t *testing.T, s string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const ghcr = `{"auths":{"ghcr.io":{"username":"ann","password":"one"}}}`

func cache(account string, secrets ...string) pullsecret.Holder {
	c := demand.Cache{Key: types.NamespacedName{Namespace: "shop", Name: "web"}, Secrets: secrets, ServiceAccount: account}
	return pullsecret.Of(&c)
}

func TestWhatACacheGets(t *testing.T) {
	opaque := secret("opaque", "1", ghcr)
	opaque.Type = corev1.SecretTypeOpaque
	old := secret("old", "1", "")
	old.Type, old.Data = corev1.SecretTypeDockercfg, map[string][]byte{corev1.DockerConfigKey: []byte(`{"quay.io":{"auth":"Ym9iOnR3bw=="}}`)}
	objects := cluster{
		secrets: map[string]*corev1.Secret{
			"good": secret("good", "1", ghcr), "old": old, "opaque": opaque, "empty": secret("empty", "1", `{"auths":{}}`), "torn": secret("torn", "1", `{"auths":`),
			"bare": secret("bare", "1", `{"auths":{"ghcr.io":{"registrytoken":"x"}}}`),
		},
		accounts: map[string]*corev1.ServiceAccount{"builder": {ImagePullSecrets: []corev1.LocalObjectReference{{Name: "old"}, {Name: "none"}}}},
	}
	type given struct {
		Names    []string
		Problems []string
		GHCR     engine.Credentials
	}
	ann := engine.Credentials{Username: "ann", Password: "one"}
	for name, tc := range map[string]struct {
		cache pullsecret.Holder
		want  given
	}{
		"named":            {cache("builder", "good"), given{Names: []string{"good"}, GHCR: ann}},
		"of the account":   {cache("builder"), given{Names: []string{"old"}, Problems: []string{"shop/none: the Secret shop/none does not exist"}}},
		"no default":       {cache("default"), given{}},
		"no such account":  {cache("ghost"), given{Problems: []string{": the ServiceAccount shop/ghost does not exist"}}},
		"none":             {cache(""), given{}},
		"wrong type":       {cache("", "opaque", "good"), given{Names: []string{"good"}, GHCR: ann, Problems: []string{"shop/opaque: the Secret shop/opaque is of type Opaque; one with registry credentials is of type kubernetes.io/dockerconfigjson"}}},
		"no credentials":   {cache("", "empty"), given{Problems: []string{"shop/empty: the Secret shop/empty holds no credentials for any registry"}}},
		"torn":             {cache("", "torn"), given{Problems: []string{"shop/torn: reading the credentials of the Secret shop/torn: unexpected end of JSON input"}}},
		"nothing to serve": {cache("", "bare"), given{Names: []string{"bare"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got given
			secrets, problems := pullsecret.New(&objects).For(t.Context(), tc.cache)
			for _, s := range secrets {
				got.Names = append(got.Names, s.Name)
				if found, ok := s.Credentials(ref(t, "ghcr.io/acme/web:1")); ok {
					got.GHCR = found
				}
			}
			for _, p := range problems {
				got.Problems = append(got.Problems, p.Secret+": "+p.Message)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeychainTakesTheFirstThatHasCredentials(t *testing.T) {
	objects := cluster{secrets: map[string]*corev1.Secret{"a": secret("a", "1", `{"auths":{"quay.io":{"username":"q","password":"p"}}}`), "b": secret("b", "1", ghcr)}}
	secrets, _ := pullsecret.New(&objects).For(t.Context(), cache("", "a", "b"))
	for image, want := range map[string]string{"ghcr.io/acme/web:1": "ann", "quay.io/acme/web:1": "q", "registry.example/x:1": ""} {
		got, err := pullsecret.Lookup(pullsecret.Keychain(secrets), ref(t, image))
		if err != nil || got.Username != want {
			t.Errorf("%s: %q, %v", image, got.Username, err)
		}
	}
}

func TestHowLongASecretIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := cluster{secrets: map[string]*corev1.Secret{}}
		source := pullsecret.New(&objects)
		versions := func() (all string) {
			secrets, problems := source.For(t.Context(), cache("", "reg"))
			for _, s := range secrets {
				all += s.ResourceVersion
			}
			for _, p := range problems {
				all += "!" + p.Secret
			}
			return all
		}
		steps := []struct {
			after time.Duration
			set   *corev1.Secret
			err   error
			doubt bool
			want  string
			gets  int
		}{
			{want: "!shop/reg", gets: 1},
			{after: 9 * time.Second, set: secret("reg", "1", ghcr), want: "!shop/reg", gets: 1},
			{after: 2 * time.Second, want: "1", gets: 2},
			{after: 50 * time.Second, set: secret("reg", "2", ghcr), want: "1", gets: 2},
			{after: 11 * time.Second, want: "2", gets: 3},
			{after: 5 * time.Second, set: secret("reg", "3", ghcr), doubt: true, want: "2", gets: 3},
			{after: 6 * time.Second, want: "3", gets: 4},
			{after: 61 * time.Second, err: errors.New("connection refused"), want: "3", gets: 5},
			{after: 11 * time.Second, err: apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "reg", nil), want: "!shop/reg", gets: 6},
			{after: 11 * time.Second, want: "3", gets: 7},
		}
		for i, step := range steps {
			time.Sleep(step.after)
			if step.set != nil {
				objects.secrets["reg"] = step.set
			}
			objects.err = step.err
			if step.doubt {
				source.Doubt(cache("", "reg"))
			}
			if got := versions(); got != step.want || objects.gets != step.gets {
				t.Errorf("step %d: %s after %d gets; want %s after %d", i, got, objects.gets, step.want, step.gets)
			}
		}
	})
}

func TestAFailureToReadSaysSo(t *testing.T) {
	objects := cluster{err: apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "reg", errors.New("no right"))}
	_, problems := pullsecret.New(&objects).For(t.Context(), cache("", "reg"))
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "forbidden") {
		t.Errorf("%v", problems)
	}
}
