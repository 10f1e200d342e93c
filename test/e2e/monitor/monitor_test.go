// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// TestRules has Prometheus' own tool judge the rules, and play through those that take hours.
func TestRules(t *testing.T) {
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", filepath.Join(root, "docs", "reference", "alerts.yaml"))
	promtool(t, "test", "rules", filepath.Join("testdata", "alerts_test.yaml"))
}

// TestEveryAlertIsPlayedThrough: each has a case in which it fires.
func TestEveryAlertIsPlayedThrough(t *testing.T) {
	var cases struct {
		Tests []struct {
			Rules []struct {
				Alertname string   `json:"alertname"`
				Expected  []fields `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	read(t, filepath.Join("testdata", "alerts_test.yaml"), &cases)
	fires := map[string]bool{}
	for _, c := range cases.Tests {
		for _, r := range c.Rules {
			fires[r.Alertname] = fires[r.Alertname] || len(r.Expected) > 0
		}
	}
	for _, rule := range alertRules(t) {
		if !fires[rule.Alert] {
			t.Errorf("no case of testdata/alerts_test.yaml has %s fire", rule.Alert)
		}
	}
}

type rule struct{ Alert, Expr string }

func alertRules(t *testing.T) (all []rule) {
	t.Helper()
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	read(t, filepath.Join(root, "docs", "reference", "alerts.yaml"), &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("reading %s: %v", file, err)
	}
}

// TestMonitoring has things happen in a cluster, good ones first, and looks at what Prometheus and the logs make of them.
func TestMonitoring(t *testing.T) {
	here.Lab(t)
	rules := rules(t, thresholds)
	p := startPrometheus(t, nodes[0], "9090", rules)
	native := startPrometheus(t, nodes[0], "9091", rules, "--enable-feature=native-histograms")
	done := work(t)
	t.Run("logs", func(t *testing.T) { logs(t, p, done) })
	trouble(t, done)
	t.Run("dashboard", func(t *testing.T) { dashboard(t, p) })
	t.Run("dashboard of native histograms", func(t *testing.T) { dashboard(t, native) })
	t.Run("numbers", func(t *testing.T) { numbers(t, p) })
	t.Run("rules", func(t *testing.T) { evaluated(t, p) })
	t.Run("alerts", func(t *testing.T) { fire(t, p) })
}

// worked is what was done to the cluster.
type worked struct {
	web, webDigest, job, pruned, letGo string
	// moving is a tag that moves.
	moving string
}

// work pulls, removes, prunes, and runs on a schedule.
func work(t *testing.T) worked {
	t.Helper()
	w := worked{web: at("web:1"), job: at("job:1"), pruned: at("pruned:1"), letGo: at("let-go:1"), moving: at("moving:latest")}
	w.webDigest = here.PushSpec(t, w.web, lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 20}}})
	here.Push(t, w.job, w.pruned, w.letGo, w.moving, at("idle:1"))
	create(t, "NodeCronJob", "sweep", fields{"schedule": "* * * * *", "jobTemplate": fields{"spec": fields{"prune": fields{"match": []string{at("swept*")}, "force": true}}}})
	create(t, "ImageCache", "web", cache(w.web, w.letGo, w.moving))
	create(t, "NodeJob", "fetch", fields{"pull": fields{"images": []string{w.job}}})
	shows(t, "imagecache/web", ".status.readyNodes", "2")
	shows(t, "nodejob/fetch", ".status.phase", "Complete")
	for _, image := range []string{w.pruned, at("idle:1")} {
		if _, err := here.Lab(t).Crictl(t.Context(), nodes[0], "pull", image); err != nil {
			t.Fatal(err)
		}
	}
	here.Apply(t, object("ImageCache", "web", cache(w.web, w.moving)))
	create(t, "NodeJob", "prune", fields{"prune": fields{"match": []string{w.pruned}, "force": true}})
	shows(t, "nodejob/prune", ".status.phase", "Complete")
	here.Orlop(t, "rm", w.job, "--yes").Want(t, 0)
	for _, image := range []string{w.letGo, w.job, w.pruned} {
		stage.Eventually(t, image+" is gone", func() (bool, string) { return !here.HasTag(t, nodes[0], image), "" })
	}
	return w
}

func cache(images ...string) fields {
	var list []fields
	for _, image := range images {
		list = append(list, fields{"image": image})
	}
	return fields{"images": list}
}

// trouble names images that are not there, and moves a tag whose new image no node gets.
func trouble(t *testing.T, w worked) {
	t.Helper()
	create(t, "ImageCache", "broken", cache(at("missing:1")))
	create(t, "NodeJob", "failing", fields{"pull": fields{"images": []string{at("missing:2")}}})
	if err := here.Lab(t).AddFault(t.Context(), lab.Fault{Images: strings.TrimSuffix(w.moving, ":latest"), Only: "blobs", Status: 503}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := here.Lab(t).ClearFaults(detached(t)); err != nil {
			t.Error(err)
		}
	})
	here.PushSpec(t, w.moving, lab.ImageSpec{Layers: []lab.Layer{{Size: 200 << 10}}})
	here.Kubectl(t, "annotate", "imagecache", "web", "-n", "default", "--overwrite", "orlop.dev/refresh=moved")
	shows(t, "imagecache/web", ".status.failedNodes", "2")
	shows(t, "imagecache/broken", ".status.failedNodes", "1") // As the registry refuses the controller, one node goes first.
	shows(t, "nodejob/failing", ".status.phase", "Failed")
	stage.Within(t, 2*stage.Patience, "the schedule has run", func() (bool, string) {
		out := here.Kubectl(t, "get", "nodecronjob", "sweep", "-n", "default", "-o", "jsonpath={.status.lastSuccessfulTime}")
		return out != "", out
	})
}

// variables are what Grafana puts into expressions.
var variables = strings.NewReplacer("$cluster", ".*", "$node", ".*", "$__rate_interval", "1m")

// dashboard evaluates every expression of the dashboard, as the ConfigMap has it: each gives something.
func dashboard(t *testing.T, p *prometheus) {
	text := here.Kubectl(t, "get", "configmap", "orlop-dashboard", "-n", stage.System, "-o", `jsonpath={.data.orlop\.json}`)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(text), &board); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			n++
			expr := variables.Replace(target.Expr)
			stage.Eventually(t, "the panel "+panel.Title+" has data", func() (bool, string) { return len(p.query(t, expr)) > 0, expr })
		}
	}
	if n < 30 {
		t.Errorf("the dashboard has %d expressions", n)
	}
}

// numbers are what was done to the cluster.
func numbers(t *testing.T, p *prometheus) {
	for expr, want := range map[string]float64{
		`max(orlop_agents{state="ready"})`:                             float64(len(nodes)),
		`sum(orlop_image_removals_total{result="ok",trigger="job"})`:   3, // the pruned one, and the one of the job on two nodes
		`sum(orlop_image_removals_total{result="ok",trigger="cache"})`: 2,
		`max(orlop_tag_drift_nodes)`:                                   2,
		`sum(orlop_cache_nodes{namespace="default",name="web"})`:       2,
		`max(orlop_nodejob_nodes{name="failing",state="failed"})`:      2,
		`count(orlop_cronjob_next_run_timestamp_seconds)`:              1,
	} {
		stage.Eventually(t, fmt.Sprintf("%s is %v", expr, want), func() (bool, string) {
			got := p.query(t, expr)
			return len(got) == 1 && got[0].number(t) == want, fmt.Sprint(got)
		})
	}
}

// evaluated looks whether Prometheus could evaluate every rule.
func evaluated(t *testing.T, p *prometheus) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.get(t, "/api/v1/rules", &data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Name)
			if r.Health != "ok" {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	for _, rule := range alertRules(t) {
		if !slices.Contains(names, rule.Alert) {
			t.Errorf("Prometheus has no rule %s, only %v", rule.Alert, names)
		}
	}
}

// fire waits for alerts, and makes those happen that need an outage. The others, which take long or a runtime that is ill, are in testdata.
func fire(t *testing.T, p *prometheus) {
	firing(t, p, "OrlopImagePullFailing", fields{"reason": "RegistryUnavailable", "registry": lab.PlainHost, "node": "node1"})
	firing(t, p, "OrlopNodeImageFSNearGC", fields{"node": "node1"})
	firing(t, p, "OrlopTagDriftOld", fields{"ref": at("moving:latest")})
	firing(t, p, "OrlopCacheNotReady", fields{"namespace": "default", "name": "broken"})
	firing(t, p, "OrlopNodeJobFailed", fields{"namespace": "default", "name": "failing"})

	spare := here.Spare(t, nodes)
	if err := here.Lab(t).StopEngine(t.Context(), spare); err != nil {
		t.Fatal(err)
	}
	firing(t, p, "OrlopAgentDown", nil)
	if err := here.Lab(t).StartEngine(t.Context(), spare); err != nil {
		t.Fatal(err)
	}

	here.Kubectl(t, "scale", "deployment/orlop-controller", "-n", stage.System, "--replicas=0")
	firing(t, p, "OrlopControllerDown", nil)
	here.Kubectl(t, "scale", "deployment/orlop-controller", "-n", stage.System, "--replicas=1")
	here.Kubectl(t, "rollout", "status", "deployment/orlop-controller", "-n", stage.System)
	p.discover(t)
	for _, name := range []string{"OrlopControllerDown", "OrlopAgentDown"} {
		stage.Within(t, 2*stage.Patience, name+" ends", func() (bool, string) {
			found := find(p.alerts(t), name, nil)
			return found == nil, fmt.Sprint(found)
		})
	}
}

// firing waits until an alert fires, and looks at what it says.
func firing(t *testing.T, p *prometheus, name string, labels fields) {
	t.Helper()
	stage.Within(t, 4*stage.Patience, name+" fires", func() (bool, string) {
		all := p.alerts(t)
		a := find(all, name, labels)
		if a == nil || a.State != "firing" {
			return false, fmt.Sprint(all)
		}
		for key, text := range a.Annotations {
			if text == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "error expanding") {
				t.Errorf("%s: its %s is %q", name, key, text)
			}
		}
		if !strings.HasSuffix(a.Annotations["runbook_url"], "#"+strings.ToLower(name)) {
			t.Errorf("%s: its page is %s", name, a.Annotations["runbook_url"])
		}
		return true, ""
	})
}

func find(all []alert, name string, labels fields) *alert {
	for i, a := range all {
		fits := a.Labels["alertname"] == name
		for key, value := range labels {
			fits = fits && a.Labels[key] == value
		}
		if fits {
			return &all[i]
		}
	}
	return nil
}
