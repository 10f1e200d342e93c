// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package imports holds the direction of dependencies: cmd, then the ways in, then what decides, then the port to a
// runtime, then names. Nothing points up or sideways.
package imports

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "orlop.dev/orlop/"

// mustNotReach names, for each package, what it must not link, directly or not. A path stands for all below it.
var mustNotReach = map[string][]string{
	"internal/controller/nodecronjob": {"github.com/spf13/cobra", "k8s.io/cri-client", "google.golang.org/grpc", module + "internal/engine/", module + "internal/agent", module + "internal/node", module + "internal/cli", module + "internal/fleet", module + "internal/controller/imagestore", module + "internal/controller/imagecache", module + "internal/controller/nodejob"},

	"internal/oci":                   {"k8s.io", "google.golang.org/grpc", module + "internal/engine", module + "internal/plan"},
	"internal/engine":                {"k8s.io", "google.golang.org/grpc", module + "internal/plan"},
	"internal/engine/enginetest":     {"k8s.io", "google.golang.org/grpc", module + "internal/plan"},
	"internal/plan":                  {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/"},
	"internal/session":               {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/", module + "internal/node"},
	"internal/node":                  {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/"},
	"internal/nodecli":               {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", "github.com/spf13/cobra", module + "internal/engine/"},
	"internal/engine/cri":            {"k8s.io/client-go", module + "internal/plan", module + "internal/engine/containerd", module + "internal/engine/docker"},
	"internal/engine/containerd":     {"k8s.io/client-go", module + "internal/plan", module + "internal/engine/cri", module + "internal/engine/docker"},
	"internal/engine/docker":         {"k8s.io/client-go", module + "internal/plan", module + "internal/engine/cri", module + "internal/engine/containerd"},
	"internal/engine/socket":         {"k8s.io", module + "internal/plan", module + "internal/engine/cri", module + "internal/engine/containerd", module + "internal/engine/docker"},
	"internal/condition":             {"k8s.io/api", "k8s.io/client-go", "sigs.k8s.io/controller-runtime", module + "internal/", module + "api"},
	"internal/registry":              {"k8s.io/api", "k8s.io/client-go", "sigs.k8s.io/controller-runtime", "google.golang.org/grpc", module + "internal/engine/", module + "internal/plan"},
	"internal/podimage":              {"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "google.golang.org/grpc", module + "internal", module + "api"},
	"internal/pullsecret":            {"google.golang.org/grpc", "sigs.k8s.io/controller-runtime/pkg/manager", module + "internal/engine/", module + "internal/plan"},
	"internal/controller/imagecache": {"k8s.io/cri-client", "google.golang.org/grpc", module + "internal/engine/", module + "internal/agent", module + "internal/node", module + "internal/cli", module + "internal/fleet", module + "internal/controller/imagestore"},
	"internal/convert":               {"k8s.io/client-go", "sigs.k8s.io/controller-runtime/pkg/client", "github.com/spf13/cobra", "google.golang.org/grpc", module + "internal/cli", module + "internal/engine", module + "internal/operator", module + "internal/fleet", module + "internal/node"},
	"internal/ask":                   {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/", module + "internal/node", module + "internal/fleet"},
	"internal/survey":                {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/", module + "internal/node", module + "internal/fleet", module + "internal/cli"},
	"internal/tell":                  {"k8s.io/api", "k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/", module + "internal/node", module + "internal/fleet", module + "internal/cli"},
	"internal/fleet":                 {"google.golang.org/grpc", "github.com/spf13/cobra", module + "internal/node", module + "internal/engine/"},
	"internal/cli":                   {"google.golang.org/grpc", module + "internal/node", module + "internal/engine/", "sigs.k8s.io/controller-runtime/pkg/manager"},
	"internal/agent":                 {"k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/", module + "internal/cli", module + "internal/fleet", module + "internal/controller"},
	"internal/agent/apiserver":       {"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "sigs.k8s.io/controller-runtime", "google.golang.org/grpc", module + "internal/engine/"},
	"internal/agent/agenttest":       {"k8s.io/client-go", "google.golang.org/grpc", module + "internal/engine/"},
	"cmd/orlop-node":                 {"github.com/spf13/cobra", "k8s.io/cli-runtime", "k8s.io/kubectl", "k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "sigs.k8s.io/controller-runtime", module + "internal/cli", module + "internal/fleet", module + "internal/controller"},
	"cmd/kubectl-orlop":              {"google.golang.org/grpc", "k8s.io/cri-client", module + "internal/node", module + "internal/engine/"},
	"internal/controller/imagestore": {"github.com/spf13/cobra", module + "internal/engine/", module + "internal/node", module + "internal/cli", module + "internal/agent", module + "internal/controller/imagecache", "k8s.io/cri-client"},
	"cmd/orlop-controller":           {"github.com/spf13/cobra", "k8s.io/cri-client", "k8s.io/kubectl", "k8s.io/cli-runtime", module + "internal/engine/", module + "internal/node", module + "internal/cli", module + "internal/agent"},
	"internal/jobrun":                {"google.golang.org/grpc", "github.com/spf13/cobra", "sigs.k8s.io/controller-runtime", module + "internal/node", module + "internal/engine/", module + "internal/cli", module + "internal/agent", module + "internal/controller"},
	"internal/operator":              {"google.golang.org/grpc", "github.com/spf13/cobra", "sigs.k8s.io/controller-runtime", module + "internal/node", module + "internal/engine/", module + "internal/fleet"},

	"internal/action":                    {"k8s.io/client-go", "google.golang.org/grpc", "sigs.k8s.io/controller-runtime", module + "internal/engine/", module + "internal/node", module + "internal/cli", module + "internal/controller", module + "internal/agent"},
	"internal/assign":                    {"k8s.io/client-go", "google.golang.org/grpc", "sigs.k8s.io/controller-runtime", module + "internal/engine", module + "internal/controller"},
	"internal/controller/nodejob":        {"github.com/spf13/cobra", "k8s.io/cri-client", module + "internal/engine/", module + "internal/node", module + "internal/cli", module + "internal/agent", module + "internal/controller/imagecache", module + "internal/controller/imagestore", module + "internal/controller/nodecronjob"},
	"internal/controller/nodejob/podrun": {"github.com/spf13/cobra", "k8s.io/cri-client", "google.golang.org/grpc", module + "internal/engine", module + "internal/plan", module + "internal/node", module + "internal/cli", module + "internal/agent", module + "internal/controller/imagecache", module + "internal/controller/imagestore"},
}

func TestNothingReachesUp(t *testing.T) {
	for pkg, banned := range mustNotReach {
		t.Run(pkg, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+pkg).Output()
			if err != nil {
				t.Fatalf("listing what %s links: %v", pkg, err)
			}
			for dep := range strings.Lines(string(out)) {
				dep = strings.TrimSpace(dep)
				for _, ban := range banned {
					if within(dep, ban) && dep != module+pkg {
						t.Errorf("%s reaches %s", pkg, dep)
					}
				}
			}
		})
	}
}

// within reports whether dep is ban or below it; a ban that ends in a slash means only what is below.
func within(dep, ban string) bool {
	if below, ok := strings.CutSuffix(ban, "/"); ok {
		return strings.HasPrefix(dep, below+"/")
	}
	return dep == ban || strings.HasPrefix(dep, ban+"/")
}
