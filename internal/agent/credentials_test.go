// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/seal"
)

// login seals credentials as the controller does.
func (w *world) login(name, password string) v1alpha1.SealedCredentials {
	w.Helper()
	const registry = "private.test"
	store := w.api.Store()
	plain, err := json.Marshal(engine.Credentials{Username: "lab", Password: password})
	if err != nil {
		w.Fatal(err)
	}
	sealed, err := seal.Seal(store.Status.Key.Public, plain, seal.Binding{
		NodeUID: store.Status.NodeUID, StoreUID: string(store.UID), SecretUID: "secret-1", Registry: registry,
	})
	if err != nil {
		w.Fatal(err)
	}
	return v1alpha1.SealedCredentials{
		Name: name, KeyID: store.Status.Key.ID, Registry: registry, Secret: "shop/regcred", SecretUID: "secret-1",
		SecretResourceVersion: password, Sealed: sealed,
	}
}

func TestCredentials(t *testing.T) {
	inWorld(t, func(w *world) {
		w.registry.Protect("private.test", engine.Credentials{Username: "lab", Password: "swordfish"})
		e := w.push("private.test/a:1", "a", 1000)
		e.Credentials = []string{"wrong", "right"}
		w.start()
		spec := func(logins ...v1alpha1.SealedCredentials) {
			w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
				s.Images, s.Credentials = []v1alpha1.StoreImage{e}, logins
			})
			synctest.Wait()
		}
		spec(w.login("wrong", "octopus"), w.login("right", "octopus2"))
		w.pass(time.Second)
		w.wantState("private.test/a:1", v1alpha1.ImageFailed, "Unauthorized")
		spec(w.login("wrong", "octopus"), w.login("right", "swordfish"))
		w.pass(time.Second)
		w.wantState("private.test/a:1", v1alpha1.ImagePresent, "")

		w.start() // It has another key now.
		w.rt.Wipe()
		w.pass(2 * time.Second)
		w.wantState("private.test/a:1", v1alpha1.ImageWaiting, v1alpha1.ReasonWaitingForCredentials)
		spec(w.login("wrong", "octopus"), w.login("right", "swordfish"))
		w.pass(time.Second)
		w.wantState("private.test/a:1", v1alpha1.ImagePresent, "")
	})
}

func TestCredentialsGoToTheirRegistryAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.push("other.test/a:1", "a", 1000)
		e.Credentials = []string{"x"}
		w.registry.Protect("other.test", engine.Credentials{Username: "lab", Password: "swordfish"})
		w.start()
		login := w.login("x", "swordfish")
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) {
			s.Images, s.Credentials = []v1alpha1.StoreImage{e}, []v1alpha1.SealedCredentials{login}
		})
		w.pass(time.Second)
		w.wantState("other.test/a:1", v1alpha1.ImageFailed, "Unauthorized")
	})
}
