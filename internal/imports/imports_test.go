// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package imports holds the direction of dependencies: cmd, then the ways in, then what decides, then the port to a
// runtime, then names. Nothing points up or sideways.
package imports

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "orlop.dev/orlop/"

// Of others' packages, what a row bans most often.
const (
	grpc       = "google.golang.org/grpc"
	cobra      = "github.com/spf13/cobra"
	criClient  = "k8s.io/cri-client"
	cliRuntime = "k8s.io/cli-runtime"
	kubectl    = "k8s.io/kubectl"
	kube       = "k8s.io"
	kinds      = "k8s.io/api"
	client     = "k8s.io/client-go"
	typed      = "k8s.io/client-go/kubernetes"
	informers  = "k8s.io/client-go/informers"
	runtime    = "sigs.k8s.io/controller-runtime"
	manager    = "sigs.k8s.io/controller-runtime/pkg/manager"
)

// row is one package: what of ours it imports, and what it must not reach, by whatever it imports. A path stands for all below it; one
// that ends in a slash, for what is below it alone.
type row struct {
	pkg   string
	ours  string
	never []string
}

// rows are all packages of this module, from below to above: none imports what comes after it.
var rows = []row{
	{"api/v1alpha1", "", []string{client, runtime, grpc}},

	// Names, and small things that know nothing of Orlop's kinds.
	{"internal/oci", "", []string{kube, grpc}},
	{"internal/suggest", "", []string{kube, grpc}},
	{"internal/seal", "", []string{kube, grpc}},
	{"internal/term", "", []string{kube, grpc, cobra}},
	{"internal/table", "", []string{kinds, client, grpc, cobra}},
	{"internal/condition", "", []string{kinds, client, runtime, grpc}},
	{"internal/metric", "", []string{kinds, client, runtime, grpc}},
	{"internal/podimage", "", []string{client, runtime, grpc}},

	// The port to a runtime, and its adapters, which cmd and tests alone may name.
	{"internal/engine", "oci", []string{kube, grpc}},
	{"internal/engine/enginetest", "engine oci", []string{kube, grpc}},
	{"internal/engine/socket", "engine", []string{kube}},
	{"internal/engine/cri", "engine engine/socket oci", []string{client}},
	{"internal/engine/containerd", "engine engine/socket oci", []string{client}},
	{"internal/engine/docker", "engine oci", []string{client}},

	// What decides, and the words in which it is asked and answered.
	{"internal/plan", "engine oci suggest", []string{kinds, client, grpc}},
	{"internal/session", "engine oci plan", []string{kinds, client, grpc}},
	{"internal/action", "api/v1alpha1 engine oci plan session", []string{client, runtime, grpc}},
	{"internal/demand", "api/v1alpha1 oci", []string{client, runtime, grpc}},
	{"internal/assign", "api/v1alpha1", []string{client, runtime, grpc}},
	{"internal/catalog", "engine oci", []string{kinds, client, runtime, grpc}},
	{"internal/survey", "engine oci plan session", []string{kinds, client, grpc}},
	{"internal/convert", "api/v1alpha1 oci table", []string{client, runtime + "/pkg/client", grpc, cobra}},
	{"internal/registry", "condition engine oci", []string{kinds, client, runtime, grpc}},
	{"internal/pullsecret", "api/v1alpha1 condition demand engine oci", []string{manager, grpc}},

	// A machine, by hand or from a pod.
	{"internal/ask", "oci plan", []string{kinds, client, grpc, cobra}},
	{"internal/tell", "session table", []string{kinds, client, grpc, cobra}},
	{"internal/node", "engine oci plan session", []string{kinds, client, grpc}},
	{"internal/nodecli", "ask engine node oci plan session suggest table tell term", []string{kinds, client, grpc, cobra}},

	// The operator: the agent, and the controller, whose reconcilers know nothing of each other.
	{"internal/agent", "action api/v1alpha1 condition engine metric node oci plan seal session", []string{client, grpc}},
	{"internal/agent/apiserver", "agent api/v1alpha1", []string{typed, informers, runtime, grpc}},
	{"internal/agent/agenttest", "agent api/v1alpha1", []string{client, grpc}},
	{"internal/controller/apply", "api/v1alpha1", []string{criClient, grpc, cobra}},
	{"internal/controller/calls", "", []string{criClient, grpc, cobra}},
	{"internal/controller/imagecache", "api/v1alpha1 catalog condition controller/apply controller/calls demand engine metric oci pullsecret registry", []string{criClient, grpc, cobra}},
	{"internal/controller/imagestore", "action api/v1alpha1 assign catalog condition controller/apply controller/calls demand engine oci podimage pullsecret seal", []string{criClient, cobra}},
	{"internal/controller/nodejob/podrun", "api/v1alpha1", []string{criClient, grpc, cobra}},
	{"internal/controller/nodejob", "action api/v1alpha1 assign condition controller/apply controller/calls controller/nodejob/podrun demand metric pullsecret table", []string{criClient, cobra}},
	{"internal/controller/nodecronjob", "action api/v1alpha1 condition controller/apply controller/calls metric table", []string{criClient, grpc, cobra}},

	// A person's machine.
	{"internal/fleet", "api/v1alpha1 engine oci plan podimage session suggest", []string{grpc, cobra}},
	{"internal/operator", "api/v1alpha1 engine oci plan session", []string{grpc, cobra, runtime}},
	{"internal/jobrun", "action api/v1alpha1 engine fleet oci operator plan session", []string{grpc, cobra, runtime}},
	{"internal/cli", "action api/v1alpha1 ask condition convert engine fleet jobrun oci operator plan pullsecret registry session suggest survey table tell term",
		[]string{grpc, manager}},

	// Wiring. The controller takes itself out of a cluster as the command line does.
	{"internal/controller", "api/v1alpha1 assign catalog controller/apply controller/imagecache controller/imagestore controller/nodecronjob controller/nodejob controller/nodejob/podrun " +
		"metric operator pullsecret registry", []string{criClient, cobra}},
	{"cmd/kubectl-orlop", "cli term", []string{grpc, criClient, module + "internal/engine/", module + "internal/node"}},
	{"cmd/orlop-controller", "controller", []string{cobra, criClient, cliRuntime, kubectl, module + "internal/engine/", module + "internal/node", module + "internal/cli",
		module + "internal/agent"}},
	{"cmd/orlop-node", "agent agent/apiserver engine engine/containerd engine/cri engine/docker engine/socket nodecli term",
		[]string{cobra, cliRuntime, kubectl, typed, informers, runtime, module + "internal/cli", module + "internal/fleet", module + "internal/controller"}},

	{"hack/image/static", "", nil},
	{"hack/image/archive", "", nil},
	{"hack/image", "hack/image/archive hack/image/static", nil},
	{"hack/push", "hack/image/archive", nil},
	{"hack/metrics", "agent controller metric", nil},
}

