// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// inNode as first argument makes this program the stopwatch on a node: what is measured there starts and ends there,
// so that the way into the node is in no number.
const inNode = "in-node"

const endpoint = "unix:///run/containerd/containerd.sock"

// rawWorkers is what orlop-node does at once by default, too.
const rawWorkers = 4

func runInNode(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 1 && args[0] == "clock":
		return answerClock(ctx)
	case len(args) > 1 && args[0] == "raw-pull":
		return rawPull(ctx, rawWorkers, args[1:])
	case len(args) == 1 && args[0] == "obey":
		return obey(ctx)
	case len(args) == 3 && args[0] == "process":
		return answerProcess(args[1], args[2])
	}
	return fmt.Errorf("unknown request %q", args)
}

// task is one command to measure.
type task struct {
	Argv []string
	// Until: the command has done its work when the node holds no more than this; nil: when it has ended.
	Until *stock
}

// taken is what a command took.
type taken struct {
	Wall  time.Duration // until the command had ended
	Done  time.Duration // until its work was done as well
	RSS   int64         // its peak, in bytes; 0 where it is hidden by that of the stopwatch
	Lines int           // of its standard output
	Stock stock         // what the node held afterwards
}

const (
	// doneWithin is how long after its end a command's work may take.
	doneWithin = time.Minute
	// lookEvery is how exactly the end of the work is seen.
	lookEvery = 2 * time.Millisecond
)

func answerClock(ctx context.Context) error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return err
	}
	w, err := connect()
	if err != nil {
		return err
	}
	result, err := clock(ctx, t, w)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func clock(ctx context.Context, t task, w *watch) (taken, error) {
	var result taken
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, t.Argv[0], t.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// What the last round wrote would be paid for by this one.
	unix.Sync()
	start := time.Now()
	err := cmd.Run()
	result.Wall = time.Since(start)
	result.Done = result.Wall
	if err != nil {
		return result, fmt.Errorf("%s: %w: %s", t.Argv[0], err, lastLine(stderr.String()))
	}
	result.Lines = bytes.Count(stdout.Bytes(), []byte("\n"))
	result.RSS = peak(cmd.ProcessState)
	for {
		if result.Stock, err = w.look(ctx); err != nil || t.Until == nil {
			return result, err
		}
		result.Done = time.Since(start)
		if result.Stock.within(*t.Until) {
			return result, nil
		}
		if result.Done > result.Wall+doneWithin {
			return result, fmt.Errorf("%s: %+v is left %s after its end, and should be %+v", t.Argv[0], result.Stock, doneWithin, *t.Until)
		}
		time.Sleep(lookEvery)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// peak is a process's largest memory. The kernel counts in what the starting process had, so that a smaller peak
// than our own is not known.
func peak(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	var own syscall.Rusage
	if !ok || syscall.Getrusage(syscall.RUSAGE_SELF, &own) != nil || usage.Maxrss <= own.Maxrss {
		return 0
	}
	return usage.Maxrss << 10
}

// rawPull is the measure for pulls: nothing but PullImage, several at once.
func rawPull(ctx context.Context, workers int, images []string) error {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	client := cri.NewImageServiceClient(conn)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, image := range images {
		group.Go(func() error {
			_, err := client.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}})
			return err
		})
	}
	return errors.Join(group.Wait(), conn.Close())
}
