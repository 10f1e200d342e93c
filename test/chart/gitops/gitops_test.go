// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package gitops tests what Argo CD and Flux make of Orlop's kinds, on statuses that were collected from a real cluster.
package gitops

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const docs = "../../../docs/gitops"

var kinds = []string{"ImageCache", "NodeJob", "NodeCronJob"}

// health is what Argo CD says of an object.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// healthTests are in Argo CD's own format, beside its scripts.
type healthTests struct {
	Tests []struct {
		HealthStatus health `json:"healthStatus"`
		InputPath    string `json:"inputPath"`
	} `json:"tests"`
}

// The scripts say of each status what stands beside them, in the Lua that Argo CD runs, with as few of its libraries.
func TestArgoCD(t *testing.T) {
	for _, kind := range kinds {
		folder := filepath.Join(docs, "argocd/orlop.dev", kind)
		var all healthTests
		load(t, filepath.Join(folder, "health_test.yaml"), &all)
		script := read(t, filepath.Join(folder, "health.lua"))
		var told []string
		for _, test := range all.Tests {
			t.Run(kind+"/"+test.InputPath, func(t *testing.T) {
				var object map[string]any
				load(t, filepath.Join(folder, test.InputPath), &object)
				if diff := cmp.Diff(test.HealthStatus, judge(t, script, object)); diff != "" {
					t.Error(diff)
				}
			})
			told = append(told, filepath.Join(folder, test.InputPath))
		}
		if there := files(t, kind); !slices.Equal(slices.Sorted(slices.Values(told)), there) {
			t.Errorf("of %v only %v are tested", there, told)
		}
	}
}

// judge runs a script as Argo CD does: the object is obj, and the answer what it returns.
func judge(t *testing.T, script string, object map[string]any) health {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", valueOf(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("it returns %v", state.Get(-1))
	}
	return health{lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message"))}
}

func valueOf(state *lua.LState, value any) lua.LValue {
	table := state.NewTable()
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			table.RawSetString(key, valueOf(state, field))
		}
	case []any:
		for _, item := range v {
			table.Append(valueOf(state, item))
		}
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
	return table
}

// The block to paste has the same scripts.
func TestArgoCDConfig(t *testing.T) {
	var config struct {
		Data map[string]string `json:"data"`
	}
	load(t, filepath.Join(docs, "argocd/argocd-cm.yaml"), &config)
	want := map[string]string{}
	for _, kind := range kinds {
		want["resource.customizations.health.orlop.dev_"+kind] = read(t, filepath.Join(docs, "argocd/orlop.dev", kind, "health.lua"))
	}
	if diff := cmp.Diff(want, config.Data); diff != "" {
		t.Error(diff)
	}
}

// expected is what kstatus says, by kind and name of a status, and of NodeJobs what Flux's expressions say. Of what the controller has never
// seen kstatus knows nothing that would be missing.
var expected = map[string]struct{ kstatus, flux status.Status }{
	"ImageCache/new":         {status.CurrentStatus, ""},
	"ImageCache/changed":     {status.InProgressStatus, ""},
	"ImageCache/progressing": {status.InProgressStatus, ""},
	"ImageCache/ready":       {status.CurrentStatus, ""},
	"ImageCache/degraded":    {status.CurrentStatus, ""},
	"ImageCache/stalled":     {status.FailedStatus, ""},
	"ImageCache/suspended":   {status.InProgressStatus, ""},
	"NodeJob/new":            {status.CurrentStatus, status.InProgressStatus},
	"NodeJob/changed":        {status.InProgressStatus, status.InProgressStatus},
	"NodeJob/running":        {status.CurrentStatus, status.InProgressStatus},
	"NodeJob/complete":       {status.CurrentStatus, status.CurrentStatus},
	"NodeJob/planned":        {status.CurrentStatus, status.CurrentStatus},
	"NodeJob/failed":         {status.CurrentStatus, status.FailedStatus},
	"NodeJob/stalled":        {status.FailedStatus, status.FailedStatus},
	"NodeJob/suspended":      {status.CurrentStatus, status.CurrentStatus},
	"NodeCronJob/new":        {status.CurrentStatus, ""},
	"NodeCronJob/changed":    {status.InProgressStatus, ""},
	"NodeCronJob/scheduled":  {status.CurrentStatus, ""},
	"NodeCronJob/stalled":    {status.FailedStatus, ""},
	"NodeCronJob/suspended":  {status.CurrentStatus, ""},
}

