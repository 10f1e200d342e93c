// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"orlop.dev/orlop/internal/registry"
)

// TestDeadRegistriesHoldUpNoOther: one that answers never waits for one that does not, and one that is new waits only for very many.
func TestDeadRegistriesHoldUpNoOther(t *testing.T) {
	for name, tc := range map[string]struct {
		dead  int
		known bool
	}{
		"many, and one that has answered before": {dead: 40, known: true},
		"some, and one that is new":              {dead: 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				s.push(t, "reg.example/acme/web:1", layers(t, 1))
				s.fault = func(_ http.ResponseWriter, req *http.Request) bool {
					if strings.HasPrefix(req.URL.Host, "dead") {
						<-req.Context().Done()
					}
					return false
				}
				resolver := registry.Resolver{Transport: s}
				ask := func(name string) error {
					_, err := resolver.Digest(t.Context(), ref(t, name))
					return err
				}
				if tc.known {
					if err := ask("reg.example/acme/web:1"); err != nil {
						t.Fatal(err)
					}
				}
				var all sync.WaitGroup
				for i := range tc.dead {
					for j := range 8 {
						all.Go(func() {
							if err := ask(fmt.Sprintf("dead%d.example/acme/web:%d", i, j)); err == nil {
								t.Error("a dead registry answered")
							}
						})
					}
				}
				synctest.Wait()
				began := time.Now()
				for range 20 {
					all.Go(func() {
						if err := ask("reg.example/acme/web:1"); err != nil || time.Since(began) > time.Second {
							t.Errorf("%v after %s", err, time.Since(began))
						}
					})
				}
				all.Wait()
				if took := time.Since(began); took > 30*time.Second {
					t.Errorf("the dead took %s", took)
				}
			})
		})
	}
}
