// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo starts a real cluster on this machine, gives it images under names as people have them, shows on it
// what Orlop does, and leaves the cluster up. It runs what was built into bin.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"orlop.dev/orlop/internal/term"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

func main() {
	name := flag.String("name", lab.DefaultName, "the lab's name")
	nodes := flag.Int("nodes", 3, "how many nodes")
	version := flag.String("version", "dev", "the version that was built, which names the images")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *name, *nodes, *version)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, nodes int, version string) error {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return err
	}
	cluster, err := start(ctx, name, nodes)
	if err != nil {
		return err
	}
	s := &show{cluster: cluster, bin: bin, version: version}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return err
	}
	kubeconfig := cluster.Kubeconfig()
	fmt.Printf(`
The cluster stays up. Go on with

  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl orlop list            (or bin/kubectl-orlop list, where there is no kubectl)

and take it down with: make cluster-down
`, kubeconfig, bin)
	return nil
}

// start makes a cluster, or finds the one of that name that is up.
func start(ctx context.Context, name string, nodes int) (*lab.Cluster, error) {
	begun := time.Now()
	cluster, err := lab.Start(ctx, lab.Options{Name: name, Nodes: nodes, Detached: true, Progress: func(e lab.Event) {
		if e.Done {
			fmt.Fprintf(os.Stderr, "✓ %s (%.1fs)\n", e.Text, time.Since(begun).Seconds())
		} else {
			fmt.Fprintf(os.Stderr, "► %s\n", e.Text)
		}
	}})
	if errors.Is(err, lab.ErrUp) {
		fmt.Fprintf(os.Stderr, "✓ the cluster %s is up already\n", name)
		return lab.Attach(ctx, name)
	}
	return cluster, err
}

// show plays commands on a cluster.
type show struct {
	cluster *lab.Cluster
	bin     string
	version string
}

// prepare pushes Orlop's own images, and images to show it with. There is no Internet in a lab: behind each name
// is a program that waits, and layers of random bytes.
func (s *show) prepare(ctx context.Context) error {
	if err := stage.PushOwn(ctx, s.cluster, filepath.Dir(s.bin), s.version); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "✓ pushed Orlop's own images")
	base := lab.Layer{Size: 4 << 20, Shared: "debian"}
	for image, mebibytes := range map[string]int64{
		"docker.io/library/nginx:1.29": 12, "docker.io/library/redis:8": 9, "docker.io/library/postgres:18.1": 30,
		"ghcr.io/acme/web:2026.10.9": 16, "ghcr.io/acme/web:latest": 16, "docker.io/minchou/cleaner:1": 3, "docker.io/minchou/report:7": 5,
	} {
		spec := lab.ImageSpec{Layers: []lab.Layer{base, {Size: mebibytes << 20}}}
		if _, err := s.cluster.PushImage(ctx, image, spec); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "✓ pushed seven images to show it with")
	return s.render(ctx)
}

// render writes the operator's manifests. The lab's nodes find the images of every registry by a mirror; the controller asks the same.
func (s *show) render(ctx context.Context) error {
	mirrors := map[string]string{}
	for _, host := range []string{"docker.io", "ghcr.io"} {
		mirrors[host] = lab.MirrorHost + "/" + host
	}
	values, err := json.Marshal(map[string]any{"controller": map[string]any{"registryMirrors": mirrors}})
	if err != nil {
		return err
	}
	file := filepath.Join(s.cluster.Dir(), "values.json")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", ".", "--version", s.version, "--values", file, "--out", s.manifests())
	cmd.Dir, cmd.Stderr = "../../hack/manifests", os.Stderr
	if err := os.MkdirAll(filepath.Dir(s.manifests()), 0o755); err != nil {
		return err
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("rendering the manifests: %w", err)
	}
	fmt.Fprintln(os.Stderr, "✓ rendered the operator's manifests from the chart")
	return nil
}

// manifests is the file that render writes.
func (s *show) manifests() string { return filepath.Join(filepath.Dir(s.bin), "dist", "install.yaml") }

// moved is ghcr.io/acme/web:latest after its tag has moved.
func (s *show) moved(ctx context.Context) error {
	_, err := s.cluster.PushImage(ctx, "ghcr.io/acme/web:latest", lab.ImageSpec{Layers: []lab.Layer{{Size: 17 << 20}}, Seed: "a newer one"})
	return err
}

const nginxPod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop", "namespace": "default"},
  "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "nginx:1.29"}]}}`

// sweepJob stands for maintenance: an image of its own, which works on a folder of each node.
const sweepJob = `{"apiVersion": "orlop.dev/v1alpha1", "kind": "NodeJob", "metadata": {"name": "sweep", "namespace": "default"},
  "spec": {"template": {"spec": {"restartPolicy": "Never",
    "volumes": [{"name": "logs", "hostPath": {"path": "/var/log", "type": "Directory"}}],
    "containers": [{"name": "sweep", "image": "minchou/cleaner:1", "args": ["note", "/host/sweep", "clean"],
      "volumeMounts": [{"name": "logs", "mountPath": "/host"}]}]}}}}`