// listed is what the go command tells of a package.
type listed struct {
	ImportPath    string
	Imports, Deps []string
}

// packages are those of this module, without those that are tests alone.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	found := map[string]listed{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			listed
			GoFiles []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("reading the list: %v", err)
		}
		if len(pkg.GoFiles) > 0 {
			found[strings.TrimPrefix(pkg.ImportPath, module)] = pkg.listed
		}
	}
}

// ours are the packages of this module among the imports, as rows have them.
func ours(imports []string) (names []string) {
	for _, path := range imports {
		if name, ok := strings.CutPrefix(path, module); ok {
			names = append(names, strings.TrimPrefix(name, "internal/"))
		}
	}
	return names
}

// TestEveryPackageHasItsPlace: each has a row, and imports of ours what that says, all of which stands above it.
func TestEveryPackageHasItsPlace(t *testing.T) {
	found := packages(t)
	below := map[string]bool{}
	for _, row := range rows {
		pkg, ok := found[row.pkg]
		if !ok {
			t.Errorf("%s has a row, and is not there", row.pkg)
		}
		delete(found, row.pkg)
		want, got := strings.Fields(row.ours), ours(pkg.Imports)
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("%s does not import %s, as its row says", row.pkg, name)
			}
		}
		for _, name := range got {
			if !slices.Contains(want, name) {
				t.Errorf("%s imports %s, which is not in its row", row.pkg, name)
			}
			if !below[name] {
				t.Errorf("%s imports %s, which does not stand above it in the table", row.pkg, name)
			}
		}
		below[strings.TrimPrefix(row.pkg, "internal/")] = true
	}
	for pkg := range found {
		t.Errorf("%s has no row", pkg)
	}
}

// TestNothingReachesUp: what must not be linked is not, by whichever way.
func TestNothingReachesUp(t *testing.T) {
	found := packages(t)
	for _, row := range rows {
		for _, dep := range found[row.pkg].Deps {
			if slices.ContainsFunc(row.never, func(ban string) bool { return within(dep, ban) }) {
				t.Errorf("%s reaches %s", row.pkg, dep)
			}
		}
	}
}

// within reports whether dep is ban or below it; a ban that ends in a slash means only what is below.
func within(dep, ban string) bool {
	if below, ok := strings.CutSuffix(ban, "/"); ok {
		return strings.HasPrefix(dep, below+"/")
	}
	return dep == ban || strings.HasPrefix(dep, ban+"/")
}
