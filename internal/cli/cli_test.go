// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/internal/term"
)

// try runs one command line without a terminal.
func try(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cfg := Config{Streams: term.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, Version: "1.2.3"}
	code = Run(t.Context(), cfg, append([]string{"/usr/bin/kubectl-orlop"}, args...))
	return code, stdout.String(), stderr.String()
}

// noCluster makes sure that a command line which should be refused at once finds no cluster to ask.
func noCluster(t *testing.T) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
}

// TestRefusedAtOnce: what cannot be meant is refused before anything happens, with what may have been meant.
func TestRefusedAtOnce(t *testing.T) {
	noCluster(t)
	cases := map[string]struct {
		line string
		says []string
	}{
		"unknown command":       {"lits", []string{`unknown command "lits"`, `did you mean "list"`, "kubectl orlop --help"}},
		"unknown help topic":    {"help lits", []string{`unknown command "lits"`, `did you mean "list"`}},
		"unknown flag":          {"list --fitler x", []string{`did you mean "filter"`, "kubectl orlop list --help"}},
		"unknown short flag":    {"list -Z", []string{"unknown shorthand flag"}},
		"namespace":             {"list -n shop", []string{"--agent-namespace"}},
		"unknown filter":        {"list --filter danglin=true", []string{`did you mean "dangling"`}},
		"filter without value":  {"prune --filter size", []string{"size=VALUE"}},
		"unknown format":        {"list -o jsn", []string{`did you mean "json"`}},
		"broken template":       {"list -o jsonpath={.items", []string{"--output jsonpath"}},
		"template file missing": {"list -o go-template-file=/none", []string{"/none"}},
		"no columns":            {"list -o custom-columns=", []string{"custom-columns"}},
		"unknown colour":        {"list --color alwys", []string{`did you mean "always"`}},
		"broken selector":       {"list -l a=b=c", []string{"--selector"}},
		"broken field selector": {"list --field-selector a", []string{"--field-selector"}},
		"empty node":            {"list --node a,,b", []string{"--node has an empty name"}},
		"no time":               {"list --timeout 0s", []string{"--timeout"}},
		"no nodes at once":      {"list --max-parallel 0", []string{"--max-parallel"}},
		"pod prefix":            {"list --name-prefix A_B", []string{"--name-prefix"}},
		"relative socket":       {"list --runtime-socket run/x.sock", []string{"--runtime-socket"}},
		"socket with ..":        {"list --runtime-socket /run/../etc/$(id)", []string{"--runtime-socket"}},
		"no image to pull":      {"pull", []string{"name at least one image"}},
		"upper case":            {"pull Nginx", []string{"lower-case"}},
		"shell characters":      {"pull a;rm", []string{`"a;rm" is not an image reference`}},
		"5,000 characters":      {"pull " + strings.Repeat("a", 5000), []string{"5000 characters", "longer than 255"}},
		"a bad one among good":  {"pull nginx:1 UPPER", []string{`"UPPER"`}},
		"unknown policy":        {"pull nginx --policy alway", []string{`did you mean "Always"`}},
		"secret of nowhere":     {"pull nginx --secret regcred", []string{"NAMESPACE/NAME"}},
		"unknown progress":      {"pull nginx --progress plan", []string{`did you mean "plain"`}},
		"no image to remove":    {"rm", []string{"name at least one image"}},
		"rm without a yes":      {"rm nginx:1", []string{"standard input is not a terminal", "kubectl orlop rm nginx:1 --yes"}},
		"prune without a yes":   {"prune --all", []string{"kubectl orlop prune --all --yes"}},
		"levels the wrong way":  {"prune --all --when-disk-above 50 --until-disk-below 80 --yes", []string{"nothing would ever go"}},
		"argument to prune":     {"prune nginx", []string{"takes no argument", "--match"}},
		"argument to df":        {"df nginx", []string{"takes no argument", "df -v", "kubectl orlop df --help"}},
		"id of a run":           {"cleanup --run a_b", []string{"--run"}},
		"all without a yes":     {"cleanup --all", []string{"--yes"}},
		"shell on two nodes":    {"shell a b", []string{"name one node"}},
		"shell, no connection":  {"shell node1 -- images", []string{"kubeconfig"}},
		"shell without a node":  {"shell -- images", []string{"name one node"}},
		"unknown shell":         {"completion tcsh", []string{`not "tcsh"`, "bash, zsh, fish", "kubectl orlop completion --help"}},
		"no shell":              {"completion", []string{"bash, zsh, fish", "kubectl orlop completion --help"}},
		"status of a pod":       {"status pod/web", []string{"imagecache/NAME, nodejob/NAME or nodecronjob/NAME"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, err := try(t, strings.Fields(c.line)...)
			if code != term.ExitError || out != "" {
				t.Errorf("exit code %d, answer %q", code, out)
			}
			for _, words := range c.says {
				if !strings.Contains(err, words) {
					t.Errorf("%q does not say %q", err, words)
				}
			}
			if strings.Contains(err, "Usage:") || strings.Count(err, "\n") > 3 {
				t.Errorf("more than three lines: %s", err)
			}
		})
	}
}

