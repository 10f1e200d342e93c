// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/test/e2e/stage"
)

// prometheus is one that runs on a node, outside of its containers: from there it reaches the pods.
type prometheus struct {
	node string
	// log is where it writes, on this machine.
	log string
}

const (
	// apiServer is the service's address in the lab.
	apiServer = "https://10.96.0.1"
	// folder is of Prometheus, on its node.
	folder = "/var/log/prometheus"
)

// rights are what docs/monitoring.md says that a Prometheus needs.
const rights = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: prometheus, namespace: orlop-system}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: prometheus, namespace: orlop-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: prometheus}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: default}]
`

// startPrometheus runs Prometheus until the test ends, with the configuration of docs/monitoring.md.
func startPrometheus(t *testing.T, node string, rules []byte) *prometheus {
	t.Helper()
	binary := program(t, "prometheus")
	here.Apply(t, rights)
	p := &prometheus{node: node, log: filepath.Join(t.TempDir(), "prometheus.log")}
	for name, content := range map[string][]byte{
		"rules.yaml":      rules,
		"prometheus.yaml": configuration(t),
		"token":           []byte(here.Kubectl(t, "create", "token", "prometheus", "-n", "default")),
		"ca.crt":          []byte(here.Kubectl(t, "get", "configmap", "kube-root-ca.crt", "-n", "default", "-o", `jsonpath={.data.ca\.crt}`)),
	} {
		p.put(t, name, content)
	}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := here.Lab(t).Command(t.Context(), node, binary, "--config.file="+folder+"/prometheus.yaml", "--storage.tsdb.path="+folder+"/data",
		"--web.listen-address=127.0.0.1:9090", "--enable-feature=native-histograms")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // It was killed as the test's context ended.
		log.Close()
	})
	stage.Eventually(t, "Prometheus scrapes the controller and every agent", func() (bool, string) {
		up := p.query(t, `sum(up{job="orlop"})`)
		return len(up) == 1 && up[0].number(t) == float64(len(nodes)+1), fmt.Sprintf("%v\n%s", up, p.tail())
	})
	return p
}

func (p *prometheus) put(t *testing.T, name string, content []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := here.Lab(t).Put(p.node, file, folder+"/"+name); err != nil {
		t.Fatal(err)
	}
}

func (p *prometheus) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// configuration is what docs/monitoring.md gives, with the way to the API server that a pod finds by itself.
func configuration(t *testing.T) []byte {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(here.Root(), "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := bytes.Cut(page, []byte("```yaml\nscrape_configs:"))
	block, _, closed := bytes.Cut(block, []byte("```"))
	if !ok || !closed {
		t.Fatal("docs/monitoring.md has no block of scrape_configs")
	}
	var config fields
	if err := yaml.UnmarshalStrict(append([]byte("scrape_configs:"), block...), &config); err != nil {
		t.Fatal(err)
	}
	for _, scrape := range config["scrape_configs"].([]any) {
		for _, discovery := range scrape.(fields)["kubernetes_sd_configs"].([]any) {
			discovery := discovery.(fields)
			discovery["api_server"] = apiServer
			discovery["tls_config"] = fields{"ca_file": folder + "/ca.crt"}
			discovery["authorization"] = fields{"credentials_file": folder + "/token"}
		}
	}
	config["global"] = fields{"scrape_interval": "1s", "evaluation_interval": "1s"}
	config["rule_files"] = []string{folder + "/rules.yaml"}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// series is one of an answer.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (s series) number(t *testing.T) (n float64) {
	t.Helper()
	if _, err := fmt.Sscan(fmt.Sprint(s.Value[1]), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// query evaluates an expression now.
func (p *prometheus) query(t *testing.T, expr string) []series {
	t.Helper()
	var data struct {
		Result []series `json:"result"`
	}
	if err := p.get(t, "/api/v1/query?query="+url.QueryEscape(expr), &data); err != nil {
		if strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "Service Unavailable") {
			return nil // It is starting.
		}
		t.Fatalf("evaluating %s: %v", expr, err)
	}
	return data.Result
}

// get asks Prometheus' API: from the node, whose loopback address is not that of this machine.
func (p *prometheus) get(t *testing.T, path string, into any) error {
	t.Helper()
	const ask = `exec 3<>/dev/tcp/127.0.0.1/9090 && printf 'GET %s HTTP/1.0\r\n\r\n' "$0" >&3 && cat <&3`
	out, err := here.Lab(t).Exec(t.Context(), p.node, "bash", "-c", ask, path)
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.ToLower(out))
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(out)), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	return nil
}

// alert is one that is pending or firing.
type alert struct {
	Labels, Annotations map[string]string
	State               string
}

func (p *prometheus) alerts(t *testing.T) []alert {
	t.Helper()
	var data struct{ Alerts []alert }
	if err := p.get(t, "/api/v1/alerts", &data); err != nil {
		t.Fatal(err)
	}
	return data.Alerts
}
