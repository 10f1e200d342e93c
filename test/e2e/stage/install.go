// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"orlop.dev/orlop/test/lab"
)

// Namespace is where Install puts Orlop.
const Namespace = "orlop-system"

// Install applies what the chart renders with the values in the file, and waits until all of it is ready.
func (s *Stage) Install(ctx context.Context, cluster *lab.Cluster, values string) error {
	return Install(ctx, cluster, s.Root(), values)
}

// Install is Stage.Install for a cluster that is no test's.
func Install(ctx context.Context, cluster *lab.Cluster, root, values string) error {
	render := exec.CommandContext(ctx, "go", "run", ".", "--values", values)
	render.Dir = root + "/hack/manifests"
	var problems strings.Builder
	render.Stderr = &problems
	manifests, err := render.Output()
	if err != nil {
		return fmt.Errorf("rendering the chart: %w: %s", err, problems.String())
	}
	apply := exec.CommandContext(ctx, cluster.Program("kubectl"), "--kubeconfig", cluster.Kubeconfig(), "apply", "--server-side", "-f", "-")
	apply.Stdin = strings.NewReader(string(manifests))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("applying the manifests: %w: %s", err, out)
	}
	for _, what := range []string{"deployment/orlop-controller", "daemonset/orlop-agent"} {
		out, err := cluster.Kubectl(ctx, "rollout", "status", what, "-n", Namespace, "--timeout", (2 * time.Minute).String())
		if err != nil {
			return fmt.Errorf("waiting for %s: %w: %s", what, err, out)
		}
	}
	return nil
}