func (s *show) play(ctx context.Context) error {
	for _, st := range append(s.withNothingInstalled(), s.withTheOperator()...) {
		if err := s.perform(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) orlop(args ...string) step {
	return step{program: filepath.Join(s.bin, "kubectl-orlop"), args: args, shown: "kubectl orlop"}
}

func (s *show) kubectl(args ...string) step {
	return step{program: s.cluster.Program("kubectl"), args: args, shown: "kubectl"}
}

func (s *show) withNothingInstalled() []step {
	orlop, kubectl := s.orlop, s.kubectl
	return []step{
		kubectl("get", "nodes"),
		orlop("list").because("What is on which node? Nothing is installed in this cluster: a pod per node answers, and is gone."),
		orlop("pull", "nginx:1.29", "redis:8", "ghcr.io/acme/web:latest", "ghcr.io/acme/web:2026.10.9", "minchou/cleaner:1", "minchou/report:7").because("Fetch images on every node in advance."),
		orlop("pull", "postgres:18.1", "no-such-image:1", "--node", "node2").fails(3).because("One image does not exist. That holds up nothing else, and the exit code is 3."),
		kubectl("apply", "-f", "-").reads(nginxPod).because("A pod on node1 uses nginx."),
		kubectl("wait", "pod/shop", "--for=condition=Ready", "--timeout=60s"),
		orlop("list").because("Every image, once, with the nodes that have it."),
		orlop("df"),
		{before: s.moved, program: filepath.Join(s.bin, "kubectl-orlop"), args: []string{"pull", "ghcr.io/acme/web:latest", "--node", "node3"}, shown: "kubectl orlop",
			why: "Somebody pushes a new ghcr.io/acme/web:latest, and node3 gets it …"},
		orlop("drift", "--offline").because("… so that one tag is two images now."),
		orlop("rm", "nginx:1.29", "ghcr.io/acme/web:2026.10.9", "--yes").because("Take images away everywhere. The one in use on node1 stays."),
		orlop("prune", "--match", "docker.io/minchou/*", "--force", "--dry-run").because("Clean up: first the plan …"),
		orlop("prune", "--match", "docker.io/minchou/*", "--force", "--yes").because("… then the act."),
		orlop("shell", "node1", "--", "images").because("And crictl on a node, without a way in."),
	}
}

// withTheOperator is what an install adds.
func (s *show) withTheOperator() []step {
	orlop, kubectl := s.orlop, s.kubectl
	return []step{
		kubectl("apply", "--server-side", "--force-conflicts", "-f", s.manifests()).quietly().because("Install the operator: images are declared now, and an agent on each node keeps them."),
		kubectl("rollout", "status", "deployment/orlop-controller", "-n", stage.Namespace, "--timeout=120s"),
		kubectl("rollout", "status", "daemonset/orlop-agent", "-n", stage.Namespace, "--timeout=120s"),
		orlop("cache", "create", "web", "--image", "ghcr.io/acme/web:latest", "--image", "postgres:18.1", "--wait").because("Keep two images on every node. One tag is two images by now; it will be one."),
		kubectl("get", "imagecaches"),
		orlop("status", "imagecache/web"),
		orlop("rm", "postgres:18.1", "--yes").because("What a cache keeps is not removed."),
		kubectl("apply", "-f", "-").reads(sweepJob).because("Run a pod of your own once on every node: here it leaves a note in a folder of the host."),
		kubectl("wait", "nodejob/sweep", "--for=condition=Complete", "--timeout=60s"),
		kubectl("get", "nodejobs,pods", "-o", "wide"),
		orlop("status"),
		orlop("list").because("The same list, from what the agents have told: no pod is started for it."),
	}
}

// step is one command of the show.
type step struct {
	why     string
	before  func(context.Context) error
	program string
	shown   string
	args    []string
	stdin   string
	code    int
	quiet   bool
}

func (st step) quietly() step           { st.quiet = true; return st }
func (st step) because(why string) step { st.why = why; return st }
func (st step) reads(text string) step  { st.stdin = text; return st }
func (st step) fails(code int) step     { st.code = code; return st }

func (s *show) perform(ctx context.Context, st step) error {
	if st.why != "" {
		fmt.Printf("\n# %s\n", st.why)
	} else {
		fmt.Println()
	}
	if st.before != nil {
		if err := st.before(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("$ %s %s\n", st.shown, term.CommandLine(st.args...))
	cmd := exec.CommandContext(ctx, st.program, st.args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(st.stdin), os.Stdout, os.Stdout
	if st.quiet {
		cmd.Stdout = nil
	}
	begun := time.Now()
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != st.code {
		return fmt.Errorf("%s %s: exit code %d, want %d: %w", st.shown, st.args[0], code, st.code, err)
	}
	fmt.Printf("(%.1fs)\n", time.Since(begun).Seconds())
	return nil
}
