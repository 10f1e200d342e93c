// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command release makes all that a release of Orlop consists of, from a clone of the repository and the Go module proxy alone.
// The same commit gives the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	var o options
	var platforms string
	flag.StringVar(&o.root, "root", "../..", "the repository's `folder`")
	flag.StringVar(&o.version, "version", "", "the release's `version`, such as v0.1.0 (default: v0.0.0-g with the commit)")
	flag.StringVar(&o.out, "out", "../../dist/release", "the `folder` to write to; what an earlier release left there is removed")
	flag.StringVar(&platforms, "platforms", "", "only these, such as linux/amd64,darwin/arm64 (default: all)")
	flag.BoolVar(&o.lean, "lean", false, "keep nothing that was compiled for other platforms than this machine's: the next release takes as long, and 6 GB of disk stay free")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := func() (err error) {
		if flag.NArg() > 0 {
			return fmt.Errorf("%q is not a flag", flag.Arg(0))
		}
		if o.platforms, err = choose(platforms); err != nil {
			return err
		}
		o.say = func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, strings.TrimSuffix(format, "\n")+"\n", args...)
		}
		return run(ctx, o)
	}()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}
