// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"orlop.dev/orlop/test/lab/internal/programs"
)

// Supported says why there can be no lab here, if so.
func Supported() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the lab needs Linux, this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: it makes namespaces, mounts and disks")
	}
	return nil
}

// Need skips a test where there can be no lab, and fails it when CI=true: there, left out means broken.
func Need(tb testing.TB) {
	tb.Helper()
	err := Supported()
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatalf("left out, and with CI=true that is a failure: %v", err)
	}
	if err != nil {
		tb.Skipf("left out: %v", err)
	}
}

// hostPackages are Debian's packages, each with a program of it.
var hostPackages = map[string]string{
	"runc":                        "runc",
	"containernetworking-plugins": "/usr/lib/cni/bridge",
	"iproute2":                    "ip",
	"iptables":                    "iptables",
	"e2fsprogs":                   "mkfs.ext4",
	"mount":                       "mount",
	"util-linux":                  "nsenter",
}

// prepareHost installs the few things that are not built: runc needs a C library that does system call filters.
func prepareHost(ctx context.Context, tell func(Event)) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	wanted := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("the lab needs these packages (by their names in Debian), please install them: %s", wanted)
	}
	begin := time.Now()
	event := Event{Text: "installing " + wanted}
	if tell != nil {
		tell(event)
	}
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	for _, args := range [][]string{{"update"}, install} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("installing %s: %w\n%s", wanted, err, out)
		}
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("installing %s: installed, and yet these are not where Debian has them: %s", wanted, strings.Join(still, " "))
	}
	if event.Done, event.Elapsed = true, time.Since(begin); tell != nil {
		tell(event)
	}
	return nil
}

// systemPath has what a shell of root may lack when it was not a login.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func missingPackages() []string {
	var missing []string
	for name, program := range hostPackages {
		if !slices.ContainsFunc(filepath.SplitList(systemPath), func(dir string) bool {
			if filepath.IsAbs(program) {
				dir = "/"
			}
			_, err := os.Stat(filepath.Join(dir, program))
			return err == nil
		}) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

const (
	watchLimit = "/proc/sys/fs/inotify/max_user_instances"
	// watchesWanted is room for some fifty nodes: a kubelet and its containerd take eight, and the usual limit is 128.
	watchesWanted = 512
)

// raiseWatchLimit changes the one setting of the host that a lab needs changed, until the next boot.
func raiseWatchLimit(tell func(Event)) error {
	content, err := os.ReadFile(watchLimit)
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || limit >= watchesWanted {
		return err
	}
	if err := os.WriteFile(watchLimit, []byte(strconv.Itoa(watchesWanted)), 0); err != nil {
		return fmt.Errorf("raising the limit of file watches: %w", err)
	}
	if tell != nil {
		tell(Event{Text: fmt.Sprintf("limit of file watches raised from %d to %d (%s)", limit, watchesWanted, watchLimit), Done: true})
	}
	return nil
}

// Build builds everything a lab can need, Docker's engine included.
func Build(ctx context.Context, progress func(Event)) error {
	c, err := unstarted(DefaultName)
	if err != nil {
		return err
	}
	if err := c.knowPrograms(progress); err != nil {
		return err
	}
	_, err = c.builder.Ensure(ctx, allProducts()...)
	return err
}

func allProducts() []programs.Product {
	return slices.Concat(programs.Machine(), programs.Kubernetes(), programs.Docker())
}

// products are what a lab needs from the start; the Docker engine is built only for who asks for it.
func products(options Options) []programs.Product {
	wanted := programs.Machine()
	if !options.EnginesOnly {
		wanted = append(wanted, programs.Kubernetes()...)
	}
	if slices.ContainsFunc(options.nodes(), func(n NodeOptions) bool { return n.Engine == Docker }) {
		wanted = append(wanted, programs.Docker()...)
	}
	return wanted
}

func newBuilder(cache string, tell func(Event)) (*programs.Builder, error) {
	source, err := sourceDir()
	if err != nil {
		return nil, err
	}
	builder := &programs.Builder{Source: source, Cache: cache}
	if tell != nil {
		builder.Progress = func(p programs.Progress) {
			tell(Event{Text: "building " + p.Program + " " + p.Version, N: p.N, Of: p.Of, Elapsed: p.Elapsed, Done: p.Done})
		}
	}
	return builder, nil
}

// sourceDir is the folder of this module, which holds the modules of the tools.
func sourceDir() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if _, err := os.Stat(file); err == nil {
			return filepath.Dir(file), nil
		}
	}
	// Built with -trimpath: ask the module we are called in.
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "orlop.dev/orlop/test/lab").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the lab's sources: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
