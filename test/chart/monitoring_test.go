// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/hack/manifests/chart"
)

const docs = "../../docs/"

// measured are Orlop's own metrics and their labels, as the reference has them, which is checked against the programs.
func measured(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(docs + "reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for _, m := range regexp.MustCompile("(?ms)^### (\\w+)\n\n(\\w+); (.*?)\\.\\s").FindAllStringSubmatch(string(page), -1) {
		var own []string
		if m[3] = strings.ReplaceAll(m[3], "\n", " "); m[3] != "no labels" {
			own = strings.Split(strings.ReplaceAll(m[3], "`", ""), ", ")
		}
		known[m[1]] = own
		if m[2] == "histogram" {
			for _, suffix := range []string{"_count", "_sum"} {
				known[m[1]+suffix] = own
			}
			known[m[1]+"_bucket"] = append(slices.Clone(own), "le")
		}
	}
	if len(known) < 20 {
		t.Fatalf("the reference names %d metrics", len(known))
	}
	return known
}

// foreign metrics are those of Prometheus' own library.
var foreignMetrics = []string{"process_resident_memory_bytes"}

// scraped are labels that the scrape adds.
var scraped = []string{"cluster", "node"}

// judge names what is wrong with an expression.
func judge(text string, known map[string][]string) (problems []string) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		own, ok := known[selector.Name]
		if !ok && !slices.Contains(foreignMetrics, selector.Name) {
			problems = append(problems, selector.Name+" is no metric of ours")
		}
		for _, m := range selector.LabelMatchers {
			if m.Name != "__name__" && !slices.Contains(own, m.Name) && !slices.Contains(scraped, m.Name) {
				problems = append(problems, selector.Name+" has no label "+m.Name)
			}
		}
		if strings.HasSuffix(selector.Name, "_bucket") && !inQuantile(path) {
			problems = append(problems, selector.Name+" is read outside of histogram_quantile(…, sum by (le) (…))")
		}
		return nil
	})
	return problems
}

// inQuantile reports whether the nearest sum keeps the buckets apart, and a quantile is made of it.
func inQuantile(path []parser.Node) bool {
	summed := false
	for _, node := range slices.Backward(path) {
		switch n := node.(type) {
		case *parser.AggregateExpr:
			if n.Op != parser.SUM || n.Without || !slices.Contains(n.Grouping, "le") {
				return false
			}
			summed = true
		case *parser.Call:
			if n.Func.Name == "histogram_quantile" {
				return summed
			}
		}
	}
	return false
}

func TestJudgeSeesWhatIsWrong(t *testing.T) {
	known := map[string][]string{"a_total": {"result"}, "b_seconds_bucket": {"le"}}
	for text, want := range map[string]string{
		`sum by (result) (rate(a_total{result="ok"}[5m]))`:                        "",
		`histogram_quantile(0.9, sum by (le, node) (rate(b_seconds_bucket[5m])))`: "",
		`rate(a_total[5m]`:                "unclosed left parenthesis",
		`c_total`:                         "c_total is no metric of ours",
		`a_total{reason="x"}`:             "a_total has no label reason",
		`max(rate(b_seconds_bucket[5m]))`: "b_seconds_bucket is read outside",
		`histogram_quantile(0.9, rate(b_seconds_bucket[5m]))`:                 "b_seconds_bucket is read outside",
		`histogram_quantile(0.9, sum by (node) (rate(b_seconds_bucket[5m])))`: "b_seconds_bucket is read outside",
	} {
		got := strings.Join(judge(text, known), "; ")
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

type board struct {
	UID        string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			Expr       string
			Datasource struct{ UID string }
		}
	}
}

