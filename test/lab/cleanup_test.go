// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	lab "orlop.dev/orlop/test/lab"
)

// traces are what a lab has on this machine while it runs.
type traces struct {
	name, dir string
	processes map[int]string
	spaces    map[string]bool
}

// observe notes the processes below the supervisor, and their namespaces.
func observe(t *testing.T, name, dir string, supervisor int) traces {
	t.Helper()
	seen := traces{name: name, dir: dir, processes: map[int]string{}, spaces: map[string]bool{}}
	own := spacesOf(os.Getpid())
	parents := map[int]int{}
	for _, pid := range pids(t) {
		if _, parent, ok := stat(pid); ok {
			parents[pid] = parent
		}
	}
	for pid := range parents {
		for up := pid; up > 1; up = parents[up] {
			if up == supervisor {
				started, _, _ := stat(pid)
				seen.processes[pid] = started
				for _, space := range spacesOf(pid) {
					if !slices.Contains(own, space) {
						seen.spaces[space] = true
					}
				}
				break
			}
		}
	}
	if len(seen.processes) < 8 || len(seen.spaces) < 6 {
		t.Fatalf("seen of the lab: %d processes, %d namespaces", len(seen.processes), len(seen.spaces))
	}
	return seen
}

func pids(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	ok(t, err)
	var all []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// stat is when a process started, which tells it from a later one of the same id, and its parent.
func stat(pid int) (started string, parent int, ok bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	return fields[19], parent, err == nil && fields[0] != "Z"
}

func spacesOf(pid int) []string {
	var spaces []string
	for _, kind := range []string{"net", "mnt", "pid"} {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			spaces = append(spaces, link)
		}
	}
	return spaces
}

// ticks is the time since this machine's start, in the unit in which the kernel tells when a process was started.
func ticks(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/uptime")
	ok(t, err)
	seconds, err := strconv.ParseFloat(strings.Fields(string(content))[0], 64)
	ok(t, err)
	return int(seconds * 100)
}

