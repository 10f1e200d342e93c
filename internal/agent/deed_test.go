// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/agent"
	"orlop.dev/orlop/internal/engine"
)

// told are the lines of a log that tell of pulls and removals, in a word each.
func told(t *testing.T, log *bytes.Buffer) (all []string) {
	t.Helper()
	for text := range strings.Lines(log.String()) {
		var l struct {
			Msg, Node, Reference, Digest, Reason, Duration, Error, RequestedBy string
			Actor                                                              []string
			Bytes                                                              int64
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if l.Duration == "" {
			continue
		}
		unknown := strings.Contains(l.Error, "none:1") // There is no digest of what nobody has.
		if _, err := time.ParseDuration(l.Duration); err != nil || l.Node != nodeName || strings.Contains(l.Msg, "failed") != (l.Error != "") || (l.Digest == "") != unknown {
			t.Errorf("the line %s", text)
		}
		all = append(all, fmt.Sprintf("%s %s %d %s by %s%s", l.Msg, strings.TrimPrefix(l.Reference, "docker.io/library/"), l.Bytes, l.Reason, strings.Join(l.Actor, ","), l.RequestedBy))
	}
	slices.Sort(all)
	return all
}

// TestOneLineForEachDeed, with the same in the metrics.
func TestOneLineForEachDeed(t *testing.T) {
	inWorld(t, func(w *world) {
		var log bytes.Buffer
		w.cfg.Log = slog.New(slog.NewJSONHandler(&log, nil))
		w.cfg.Metrics = agent.NewMetrics("test")
		w.old("asked:1", "pruned:1")
		w.rt.Load(content("before", 10), "moved:1")
		w.later()

		kept, moved := w.push("kept:1", "kept", 1000), w.push("moved:1", "moved", 2000)
		gone, also := w.push("gone:1", "gone", 3000), w.push("gone:2", "gone", 3000) // One image under two names.
		bad := w.push("bad:1", "bad", 1000)
		w.registry.Delete(ref("bad:1@" + bad.Digest).WithoutTag())
		w.registry.Delete(ref("bad:1"))
		w.want(kept, moved, gone, also, bad)
		w.pass(time.Second)
		w.api.Change(func(s *v1alpha1.ImageStoreSpec) { s.Images = []v1alpha1.StoreImage{kept, moved} })
		w.pass(time.Second)
		w.release(gone, also)
		for w.answer() {
			w.pass(time.Second)
		}
		remove, prune, pull := removeJob("remove", "asked:1"), pruneJob("prune", "pruned:*"), pullJob("pull", "none:1")
		remove.RequestedBy = "ann"
		w.ask(remove, prune, pull)
		w.pass(time.Minute)

		want := []string{
			"pull failed bad:1 0 NotFound by ImageCache shop/web",
			"pull failed none:1 0 NotFound by NodeJob shop/pull",
			"pulled gone:1 3000 missing by ImageCache shop/web",
			"pulled gone:2 3000 missing by ImageCache shop/web",
			"pulled kept:1 1000 missing by ImageCache shop/web",
			"pulled moved:1 2000 moved by ImageCache shop/web",
			"removed asked:1 2000 asked for by NodeJob shop/removeann",
			"removed gone:1 3000 released by ImageCache shop/web",
			"removed pruned:1 2000 pruned by NodeJob shop/prune",
		}
		if diff := cmp.Diff(want, told(t, &log)); diff != "" {
			t.Errorf("the log differs (-want +got):\n%s\n%s", diff, log.String())
		}
		served := scrape(t, w.cfg.Metrics)
		for _, line := range []string{
			`orlop_image_pulls_total{reason="",registry="docker.io",result="ok"} 4`,
			`orlop_image_pulls_total{reason="NotFound",registry="docker.io",result="failed"} 2`,
			`orlop_image_pull_bytes_total{registry="docker.io"} 9000`,
			`orlop_image_removals_total{result="ok",trigger="cache"} 1`,
			`orlop_image_removals_total{result="ok",trigger="job"} 2`,
			`orlop_image_reclaimed_bytes_total{trigger="job"} 4000`,
			`orlop_image_pull_duration_seconds_count{result="ok"} 4`,
		} {
			if !strings.Contains(served, line+"\n") {
				t.Errorf("the metrics have no %s:\n%s", line, served)
			}
		}
	})
}

func scrape(t *testing.T, m *agent.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

// TestRegistriesAreBounded: whoever may write a NodeJob may name any host.
func TestRegistriesAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cfg.Metrics = agent.NewMetrics("test")
		w.start()
		var images []string
		for i := range 60 {
			images = append(images, fmt.Sprintf("r%d.test/a:1", i))
		}
		w.ask(pullJob("many", images...))
		w.pass(time.Minute)
		served := scrape(t, w.cfg.Metrics)
		if n := strings.Count(served, `orlop_image_pulls_total{`); n != 51 || !strings.Contains(served, `registry="other",result="failed"} 10`) {
			t.Errorf("60 registries make %d series:\n%s", n, served)
		}
	})
}

// TestATagThatDriftsIsTold, for as long as the node has another image under it.
func TestATagThatDriftsIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		before := w.push("a:1", "before", 1000)
		w.start()
		w.want(before)
		w.pass(time.Second)
		repository := ref("a:1").Repository()
		e, other := w.push("a:1", "after", 1000), w.push("a:2", "other", 1000)
		w.registry.Fail(repository, engine.Becausef(engine.RegistryUnavailable, "503 Service Unavailable"))
		w.want(e, other)
		w.pass(10 * time.Second)
		if st := w.state(e.Image); st.State != v1alpha1.ImageFailed || st.FoundDigest != before.Digest {
			t.Errorf("while the pull fails: %+v", st)
		}
		if st := w.state(other.Image); st.State != v1alpha1.ImageFailed || st.FoundDigest != "" {
			t.Errorf("what was never there has drifted: %+v", st)
		}
		w.registry.Fail(repository, nil)
		w.pass(time.Hour)
		if st := w.state(e.Image); st.State != v1alpha1.ImagePresent || st.FoundDigest != "" {
			t.Errorf("once it is here: %+v", st)
		}
	})
}
