// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/test/e2e/stage"
)

func detached(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// line is one of a log.
type line struct {
	Time                                        time.Time
	Level, Msg, Node, Reference, Digest, Reason string
	Actor                                       []string
	Bytes                                       int64
	Duration, Names, RequestedBy                string
}

// linesOf reads a pod's log, every line of which is JSON.
func linesOf(t *testing.T, pod string) (all []line) {
	t.Helper()
	for text := range strings.Lines(here.Kubectl(t, "logs", "-n", stage.System, pod)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Errorf("a line of %s: %v: %s", pod, err, text)
			continue
		}
		if l.Time.IsZero() || l.Level == "" || l.Msg == "" {
			t.Errorf("a line of %s lacks its time, level or message: %s", pod, text)
		}
		all = append(all, l)
	}
	return all
}

// logs looks for the one line of each pull and each removal, and counts them against the metrics.
func logs(t *testing.T, p *prometheus, w worked) {
	all := linesOf(t, here.AgentPod(t, nodes[0]))
	for label, c := range map[string]struct {
		msg, reference, reason, actor string
	}{
		"pulled by a cache":   {"pulled", w.web, "missing", "ImageCache default/web"},
		"pulled by a job":     {"pulled", w.job, "asked for", "NodeJob default/fetch"},
		"let go by a cache":   {"removed", w.letGo, "released", "ImageCache default/web"},
		"pruned":              {"removed", w.pruned, "pruned", "NodeJob default/prune"},
		"removed by somebody": {"removed", w.job, "asked for", "NodeJob default/rm-"},
	} {
		t.Run(label, func(t *testing.T) {
			of := func(l line) bool { return l.Msg == c.msg && l.Reference == c.reference }
			at := slices.IndexFunc(all, of)
			if at < 0 || slices.ContainsFunc(all[at+1:], of) {
				t.Fatalf("want one line that %s is %s: %+v", c.reference, c.msg, all)
			}
			l := all[at]
			took, err := time.ParseDuration(l.Duration)
			if err != nil || took <= 0 || l.Node != nodes[0] || l.Bytes <= 0 || !strings.HasPrefix(l.Digest, "sha256:") || l.Reason != c.reason ||
				len(l.Actor) != 1 || !strings.HasPrefix(l.Actor[0], c.actor) {
				t.Errorf("the line is %+v", l)
			}
			if c.reference == w.web && l.Digest != w.webDigest {
				t.Errorf("the digest is %s, want %s", l.Digest, w.webDigest)
			}
			if by := strings.HasSuffix(c.actor, "rm-"); by != (l.RequestedBy != "") {
				t.Errorf("it was requested by %q", l.RequestedBy)
			}
		})
	}
	for msg, expr := range map[string]string{
		"pulled":  `sum(orlop_image_pulls_total{node="node1",result="ok"})`,
		"removed": `sum(orlop_image_removals_total{node="node1",result="ok"})`,
	} {
		n := 0
		for _, l := range all {
			if l.Msg == msg {
				n++
			}
		}
		stage.Eventually(t, "as many lines as are counted", func() (bool, string) {
			got := p.query(t, expr)
			return len(got) == 1 && got[0].number(t) == float64(n), fmt.Sprintf("%d lines %q, and %s is %v", n, msg, expr, got)
		})
	}
	linesOf(t, here.ControllerPods(t)[0])
}
