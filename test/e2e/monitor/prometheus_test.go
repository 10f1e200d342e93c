// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"orlop.dev/orlop/test/e2e/stage"
)

// prometheus is one that runs on a node, outside of its containers: from there it reaches the pods.
type prometheus struct {
	node string
	// port is where it listens, on its node's loopback address.
	port string
	// log is where it writes, on this machine.
	log string
}

// folder is of Prometheus, on its node.
func (p *prometheus) folder() string { return "/var/log/prometheus-" + p.port }

// startPrometheus runs Prometheus until the test ends, with the configuration of docs/monitoring.md.
func startPrometheus(t *testing.T, node, port string, rules []byte, flags ...string) *prometheus {
	t.Helper()
	binary := program(t, "prometheus")
	p := &prometheus{node: node, port: port, log: filepath.Join(t.TempDir(), "prometheus.log")}
	p.put(t, "rules.yaml", rules)
	p.put(t, "prometheus.yaml", p.configuration(t))
	p.discover(t)
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := here.Lab(t).Command(t.Context(), node, append([]string{
		binary, "--config.file=" + p.folder() + "/prometheus.yaml", "--storage.tsdb.path=" + p.folder() + "/data", "--web.listen-address=127.0.0.1:" + port,
	}, flags...)...)
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
		up, err := p.evaluate(t, `sum(up{job="orlop"})`)
		return len(up) == 1 && up[0].number(t) == float64(len(nodes)+1), fmt.Sprintf("%v %v\n%s", up, err, p.tail())
	})
	return p
}

func (p *prometheus) put(t *testing.T, name string, content []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := here.Lab(t).Put(p.node, file, p.folder()+"/"+name); err != nil {
		t.Fatal(err)
	}
}

func (p *prometheus) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// discover tells Prometheus of the pods what it finds out by itself where it was built with discovery in Kubernetes: Debian's was not.
func (p *prometheus) discover(t *testing.T) {
	t.Helper()
	var pods corev1.PodList
	if err := json.Unmarshal([]byte(here.Kubectl(t, "get", "pods", "-n", stage.System, "-o", "json")), &pods); err != nil {
		t.Fatal(err)
	}
	targets := []fields{}
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				targets = append(targets, fields{
					"targets": []string{net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port.ContainerPort)))},
					"labels": fields{
						"__meta_kubernetes_pod_label_app_kubernetes_io_name": pod.Labels["app.kubernetes.io/name"],
						"__meta_kubernetes_pod_container_port_name":          port.Name,
						"__meta_kubernetes_pod_node_name":                    pod.Spec.NodeName,
						"__meta_kubernetes_pod_name":                         pod.Name,
					},
				})
			}
		}
	}
	text, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	p.put(t, "targets.json", text)
}

// configuration is what docs/monitoring.md gives, but for who finds the pods.
func (p *prometheus) configuration(t *testing.T) []byte {
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
		scrape := scrape.(fields)
		delete(scrape, "kubernetes_sd_configs")
		scrape["file_sd_configs"] = []fields{{"files": []string{p.folder() + "/targets.json"}, "refresh_interval": "1s"}}
	}
	config["global"] = fields{"scrape_interval": "1s", "evaluation_interval": "1s"}
	config["rule_files"] = []string{p.folder() + "/rules.yaml"}
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
	all, err := p.evaluate(t, expr)
	if err != nil {
		t.Fatalf("evaluating %s: %v", expr, err)
	}
	return all
}

func (p *prometheus) evaluate(t *testing.T, expr string) ([]series, error) {
	t.Helper()
	var data struct {
		Result []series `json:"result"`
	}
	err := p.get(t, "/api/v1/query?query="+url.QueryEscape(expr), &data)
	return data.Result, err
}

// get asks Prometheus' API: from the node, whose loopback address is not that of this machine.
func (p *prometheus) get(t *testing.T, path string, into any) error {
	t.Helper()
	const ask = `exec 3<>/dev/tcp/127.0.0.1/$1 && printf 'GET %s HTTP/1.0\r\n\r\n' "$0" >&3 && cat <&3`
	out, err := here.Lab(t).Exec(t.Context(), p.node, "bash", "-c", ask, path, p.port)
	if err != nil {
		return err
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