// alive is what the kernel still has of a lab that was dead at the given time. The kernel gives the number of a namespace
// that has ended to a later one: whoever was started since, such as another lab, holds none of this lab's.
func (seen traces) alive(t *testing.T, dead int) []string {
	t.Helper()
	var left []string
	for pid, started := range seen.processes {
		if now, _, ok := stat(pid); ok && now == started {
			left = append(left, fmt.Sprint("process ", pid))
		}
	}
	for _, pid := range pids(t) {
		started, _, _ := stat(pid)
		if at, err := strconv.Atoi(started); err != nil || at > dead {
			continue
		}
		for _, space := range spacesOf(pid) {
			if seen.spaces[space] {
				left = append(left, fmt.Sprint(space, " of ", pid))
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	ok(t, err)
	if strings.Contains(string(mounts), seen.dir) {
		left = append(left, "a mount")
	}
	backs, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	ok(t, err)
	for _, back := range backs {
		if file, err := os.ReadFile(back); err == nil && strings.HasPrefix(string(file), seen.dir) {
			left = append(left, back)
		}
	}
	return left
}

// files are what it left in folders.
func (seen traces) files(t *testing.T) []string {
	t.Helper()
	var left []string
	if _, err := os.Stat(seen.dir); err == nil {
		left = append(left, seen.dir)
	}
	ok(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasSuffix(path, "/orlop-lab/"+seen.name) {
			left = append(left, path)
		}
		return nil
	}))
	return left
}

func interfaces(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	ok(t, err)
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

const helperVariable = "ORLOP_LAB_TEST_HELPER"

// TestHelper is not a test: it is the process that TestCleanUp kills.
func TestHelper(t *testing.T) {
	name := os.Getenv(helperVariable)
	if name == "" {
		t.Skip("runs only for TestCleanUp")
	}
	c, err := lab.Start(t.Context(), lab.Options{Name: name, Nodes: 1})
	ok(t, err)
	fmt.Println("dir:", c.Dir())
	select {}
}

// startHelper runs a lab, with a pod in it, from a process of its own.
func startHelper(t *testing.T, name string) (*exec.Cmd, traces) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelper$", "-test.v")
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	dir, lines := "", bufio.NewScanner(out)
	for dir == "" && lines.Scan() {
		t.Log(lines.Text())
		dir, _ = strings.CutPrefix(lines.Text(), "dir: ")
		if dir == lines.Text() {
			dir = ""
		}
	}
	c, err := lab.Attach(t.Context(), name)
	ok(t, err)
	push(t, c, "docker.io/acme/web:1", lab.ImageSpec{})
	kubectl(t, c, "run", "web", "--image=docker.io/acme/web:1")
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/web", "--timeout=90s")
	content, err := os.ReadFile(filepath.Join(dir, "supervisor.pid"))
	ok(t, err)
	supervisor, err := strconv.Atoi(string(content))
	ok(t, err)
	return cmd, observe(t, name, dir, supervisor)
}

func TestCleanUp(t *testing.T) {
	lab.Need(t)
	for name, how := range map[string]struct {
		end func(*testing.T, *exec.Cmd, traces)
	}{
		"taken down": {func(t *testing.T, _ *exec.Cmd, seen traces) {
			ok(t, lab.Down(t.Context(), seen.name))
		}},
		"supervisor killed": {func(t *testing.T, _ *exec.Cmd, seen traces) {
			content, err := os.ReadFile(filepath.Join(seen.dir, "supervisor.pid"))
			ok(t, err)
			pid, err := strconv.Atoi(string(content))
			ok(t, err)
			ok(t, syscall.Kill(pid, syscall.SIGKILL))
		}},
		"test killed": {func(t *testing.T, cmd *exec.Cmd, _ traces) {
			ok(t, cmd.Process.Kill())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := interfaces(t)
			labName := fmt.Sprintf("c%d-%d", os.Getpid(), len(name))
			cmd, seen := startHelper(t, labName)
			if now := interfaces(t); !slices.Equal(before, now) {
				t.Errorf("the host's links changed from %v to %v", before, now)
			}
			how.end(t, cmd, seen)
			dead := ticks(t)
			eventually(t, "end of all processes, namespaces, mounts and disks", func() bool { return len(seen.alive(t, dead)) == 0 })
			// Whatever starts or ends next sweeps the folders that no kernel removes.
			ok(t, lab.Down(t.Context(), seen.name))
			if left := seen.files(t); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestStartThatFails(t *testing.T) {
	lab.Need(t)
	given, cancel := context.WithCancel(t.Context())
	for name, test := range map[string]struct {
		ctx     context.Context
		options lab.Options
		want    string
	}{
		"a bad node":          {t.Context(), lab.Options{EnginesOnly: true, More: []lab.NodeOptions{{Name: "same"}, {Name: "same"}}}, "there is one of that name"},
		"a disk that is none": {t.Context(), lab.Options{EnginesOnly: true, Nodes: 1, Node: lab.NodeOptions{DiskSize: 100}}, "disk"},
		"a kubelet that ends": {t.Context(), lab.Options{Nodes: 1, Node: lab.NodeOptions{Kubelet: map[string]any{"maxPods": -1}}}, "kubelet"},
		"given up":            {given, lab.Options{Nodes: 1, Progress: func(lab.Event) { cancel() }}, context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			test.options.Name = fmt.Sprintf("f%d-%d", os.Getpid(), len(name))
			c, err := lab.Start(test.ctx, test.options)
			if err == nil {
				ok(t, c.Close())
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if took := time.Since(begin); took > deadline/2 {
				t.Errorf("it took %s to fail", took)
			}
			root, cacheErr := os.UserCacheDir()
			ok(t, cacheErr)
			seen := traces{name: test.options.Name, dir: filepath.Join(root, "orlop-lab", "i", test.options.Name)}
			if left := append(seen.alive(t, ticks(t)), seen.files(t)...); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
