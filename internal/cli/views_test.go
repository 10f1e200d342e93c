// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/survey"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

func testApp(words ...string) (*app, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	a := newApp(Config{Streams: term.Streams{In: strings.NewReader(""), Out: &out, Err: &err}}, append([]string{"kubectl-orlop"}, words...))
	return a, &out, &err
}

func ref(t *testing.T, text string) oci.Ref {
	t.Helper()
	r, err := oci.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAgain(t *testing.T) {
	cases := map[string]struct{ line, want string }{
		"plain":        {"list -l pool=web", "kubectl orlop list -l pool=web --node a,b"},
		"other nodes":  {"list --node a,b,c --node=d -o wide", "kubectl orlop list -o wide --node a,b"},
		"needs quotes": {"rm x/*", "kubectl orlop rm 'x/*' --node a,b"},
		"done":         {"pull kubectl --secret done done x", "kubectl orlop pull --secret done x --node a,b"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, _, _ := testApp(strings.Fields(c.line)...)
			if got := a.again([]string{"a", "b"}, "kubectl", "done"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestDriftIsFixedWhereItIs: to pull a tag where it is not would fill other nodes.
func TestDriftIsFixedWhereItIs(t *testing.T) {
	stale := []survey.Tag{
		{Ref: ref(t, "all:latest"), Versions: []survey.Version{{Nodes: []string{"c", "a"}}, {Nodes: []string{"b"}}}},
		{Ref: ref(t, "some:latest"), Versions: []survey.Version{{Nodes: []string{"b"}}, {Nodes: []string{"a"}}}},
		{Ref: ref(t, "others:latest"), Versions: []survey.Version{{Nodes: []string{"a", "b"}}}},
	}
	var outcomes []fleet.Outcome
	for _, node := range []string{"a", "b", "c"} {
		outcomes = append(outcomes, fleet.Outcome{Node: fleet.Node{Name: node}})
	}
	a, _, _ := testApp("drift")
	for selector, choice := range map[string]string{"": "", "pool=web": " -l pool=web"} {
		o := &driftOptions{app: a, nodes: nodeFlags{choice: fleet.Choice{Selector: selector}}}
		want := []string{
			"kubectl orlop pull --policy Always all:latest" + choice,
			"kubectl orlop pull --policy Always some:latest others:latest --node a,b",
		}
		if diff := cmp.Diff(want, o.fixes(stale, outcomes)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestAdviceIsForTheSameCluster: a command that is to be copied must not act upon the cluster of another context.
func TestAdviceIsForTheSameCluster(t *testing.T) {
	a, _, err := testApp("drift")
	*a.conn.Context = "far"
	o := &driftOptions{app: a, output: output{format: "table"}}
	o.summary([]survey.Tag{{Ref: ref(t, "nginx:latest"), Verdict: survey.VerdictDrift}}, nil)
	prune := a.pruneCommand().Flags()
	if err := prune.Parse([]string{"--all"}); err != nil {
		t.Fatal(err)
	}
	told := err.String() + (&removal{app: a}).scheduleLine(prune)
	for _, line := range []string{"drift nginx:latest", "pull --policy Always nginx:latest", "prune --all"} {
		if !strings.Contains(told, line+" --context far") {
			t.Errorf("%q does not say %q with the context", told, line)
		}
	}
	for advice, want := range map[string]string{
		"kubectl get nodes --show-labels":                 "kubectl --context far get nodes --show-labels",
		"look first: kubectl get crd | grep orlop.dev":    "look first: kubectl --context far get crd | grep orlop.dev",
		"kubectl orlop list x --context far":              "kubectl orlop list x --context far",
		"kubectl config get-contexts":                     "kubectl config get-contexts",
		"kubectl orlop pull --help":                       "kubectl orlop pull --help",
		"kubectl delete nodejob x -n shop --context far":  "kubectl delete nodejob x -n shop --context far",
		"look at the node's runtime: systemctl status it": "look at the node's runtime: systemctl status it",
	} {
		err.Reset()
		a.exit(t.Context(), advised{errors.New("no"), advice})
		if !strings.HasSuffix(err.String(), "  try:     "+want+"\n") {
			t.Errorf("%q does not end with %q", err.String(), want)
		}
	}
}

func outcome(name string, state fleet.State, reason, message string) fleet.Outcome {
	o := fleet.Outcome{Node: fleet.Node{Name: name}, State: state}
	if reason != "" {
		o.Trouble = &fleet.Trouble{Reason: reason, Message: message}
	}
	return o
}

func TestTroubles(t *testing.T) {
	cases := map[string]struct {
		outcomes []fleet.Outcome
		code     int
		says     []string
	}{
		"all is well": {[]fleet.Outcome{outcome("a", fleet.StateDone, "", "")}, term.ExitOK, nil},
		"grouped": {[]fleet.Outcome{outcome("a", fleet.StateDone, "", ""), outcome("b", fleet.StateSkipped, "NotReady", "NotReady since 4m"), outcome("c", fleet.StateSkipped, "NotReady", "NotReady since 4m"),
			outcome("d", fleet.StateLost, "Lost", "pod orlop-d broke")}, term.ExitPartial, []string{"1 of 4 nodes answered", "  b, c: NotReady since 4m\n", "  d (Lost): pod orlop-d broke\n", "--node b,c,d"}},
		"time over":   {[]fleet.Outcome{outcome("a", fleet.StateTimedOut, "Timeout", "x"), outcome("b", fleet.StateFailed, "Crashed", "x")}, term.ExitTimeout, nil},
		"interrupted": {[]fleet.Outcome{outcome("a", fleet.StateInterrupted, "Interrupted", "x"), outcome("b", fleet.StateTimedOut, "Timeout", "x")}, term.ExitInterrupted, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, _, err := testApp("list")
			if code := a.troubles(c.outcomes); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, words := range c.says {
				if !strings.Contains(err.String(), words) {
					t.Errorf("%q does not say %q", err.String(), words)
				}
			}
		})
	}
}

// write lays tables out as a person sees them.
func write(t *testing.T, tables []*table.Table) string {
	t.Helper()
	var text bytes.Buffer
	for _, each := range tables {
		if err := each.Write(&text, table.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

func plans(t *testing.T) []fleet.Outcome {
	t.Helper()
	web := engine.Image{ID: "sha256:b07c55e19a44ffff", Tags: []oci.Ref{ref(t, "ghcr.io/acme/web:1"), ref(t, "ghcr.io/acme/web:stable")}}
	old := engine.Image{ID: "sha256:0d11f6a2c3b7ffff", Tags: []oci.Ref{ref(t, "nginx:1")}}
	a := outcome("node-1", fleet.StateDeclined, "", "")
	a.Plan = &plan.Plan{
		Remove: []plan.Removal{{Image: web, Tags: web.Tags[:1]}, {Image: old, FreesBytes: 60e6}}, FreesBytes: 60e6, Shared: true,
		Keep: []plan.Kept{{Image: web, Reason: plan.ReasonInUse, Message: "in use by shop/web"}, {Image: old, Reason: plan.ReasonNotSelected}},
		Disk: plan.Disk{Capacity: 300e6, Available: 60e6},
	}
	b := outcome("node-2", fleet.StateDeclined, "", "")
	b.Plan = &plan.Plan{Remove: []plan.Removal{{Image: old, FreesBytes: 40e6}}, FreesBytes: 40e6, Absent: []string{"ghcr.io/acme/web:1"}}
	return []fleet.Outcome{a, b, outcome("node-3", fleet.StateSkipped, "NotReady", "NotReady since 4m")}
}

func TestRmTables(t *testing.T) {
	r := &removal{}
	want := `ID              NODES   FREES   IMAGE                      NAMES THAT GO
0d11f6a2c3b7f       2   100MB   goes                       docker.io/library/nginx:1
b07c55e19a44f       1      0B   stays, under other names   ghcr.io/acme/web:1
`
	got := write(t, r.rmTables(plans(t))[:1])
	if diff := cmp.Diff(strings.Fields(want), strings.Fields(got)); diff != "" {
		t.Error(diff)
	}
	spared := write(t, r.rmTables(plans(t))[1:])
	if !strings.Contains(spared, "in use by shop/web") || !strings.Contains(spared, "node-1") || strings.Count(spared, "\n") != 2 {
		t.Errorf("spared: %s", spared)
	}
}

func TestPruneTables(t *testing.T) {
	r := &removal{}
	want := [][]string{
		{"node-1", "80 %", "4", "2", "60MB", "60 %", "1 in use"},
		{"node-2", "", "1", "1", "40MB", "", ""},
		{"node-3", "", "", "", "", "", "skipped: NotReady since 4m"},
		{"TOTAL", "", "5", "3", "100MB", "", ""},
	}
	tables := r.pruneTables(plans(t))
	if diff := cmp.Diff(want, tables[0].Rows); diff != "" {
		t.Error(diff)
	}
	if first := tables[1].Rows[0]; first[6] != "docker.io/library/nginx:1" || first[2] != "100MB" || len(tables[1].Rows) != 2 || len(tables) != 2 {
		t.Errorf("what goes: %q", tables[1].Rows)
	}
	r.output.format = "wide"
	if tables := r.pruneTables(plans(t)); len(tables) != 3 || len(tables[2].Rows) != 1 {
		t.Error("what is spared is not named in a wide plan")
	}
}

// TestPlanRows: a spreadsheet takes one table, with numbers.
func TestPlanRows(t *testing.T) {
	a, out, _ := testApp("prune", "--dry-run", "-o", "csv")
	r := &removal{app: a, output: output{format: "csv"}}
	r.tables = r.pruneTables
	_ = r.showPlan(plans(t)) // Its exit code is that of troubles, which has a test.
	want := `NODE,ID,NAMES,PLAN,FREES,REASON,MESSAGE
node-1,sha256:b07c55e19a44ffff,ghcr.io/acme/web:1,remove,0,,
node-1,sha256:0d11f6a2c3b7ffff,docker.io/library/nginx:1,remove,60000000,,
node-1,sha256:b07c55e19a44ffff,ghcr.io/acme/web:1,keep,,InUse,in use by shop/web
node-1,sha256:0d11f6a2c3b7ffff,docker.io/library/nginx:1,keep,,NotSelected,
node-2,sha256:0d11f6a2c3b7ffff,docker.io/library/nginx:1,remove,40000000,,
node-3,,,skipped,,,NotReady since 4m
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBoardPlain(t *testing.T) {
	a, _, err := testApp("pull", "nginx")
	node := fleet.Node{Name: "node-1"}
	b := a.newBoard("auto", []fleet.Node{node})
	b.heard(node, session.Message{Started: &engine.Description{}})
	for _, done := range []int64{0, 10e6, 20e6} {
		b.heard(node, session.Message{Progress: &session.Progress{Phase: engine.PhaseDownloading, Done: done, Total: 71.4e6, Images: 1}})
	}
	b.heard(node, session.Message{Step: &session.Step{Asked: "nginx", State: session.StatePulled, Bytes: 71.4e6}})
	b.ended(fleet.Outcome{Node: node, State: fleet.StateLost, Trouble: &fleet.Trouble{Message: "it broke"}})
	b.close()
	want := "node-1 │ downloading 0B of 71.4MB\nnode-1 │ ✔ nginx pulled 71.4MB \nnode-1 │ lost: it broke\n"
	if diff := cmp.Diff(want, err.String()); diff != "" {
		t.Error(diff)
	}
}

// TestBoardBrief: where a table of the images follows, they are only counted.
func TestBoardBrief(t *testing.T) {
	a, _, err := testApp("pull", "nginx", "redis")
	if mode := (&pullOptions{app: a, progress: "auto", output: output{format: "table"}}).boardMode(); mode != "brief" {
		t.Errorf("without a terminal: %s", mode)
	}
	node := fleet.Node{Name: "node-1"}
	b := a.newBoard("brief", []fleet.Node{node})
	b.heard(node, session.Message{Progress: &session.Progress{Phase: engine.PhaseResolving, Images: 2}})
	b.heard(node, session.Message{Step: &session.Step{Asked: "nginx", State: session.StatePulled}})
	b.close()
	if diff := cmp.Diff("node-1 │ resolving\nnode-1 │ 1 of 2 images done\n", err.String()); diff != "" {
		t.Error(diff)
	}
}

// TestBoardFits: on a small screen those at work are shown, and the others counted.
func TestBoardFits(t *testing.T) {
	a, _, _ := testApp("pull", "nginx")
	var nodes []fleet.Node
	for i := range 10 {
		nodes = append(nodes, fleet.Node{Name: fmt.Sprint("n", i)})
	}
	b := a.newBoard("plain", nodes)
	b.ended(fleet.Outcome{Node: nodes[0], State: fleet.StateDone})
	b.heard(nodes[7], session.Message{Progress: &session.Progress{Phase: engine.PhaseDownloading}})
	shown, hidden := b.choose(3)
	if diff := cmp.Diff([]string{"n7", "n1", "n2"}, shown); diff != "" || hidden != 7 {
		t.Errorf("%d hidden, %s", hidden, diff)
	}
	b.close()
}

// TestBoardIsNarrow: what is left and how much there is stay on a screen of 80 columns, with the names that clouds give.
func TestBoardIsNarrow(t *testing.T) {
	a, _, _ := testApp("pull", "nginx")
	for name, want := range map[string]string{"node1": "━━━━━━······  50 %", "ip-10-0-12-145.eu-west-1.compute.internal": "  50 %"} {
		b := a.newBoard("plain", []fleet.Node{{Name: name}})
		line := b.lines[name]
		line.state, line.progress = "downloading", session.Progress{Phase: engine.PhaseDownloading, Done: 50e6, Total: 100e6, Images: 3}
		line.samples = []sample{{b.start, 0}, {b.start.Add(time.Second), 50e6}}
		var screen strings.Builder
		b.to = &screen
		b.draw()
		if got := screen.String(); !strings.Contains(got, want) || !strings.Contains(got, "1s  50MB of 100MB\n") {
			t.Errorf("%s:\n%s", name, got)
		}
		b.drawn = 0
		b.close()
	}
}

// TestCredentials: a node is told those for the repositories it pulls, and no others.
func TestCredentials(t *testing.T) {
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	config := fmt.Sprintf(`{"auths":{"ghcr.io":{"auth":%q},"https://index.docker.io/v1/":{"auth":%q},"quay.io":{"auth":%q}}}`, auth("ann:one"), auth("bob:two"), auth("cat:three"))
	want := map[string]engine.Credentials{
		"ghcr.io/acme/web":        {Username: "ann", Password: "one"},
		"docker.io/library/nginx": {Username: "bob", Password: "two"},
	}
	refs := []oci.Ref{ref(t, "ghcr.io/acme/web:1"), ref(t, "nginx"), ref(t, "registry.example/x:1")}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "reg", Namespace: "shop"}, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)}}
	opaque := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: "shop"}, Type: corev1.SecretTypeOpaque}
	client := fake.NewClientset(secret, opaque)
	for name, names := range map[string][]secretName{"from docker's config": nil, "from a Secret": {{"shop", "reg"}}} {
		t.Run(name, func(t *testing.T) {
			chain, err := keychain(t.Context(), client, names)
			if err != nil {
				t.Fatal(err)
			}
			got, warnings := credentials(chain, refs)
			if diff := cmp.Diff(want, got); diff != "" || len(warnings) > 0 {
				t.Errorf("%q %s", warnings, diff)
			}
		})
	}
	for name, names := range map[string][]secretName{"shop/none": {{"shop", "none"}}, "type Opaque": {{"shop", "other"}}} {
		if _, err := keychain(t.Context(), client, names); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRegistryDigest(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	where, err := name.ParseReference(host + "/acme/web:latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(where, img, remote.WithAuth(authn.Anonymous)); err != nil {
		t.Fatal(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := registryDigest()(t.Context(), ref(t, host+"/acme/web:latest")); err != nil || got != want.String() {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	_, err = registryDigest()(t.Context(), ref(t, host+"/acme/none:latest"))
	if err == nil || registryWord(err) != "404" {
		t.Errorf("an unknown image: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = registryDigest()(gone, ref(t, host+"/acme/web:latest")); err == nil || registryWord(err) != "unreachable" {
		t.Errorf("unreachable: %v", err)
	}
}

// TestPossible: what needs more of the host than a socket is refused before a pod is made.
func TestPossible(t *testing.T) {
	cases := map[string]struct{ line, want, refusal string }{
		"a list":            {"images -q", "images -q", ""},
		"with its name":     {"crictl images", "images", ""},
		"exec":              {"--timeout 5s exec b07c ls -it", "--timeout 5s exec --sync b07c ls -it", ""},
		"interactive exec":  {"exec -it b07c sh", "", "kubectl exec -it"},
		"long flags":        {"exec --tty b07c sh", "", "kubectl exec -it"},
		"logs":              {"logs -f b07c", "", "kubectl logs"},
		"a name of a verb":  {"ps --name logs", "ps --name logs", ""},
		"another such":      {"ps --name exec", "ps --name exec", ""},
		"flags before it":   {"-t 5s --debug logs b07c", "", "kubectl logs"},
		"flags and no verb": {"--timeout", "--timeout", ""},
		"port-forward":      {"port-forward b07c 80", "", "kubectl port-forward"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := possible(strings.Fields(c.line))
			if strings.Join(got, " ") != c.want || (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	small := &table.Table{Columns: []table.Column{{Name: "A"}, {Name: "B", Wide: true}}, Rows: [][]string{{"1", "2"}}}
	ans := answer{kind: "ThingList", items: []map[string]any{{"image": "x", "n": 90239182}}, extra: map[string]any{"dryRun": true}, table: small, names: []string{"x"}}
	cases := map[string]string{
		"table":                       "A\n1\n",
		"wide":                        "A   B\n1   2\n",
		"csv":                         "A,B\n1,2\n",
		"name":                        "x\n",
		"jsonpath={.items[*].image}":  "x",
		"jsonpath={.items[0].n}":      "90239182", // And not 9.0239182e+07.
		"go-template={{.kind}}":       "ThingList",
		"custom-columns=IMAGE:.image": "IMAGE\nx\n",
		"yaml":                        "apiVersion: orlop.dev/v1alpha1\ndryRun: true\nitems:\n- image: x\n  \"n\": 90239182\nkind: ThingList\n",
	}
	for format, want := range cases {
		t.Run(format, func(t *testing.T) {
			a, out, _ := testApp("list")
			var o output
			cmd := a.listCommand()
			o.add(cmd.PersistentFlags())
			o.format = format
			if err := o.check(); err != nil {
				t.Fatal(err)
			}
			if err := a.print(&o, ans); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPrintNothing(t *testing.T) {
	doc, err := document(answer{kind: "ThingList", items: []string(nil)})
	if err != nil {
		t.Fatal(err)
	}
	if items, ok := doc.Object["items"].([]any); !ok || len(items) != 0 {
		t.Errorf("items: %#v", doc.Object["items"])
	}
}
