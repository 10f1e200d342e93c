// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sweepPause is between two looks at what the kernel has not yet let go.
const sweepPause = 20 * time.Millisecond

// sweepTimeout bounds the sweep of one instance: what something foreign holds must not keep a new lab from starting.
const sweepTimeout = 10 * time.Second

// SweepDead removes what is left of every instance whose supervisor is dead, and returns their names.
func SweepDead(ctx context.Context) ([]string, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	var swept []string
	var failed []error
	for _, i := range all {
		lock, ok, err := i.Lock()
		if err != nil {
			return swept, err
		}
		if !ok {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, sweepTimeout)
		err = i.Sweep(limited)
		cancel()
		lock.Close()
		if err != nil {
			failed = append(failed, err)
			continue
		}
		swept = append(swept, i.Name)
	}
	return swept, errors.Join(failed...)
}

// Sweep removes what the kernel leaves of a dead instance: its disks, once they are free, its cgroups, its folder.
func (i Instance) Sweep(ctx context.Context) error {
	if err := until(ctx, "disks of the lab "+i.Name+" to be free", func() (bool, error) {
		loops, err := i.Loops()
		return len(loops) == 0, err
	}); err != nil {
		return err
	}
	if err := i.RemoveCgroups(ctx, ""); err != nil {
		return err
	}
	if err := os.RemoveAll(i.Dir()); err != nil {
		return fmt.Errorf("removing the folder of the lab %s: %w", i.Name, err)
	}
	return nil
}

// Loops are the loop devices on the instance's disks.
func (i Instance) Loops() ([]string, error) { return i.loops(i.Dir()) }

func (i Instance) loops(dir string) ([]string, error) {
	backs, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var loops []string
	for _, back := range backs {
		// The device may have been freed since the folder was read.
		if file, err := os.ReadFile(back); err == nil && strings.HasPrefix(string(file), dir+"/") {
			loops = append(loops, "/dev/"+strings.Split(back, "/")[3])
		}
	}
	return loops, nil
}

// until asks again and again until the answer is yes.
func until(ctx context.Context, what string, ask func() (bool, error)) error {
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(sweepPause):
		}
	}
}

const cgroupRoot = "/sys/fs/cgroup"

// Cgroup is the parent of a node's pods in every hierarchy.
func (i Instance) Cgroup(node string) string {
	return filepath.Join("/orlop-lab", i.Name, node)
}

// MakeCgroup makes the parent of a node's pods in every hierarchy of this machine, of either version.
func (i Instance) MakeCgroup(node string) error {
	for _, hierarchy := range hierarchies() {
		dir := hierarchy
		for part := range strings.SplitSeq(strings.Trim(i.Cgroup(node), "/"), "/") {
			if err := passDown(dir); err != nil {
				return err
			}
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("making a cgroup: %w", err)
			}
			if err := inheritCPUs(parent, dir); err != nil {
				return err
			}
		}
		if err := passDown(dir); err != nil {
			return err
		}
	}
	return nil
}

// hierarchies are the folders of version 1, one for each controller, or the one of version 2.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}
	}
	var dirs []string
	entries, _ := os.ReadDir(cgroupRoot)
	for _, entry := range entries {
		// Links such as cpu -> cpu,cpuacct are the same folder once more; a hybrid host's unified tree has no controllers.
		if entry.IsDir() && entry.Name() != "unified" {
			dirs = append(dirs, filepath.Join(cgroupRoot, entry.Name()))
		}
	}
	return dirs
}

// passDown lets the children of a version 2 group have its controllers.
func passDown(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(controllers)) {
		// One controller that cannot be passed on (rdma, misc on some hosts) must not hide the others.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	return nil
}

// inheritCPUs fills a new version 1 cpuset, which takes no process while it is empty.
func inheritCPUs(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) || len(strings.TrimSpace(string(value))) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(parent, "cgroup.controllers")); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return fmt.Errorf("giving a cgroup its processors: %w", err)
		}
	}
	return nil
}

// RemoveCgroups removes the cgroups of a dead node, or of the whole dead instance.
func (i Instance) RemoveCgroups(ctx context.Context, node string) error {
	for _, hierarchy := range cgroupTrees() {
		top := filepath.Join(hierarchy, i.Cgroup(node))
		if err := until(ctx, "the cgroup "+top+" to be empty", func() (bool, error) { return removeTree(top) }); err != nil {
			return err
		}
		// The parent of all instances goes with the last of them.
		_ = os.Remove(filepath.Join(hierarchy, "orlop-lab"))
	}
	return nil
}

// cgroupTrees also has the controller-less tree of a hybrid host, in which runc makes folders too.
func cgroupTrees() []string {
	trees := hierarchies()
	if unified := filepath.Join(cgroupRoot, "unified"); !slices.Contains(trees, unified) {
		trees = append(trees, unified)
	}
	return trees
}

// removeTree removes the folders of a cgroup from the leaves up; its files are the kernel's.
func removeTree(top string) (bool, error) {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		err := os.Remove(dir)
		if errors.Is(err, syscall.EBUSY) {
			return false, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("removing a cgroup: %w", err)
		}
	}
	return true, nil
}

// RemoveNode removes what a dead node leaves.
func (i Instance) RemoveNode(ctx context.Context, node string) error {
	dir := i.Path("nodes", node)
	if err := until(ctx, "the disk of "+node+" to be free", func() (bool, error) {
		loops, err := i.loops(dir)
		return len(loops) == 0, err
	}); err != nil {
		return err
	}
	if err := i.RemoveCgroups(ctx, node); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
