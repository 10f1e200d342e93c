// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/seal"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// secret is a Secret with a password for the private registry.
func secret(name, password string) string {
	auth := base64.StdEncoding.EncodeToString([]byte(lab.PrivateUser + ":" + password))
	config, _ := json.Marshal(map[string]any{"auths": map[string]any{lab.PrivateHost: map[string]any{"auth": auth}}})
	object, _ := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "default"},
		"type": "kubernetes.io/dockerconfigjson", "stringData": map[string]any{".dockerconfigjson": string(config)}})
	return string(object)
}

// TestPrivateRegistry: a Secret that is missing, then wrong, then right.
func TestPrivateRegistry(t *testing.T) {
	name := lab.PrivateHost + "/secret/web:1"
	digest := here.PushSpec(t, name, lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10}}})
	kept(t, "private", map[string]any{"images": images(name), "imagePullSecrets": []any{map[string]any{"name": "regcred"}}})
	c := settled(t, "private", "stalled", func(c v1alpha1.ImageCache) bool {
		return condition(c, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue
	})
	if words, _ := json.Marshal(c.Status); !strings.Contains(string(words), "regcred") {
		t.Errorf("status does not name the Secret: %s", words)
	}

	here.Apply(t, secret("regcred", "wrong"))
	settled(t, "private", "refused", func(c v1alpha1.ImageCache) bool {
		return slices.ContainsFunc(c.Status.Failures, func(f v1alpha1.CacheFailure) bool { return f.Reason == "Unauthorized" })
	})

	here.KubectlReads(t, secret("regcred", lab.PrivatePassword), "apply", "-f", "-").Want(t, 0)
	c = ready(t, "private")
	if c.Status.Images[0].Digest != digest {
		t.Errorf("the digest is %s, want %s", c.Status.Images[0].Digest, digest)
	}
	onNodes(t, name, nodes...)

	t.Run("an agent that starts anew gets them anew", func(t *testing.T) {
		before := storeOf(t, "node1")
		killPods(t, agentPod(t, "node1"))
		stage.Eventually(t, "the credentials are sealed to the new key", func() (bool, string) {
			store := storeOf(t, "node1")
			if store.Status.Key == nil || store.Status.Key.ID == before.Status.Key.ID {
				return false, "the key is the old one"
			}
			for _, c := range store.Spec.Credentials {
				if c.KeyID != store.Status.Key.ID {
					return false, "an envelope for the old key is left"
				}
			}
			return true, ""
		})
		if _, err := here.Lab(t).Crictl(t.Context(), "node1", "rmi", name); err != nil {
			t.Fatal(err)
		}
		onNodes(t, name, nodes...)
	})
	t.Run("nothing readable stands in a store", func(t *testing.T) {
		text := kubectl(t, "get", "imagestores", "-o", "json")
		encoded := base64.StdEncoding.EncodeToString([]byte(lab.PrivateUser + ":" + lab.PrivatePassword))
		for _, needle := range []string{lab.PrivatePassword, encoded} {
			if strings.Contains(text, needle) {
				t.Errorf("the password can be read: %s", needle)
			}
		}
	})
	t.Run("a stolen token", stolenToken)
}

// stolenToken takes the token of a running agent and tries what a thief would.
func stolenToken(t *testing.T) {
	token := tokenOf(t, "node1")
	thief := func(args ...string) stage.Answer {
		c := here.Lab(t)
		server := kubectl(t, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
		return stage.Run(t, command(t, c.Program("kubectl"), append([]string{"--kubeconfig=/dev/null", "--server", server, "--insecure-skip-tls-verify", "--token", token}, args...)...))
	}
	if who := thief("auth", "whoami", "-o", "json"); !strings.Contains(who.Out, "system:serviceaccount:"+system+":orlop-agent") || !strings.Contains(who.Out, "node1") {
		t.Fatalf("the token is not that of node1's agent: %s", who)
	}
	patch := func(path, body string) stage.Answer { return patchAs(t, token, path, body) }
	patch("imagestores/node1/status", `{"status":{"agentVersion":"stolen"}}`).Want(t, 0)
	refused := map[string]stage.Answer{
		"another node's store":      patch("imagestores/node2/status", `{"status":{"agentVersion":"stolen"}}`),
		"another node's inventory":  patch("imageinventories/node2/status", `{"status":{"imageCount":0}}`),
		"its own spec":              patch("imagestores/node1", `{"spec":{"retire":true}}`),
		"a Secret":                  thief("get", "secret", "regcred", "-n", "default"),
		"all Secrets":               thief("get", "secrets", "-A"),
		"pods":                      thief("get", "pods", "-A"),
		"making a store":            thief("create", "-f", "-", "--dry-run=server", "--validate=false"),
		"deleting a store":          thief("delete", "imagestore", "node2", "--wait=false"),
		"deleting its own store":    thief("delete", "imagestore", "node1", "--wait=false"),
		"a cache":                   thief("delete", "imagecache", "private", "-n", "default", "--wait=false"),
		"making a token for itself": thief("create", "token", "orlop-agent", "-n", system),
	}
	for what, answer := range refused {
		if answer.Code == 0 {
			t.Errorf("the thief could touch %s: %s", what, answer)
		}
	}
	if words := refused["another node's store"].Err; !strings.Contains(words, "node1") || !strings.Contains(words, "node2") {
		t.Errorf("the refusal does not say whose the token is, and whose the object: %s", words)
	}

	store := storeOf(t, "node2")
	if len(store.Spec.Credentials) == 0 {
		t.Fatal("nothing is sealed for node2, so nothing is shown")
	}
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range store.Spec.Credentials {
		binding := seal.Binding{NodeUID: store.Status.NodeUID, StoreUID: string(store.UID), SecretUID: c.SecretUID, Registry: c.Registry}
		if _, err := key.Open(c.Sealed, binding); err == nil {
			t.Error("another key opens what is sealed for node2")
		}
	}
	t.Run("the administrator may not speak for a node either", func(t *testing.T) {
		got := here.KubectlReads(t, "", "patch", "imagestore", "node1", "--subresource=status", "--type=merge", "-p", `{"status":{"key":{"id":"x","public":"eA=="}}}`)
		if got.Code == 0 {
			t.Error("somebody who is no agent wrote a node's key")
		}
	})
}

// patchAs sends one merge patch with a bearer token, without any read before it; the code is 0 where it was taken.
func patchAs(t *testing.T, token, path, body string) stage.Answer {
	t.Helper()
	server := kubectl(t, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, server+"/apis/orlop.dev/v1alpha1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/merge-patch+json")
	// The lab's own authority is nothing that this is about.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	words, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		return stage.Answer{Err: string(words), Code: 1}
	}
	return stage.Answer{Out: string(words)}
}

// tokenOf reads the token of the agent that runs on a node, from the agent's own process.
func tokenOf(t *testing.T, node string) string {
	t.Helper()
	pod := get[struct {
		Metadata struct{ UID string }
	}](t, "pod", system, agentPod(t, node))
	out, err := here.Lab(t).Exec(t.Context(), node, "sh", "-c",
		fmt.Sprintf("cat /var/lib/kubelet/pods/%s/volumes/kubernetes.io~projected/*/token", pod.Metadata.UID))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