// TestDashboard reads it out of the ConfigMap, as Grafana's sidecar does.
func TestDashboard(t *testing.T) {
	rendered := scenario{values: `dashboard: {enabled: true, annotations: {grafana_folder: Nodes}}`}.render(t)
	object := one(t, rendered.Objects, "ConfigMap/orlop-dashboard")
	if at(object, "metadata.labels.grafana_dashboard") != "1" || at(object, "metadata.annotations.grafana_folder") != "Nodes" {
		t.Errorf("its metadata: %v", object["metadata"])
	}
	var b board
	if err := json.Unmarshal([]byte(object["data"].(map[string]any)["orlop.json"].(string)), &b); err != nil {
		t.Fatal(err)
	}
	known := measured(t)
	variables := strings.NewReplacer("$cluster", ".*", "$node", ".*", "$__rate_interval", "5m")
	ids, used := map[int]string{}, map[string]bool{}
	for _, p := range b.Panels {
		if ids[p.ID] != "" || p.GridPos.X+p.GridPos.W > 24 || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("the panel %q (%d) is badly made", p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		for _, target := range p.Targets {
			if target.Datasource.UID != "$datasource" {
				t.Errorf("%s: the data source is %s", p.Title, target.Datasource.UID)
			}
			text := variables.Replace(target.Expr)
			for _, problem := range append(judge(text, known), leftovers(text)...) {
				t.Errorf("%s: %s: %s", p.Title, target.Expr, problem)
			}
			for name := range known {
				used[name] = used[name] || strings.Contains(target.Expr, name)
			}
		}
	}
	for name := range known {
		if base, _, _ := strings.Cut(name, "_seconds_"); !used[name] && !used[base+"_seconds"] && name != "orlop_tag_drift_omitted_refs" && !strings.HasPrefix(name, "orlop_cronjob_last_run") {
			t.Errorf("no panel shows %s", name)
		}
	}
	var names []string
	for _, v := range b.Templating.List {
		names = append(names, v.Name)
	}
	if diff := cmp.Diff([]string{"datasource", "cluster", "node"}, names); diff != "" {
		t.Errorf("the variables differ (-want +got):\n%s", diff)
	}
}

// leftovers are variables that nobody gives a value to.
func leftovers(text string) []string {
	return regexp.MustCompile(`\$\w+`).FindAllString(text, -1)
}

type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rulesOf(t *testing.T, text []byte) (all []alertRule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// TestAlertRules: each is parsed, reads metrics that there are, and has a page.
func TestAlertRules(t *testing.T) {
	c, err := chart.Load(folder, "")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.RulesYAML(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(docs + "reference/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(rendered), string(written)); diff != "" {
		t.Errorf("docs/reference/alerts.yaml is another: run make generate (-want +got):\n%s", diff)
	}
	page, err := os.ReadFile(docs + "alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	known := measured(t)
	var names []string
	for _, r := range rulesOf(t, rendered) {
		names = append(names, r.Alert)
		for _, problem := range judge(r.Expr, known) {
			t.Errorf("%s: %s", r.Alert, problem)
		}
		if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks something: %+v", r.Alert, r)
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "docs/alerts.md#")
		if anchor != strings.ToLower(r.Alert) || !strings.Contains(string(page), "\n## "+r.Alert+"\n") {
			t.Errorf("%s: docs/alerts.md has no heading for %s", r.Alert, r.Annotations["runbook_url"])
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^## (Orlop\w+)$`).FindAllStringSubmatch(string(page), -1) {
		if !slices.Contains(names, heading[1]) {
			t.Errorf("docs/alerts.md speaks of %s, which is no alert", heading[1])
		}
	}
}

// TestAlertsAreTheUsersOwn: thresholds, labels, and which there are.
func TestAlertsAreTheUsersOwn(t *testing.T) {
	rendered := scenario{values: `
alerts:
  enabled: true
  labels: {release: prom}
  ruleLabels: {severity: page, team: nodes}
  leaveOut: [OrlopRegistryRefusing]
  runbookURL: https://wiki.example/orlop
  thresholds: {imageFSHighPercent: 90, imageFSMarginPercent: 7, reclaimablePercent: 2.5, tagDriftFor: 3d}`}.render(t)
	object := one(t, rendered.Objects, "PrometheusRule/orlop")
	if at(object, "metadata.labels.release") != "prom" {
		t.Errorf("its labels: %v", at(object, "metadata.labels"))
	}
	text, err := yaml.Marshal(object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]alertRule{}
	for _, r := range rulesOf(t, text) {
		rules[r.Alert] = r
		if r.Labels["severity"] != "page" || r.Labels["team"] != "nodes" || r.Annotations["runbook_url"] != "https://wiki.example/orlop#"+strings.ToLower(r.Alert) {
			t.Errorf("%s is %+v", r.Alert, r)
		}
		if problems := judge(r.Expr, measured(t)); len(problems) > 0 {
			t.Errorf("%s: %v", r.Alert, problems)
		}
	}
	near := rules["OrlopNodeImageFSNearGC"].Expr
	if _, there := rules["OrlopRegistryRefusing"]; there || !strings.Contains(near, "> 83") || !strings.Contains(near, "> 2.5") || rules["OrlopTagDriftOld"].For != "3d" {
		t.Errorf("the rules are %+v", rules)
	}
}

// TestMonitorsKeepTheLabelsOfSeries: the namespace of a cache's series is the cache's.
func TestMonitorsKeepTheLabelsOfSeries(t *testing.T) {
	monitors := scenario{values: `{podMonitor: {enabled: true}, serviceMonitor: {enabled: true}}`}.render(t).Objects
	for name, path := range map[string]string{"PodMonitor/orlop": "spec.podMetricsEndpoints.0", "ServiceMonitor/orlop": "spec.endpoints.0"} {
		object := one(t, monitors, name)
		if at(object, path+".honorLabels") != true || fmt.Sprint(at(object, path+".relabelings.0.targetLabel")) != "node" {
			t.Errorf("%s: %v", name, at(object, path))
		}
	}
}