// What waits by kstatus (Flux, Helm 4), and by Flux's expressions of ours for NodeJobs.
func TestKstatus(t *testing.T) {
	expressions := expressionsOf(t)
	for path, want := range expected {
		t.Run(path, func(t *testing.T) {
			kind, name, _ := strings.Cut(path, "/")
			var object map[string]any
			load(t, filepath.Join(docs, "argocd/orlop.dev", kind, "testdata", name+".yaml"), &object)
			for _, at := range []map[string]any{object["metadata"].(map[string]any), statusOf(object)} {
				for _, field := range []string{"generation", "observedGeneration"} {
					if n, ok := at[field].(float64); ok { // As the API machinery has integers.
						at[field] = int64(n)
					}
				}
			}
			got, err := status.Compute(&unstructured.Unstructured{Object: object})
			if err != nil {
				t.Fatal(err)
			}
			if got.Status != want.kstatus {
				t.Errorf("kstatus says %s: %s", got.Status, got.Message)
			}
			if kind != "NodeJob" {
				return
			}
			if got := expressions.judge(t, object); got != want.flux {
				t.Errorf("Flux's expressions say %s, want %s", got, want.flux)
			}
		})
	}
	count := 0
	for _, kind := range kinds {
		count += len(files(t, kind))
	}
	if count != len(expected) {
		t.Errorf("%d statuses, and something is expected of %d", count, len(expected))
	}
}

func statusOf(object map[string]any) map[string]any {
	found, _ := object["status"].(map[string]any)
	return found
}

// expressions are those of a Flux Kustomization, in the order in which it asks them.
type expressions struct{ InProgress, Failed, Current string }

func expressionsOf(t *testing.T) expressions {
	t.Helper()
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []struct {
				Kind string `json:"kind"`
				expressions
			} `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	load(t, filepath.Join(docs, "flux/orlop.yaml"), &kustomization)
	all := kustomization.Spec.HealthCheckExprs
	if len(all) != 1 || all[0].Kind != "NodeJob" {
		t.Fatalf("%+v", all)
	}
	return all[0].expressions
}

func (e expressions) judge(t *testing.T, object map[string]any) status.Status {
	t.Helper()
	switch {
	case e.holds(t, e.InProgress, object):
		return status.InProgressStatus
	case e.holds(t, e.Failed, object):
		return status.FailedStatus
	case e.holds(t, e.Current, object):
		return status.CurrentStatus
	}
	return status.InProgressStatus
}

// holds evaluates an expression over an object's fields. What is not there yet is waited for, as Flux does.
func (expressions) holds(t *testing.T, expression string, object map[string]any) bool {
	t.Helper()
	environment, err := cel.NewEnv(cel.Variable("status", cel.DynType), cel.Variable("metadata", cel.DynType), cel.Variable("spec", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	checked, issues := environment.Compile(expression)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	program, err := environment.Program(checked)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{"metadata": object["metadata"], "spec": object["spec"]}
	if found := statusOf(object); found != nil {
		fields["status"] = found
	}
	out, _, err := program.Eval(fields)
	if err != nil && fields["status"] != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return err == nil && out.Value() == true
}

func files(t *testing.T, kind string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(docs, "argocd/orlop.dev", kind, "testdata/*.yaml"))
	if err != nil || len(found) == 0 {
		t.Fatalf("%v %v", found, err)
	}
	return found
}

func load(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