// TestAnEmptyBoundIsNone: a script's variable that is not set must not choose everything.
func TestAnEmptyBoundIsNone(t *testing.T) {
	noCluster(t)
	for _, line := range [][]string{
		{"prune", "--all", "--yes", "--unused-for", ""}, {"prune", "--all", "--yes", "--unused-for", "0"}, {"prune", "--all", "--yes", "--pulled-before", ""},
		{"prune", "--all", "--yes", "--max-removals", "0"}, {"prune", "--all", "--yes", "--until-disk-below", "0"},
		{"rm", "nginx:1", "--yes", "--node", ""}, {"rm", "nginx:1", "--yes", "-l", ""}, {"list", "--field-selector", ""},
		{"cron", "create", "a", "--schedule", "0 3 * * 0", "--node", "", "prune", "--all"},
	} {
		code, out, err := try(t, line...)
		if code != term.ExitError || out != "" || !strings.Contains(err, "leave it out") {
			t.Errorf("%q ended with %d and said %q %s", line, code, out, err)
		}
	}
}

func TestNoConnection(t *testing.T) {
	noCluster(t)
	cases := map[string]struct {
		line string
		says []string
	}{
		"no kubeconfig":    {"list", []string{"there is no kubeconfig", "KUBECONFIG"}},
		"no such file":     {"list --kubeconfig /nowhere/config", []string{"reading the kubeconfig", "/nowhere/config", "try:"}},
		"nobody listens":   {"list --server https://127.0.0.1:1", []string{"https://127.0.0.1:1 cannot be reached", "refused", "kubectl cluster-info"}},
		"version, offline": {"version --server https://127.0.0.1:1", []string{"cannot be reached"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			code, _, err := try(t, strings.Fields(c.line)...)
			if code != term.ExitError {
				t.Errorf("exit code %d", code)
			}
			for _, words := range c.says {
				if !strings.Contains(err, words) {
					t.Errorf("%q does not say %q", err, words)
				}
			}
		})
	}
}

// TestMistakesAreColoured: also those that are seen before the command has begun.
func TestMistakesAreColoured(t *testing.T) {
	t.Setenv("CLICOLOR_FORCE", "1")
	noCluster(t)
	for _, line := range []string{"list --nonsense", "lst", "prune nginx", "shell", "list"} {
		if _, _, err := try(t, strings.Fields(line)...); !strings.HasPrefix(err, red+"error:"+plain) {
			t.Errorf("%s: %q", line, err)
		}
	}
	if _, _, err := try(t, "list", "--color", "never", "--nonsense"); !strings.HasPrefix(err, "error:") {
		t.Errorf("--color never: %q", err)
	}
}

func TestUnknownContext(t *testing.T) {
	noCluster(t)
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, err := try(t, "list", "--kubeconfig", path, "--context", "nope")
	if code != term.ExitError || !strings.Contains(err, `context "nope" does not exist`) || !strings.Contains(err, "kubectl config get-contexts") {
		t.Errorf("exit code %d: %s", code, err)
	}
}

// TestForbidden names the right that is missing, and how to look at it.
func TestForbidden(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Message: `nodes is forbidden: User "ann" cannot list resource "nodes" in API group "" at the cluster scope`})
	}))
	defer server.Close()
	noCluster(t)
	code, _, err := try(t, "list", "--server", server.URL)
	if code != term.ExitError || !strings.Contains(err, "no permission to list nodes") || !strings.Contains(err, "kubectl auth can-i list nodes") || !strings.Contains(err, `User "ann"`) {
		t.Errorf("exit code %d: %s", code, err)
	}
}

