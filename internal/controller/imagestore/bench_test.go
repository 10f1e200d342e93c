// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package imagestore

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/pullsecret"
	"orlop.dev/orlop/internal/seal"
)

// What one look at a node costs: 500 images with credentials, all there.
func BenchmarkLook(b *testing.B) {
	facts := map[string]string{}
	var images []string
	var status []v1alpha1.StoreImageStatus
	for i := range 500 {
		image := fmt.Sprintf("ghcr.io/acme/backend-%03d:v1", i)
		images = append(images, image)
		facts[image] = one
		status = append(status, record(image, one, v1alpha1.ImagePresent))
	}
	secret, err := pullsecret.Read(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "reg", UID: "uid", ResourceVersion: "1"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"ghcr.io":{"username":"ann","password":"pw"}}}`)},
	})
	if err != nil {
		b.Fatal(err)
	}
	key, err := seal.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	v := row{caches: []*v1alpha1.ImageCache{cacheOf("x", images...)}, facts: facts, status: status}.view(b)
	in := v.input
	in.store.UID, in.store.Status.NodeUID, in.store.Status.Key = "s", string(in.node.UID), &v1alpha1.SealingKey{ID: key.ID(), Public: key.Public()}
	found := map[types.NamespacedName][]pullsecret.Secret{in.caches[0].Key: {secret}}
	for b.Loop() {
		v := look(in)
		granted, _, _ := newTurns().Update("n", v.asks(), metav1.Now().Time)
		entries := v.images(granted)
		if in.store.Spec.Credentials, _, err = v.credentials(entries, keys{caches: found}); err != nil || len(in.store.Spec.Credentials) != 1 {
			b.Fatal(in.store.Spec.Credentials, err)
		}
		in.store.Spec.Images = entries
	}
}
