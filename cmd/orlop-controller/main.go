// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command orlop-controller turns ImageCaches into what each node should hold, and sums up what the nodes answer.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // The image has no time zones of its own, which schedules name.

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"orlop.dev/orlop/internal/controller"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	handler := slog.NewJSONHandler(os.Stderr, nil)
	slog.SetDefault(slog.New(handler))
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetSlogLogger(slog.New(handler)) // What client-go has to say.
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		slog.Error("ended", "error", err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	verb := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	cfg := controller.Config{Version: version}
	flags := flag.NewFlagSet("orlop-controller", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the cluster, when run outside of it")
	flags.StringVar(&cfg.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "where Orlop is installed (POD_NAMESPACE)")
	templates := true
	switch verb {
	case "":
		flags.BoolVar(&cfg.LeaderElect, "leader-elect", true, "let one of several controllers work")
		flags.StringVar(&cfg.MetricsAddress, "metrics-address", ":8080", "where /metrics listens; 0 is nowhere")
		flags.StringVar(&cfg.HealthAddress, "health-address", ":8081", "where /healthz and /readyz listen; 0 is nowhere")
		flags.IntVar(&cfg.DriftSeries, "drift-series-limit", 200, "how many tags have a series in the metric orlop_tag_drift_nodes; 0: none")
		flags.BoolVar(&templates, "allow-templates", true, "run the pods that NodeJobs have as template; without, the right to make pods is not needed")
		flags.Func("registry-mirror", "HOST=MIRROR[/PATH]: ask that instead of the registry HOST, or of every other one if HOST is *; may be repeated", cfg.AddMirror)
	case "retire":
		flags.DurationVar(&cfg.RetireTimeout, "timeout", 30*time.Second, "how long to wait for the nodes to answer")
	default:
		return fmt.Errorf("%q is not known: run orlop-controller, or orlop-controller retire", verb)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	if cfg.DriftSeries < 0 {
		return fmt.Errorf("--drift-series-limit is a number of tags from 0, not %d", cfg.DriftSeries)
	}
	cfg.NoTemplates = !templates
	rest, err := controller.RESTConfig(*kubeconfig, version)
	if err != nil {
		return err
	}
	if verb == "retire" {
		return controller.Retire(ctx, rest, cfg)
	}
	return controller.Run(ctx, rest, cfg)
}