func TestRightIn(t *testing.T) {
	cases := map[string]struct{ message, right, can string }{
		"in the cluster":   {`pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope`, "list pods in the cluster", "kubectl auth can-i list pods --all-namespaces"},
		"in a namespace":   {`User "u" cannot create resource "pods" in API group "" in the namespace "x"`, "create pods in namespace x", "kubectl auth can-i create pods -n x"},
		"of a subresource": {`User "u" cannot create resource "pods/attach" in API group "" in the namespace "x"`, "create pods/attach in namespace x", "kubectl auth can-i create pods --subresource=attach -n x"},
		"of a group":       {`User "u" cannot get resource "jobs" in API group "batch" at the cluster scope`, "get jobs.batch in the cluster", "kubectl auth can-i get jobs.batch --all-namespaces"},
		"something else":   {"no space left on device", "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if right, can := rightIn(c.message); right != c.right || can != c.can {
				t.Errorf("%q, %q", right, can)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	noCluster(t)
	code, out, _ := try(t, "--help")
	if code != 0 || !strings.Contains(out, "kubectl orlop COMMAND") || strings.Contains(out, "kubectl-orlop COMMAND") {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, cmd := range []string{"list", "df", "drift", "pull", "rm", "prune", "shell", "status", "cache", "job", "cron", "history", "check", "cleanup", "uninstall", "version", "completion"} {
		if !strings.Contains(out, "\n  "+cmd+" ") {
			t.Errorf("help does not name %s", cmd)
		}
		_, help, _ := try(t, cmd, "--help")
		examples := help[strings.Index(help, "Examples:")+1:]
		if n := strings.Count(examples, "  kubectl orlop "+cmd); n < 3 || n > 5 {
			t.Errorf("%s has %d examples", cmd, n)
		}
		if strings.Contains(help, "--kubeconfig string") {
			t.Errorf("%s lists the connection's flags", cmd)
		}
	}
	if _, options, _ := try(t, "options"); !strings.Contains(options, "--kubeconfig string") || strings.Contains(options, "--namespace string") {
		t.Errorf("options: %s", options)
	}
}

func TestVersionOfClient(t *testing.T) {
	noCluster(t)
	code, out, err := try(t, "version", "--client", "-o", "json")
	var doc struct {
		Kind  string
		Items []programVersion
	}
	if jsonErr := json.Unmarshal([]byte(out), &doc); jsonErr != nil || code != 0 || err != "" || doc.Kind != "VersionList" || doc.Items[0].Version != "1.2.3" {
		t.Errorf("exit code %d, %s %s %v", code, out, err, jsonErr)
	}
}

func TestCompletion(t *testing.T) {
	noCluster(t)
	_, out, _ := try(t, "__complete", "prune", "--filter", "da")
	if !strings.Contains(out, "dangling=") {
		t.Errorf("keys of filters: %s", out)
	}
	if _, out, _ = try(t, "completion", "bash"); !strings.Contains(out, "__complete") {
		t.Error("no completion for bash")
	}
}

func TestInterrupted(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(release)
	noCluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var stderr bytes.Buffer
	code := Run(ctx, Config{Streams: term.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &stderr}}, []string{"kubectl-orlop", "list", "--server", server.URL})
	if code != term.ExitInterrupted {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestColour(t *testing.T) {
	noCluster(t)
	_, _, painted := try(t, "list", "--color", "always")
	_, _, plain := try(t, "list", "--color", "never")
	if !strings.Contains(painted, "\x1b[") || strings.Contains(plain, "\x1b[") {
		t.Errorf("%q %q", painted, plain)
	}
	stripped := strings.NewReplacer(red, "", "\x1b[0m", "").Replace(painted)
	if stripped != plain {
		t.Errorf("without its codes it is another text: %q %q", stripped, plain)
	}
	t.Setenv("NO_COLOR", "1")
	if p, err := newPaint("auto", term.Streams{Out: os.Stdout, Err: os.Stderr}); err != nil || p != (paint{}) {
		t.Errorf("NO_COLOR: %+v %v", p, err)
	}
}
