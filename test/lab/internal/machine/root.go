// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// setUp makes the machine's root: a writable layer on the machine's own disk above the root of the host, which
// therefore stays as it is whatever runs here.
func setUp(spec Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	disk, root := filepath.Join(spec.Dir, "disk"), filepath.Join(spec.Dir, "root")
	if err := mountDisk(spec.Disk(), disk); err != nil {
		return err
	}
	if err := mountRoot(disk, root); err != nil {
		return err
	}
	if err := mountInside(spec, disk, root); err != nil {
		return err
	}
	if err := furnish(spec, root); err != nil {
		return err
	}
	if err := enter(root); err != nil {
		return err
	}
	return unix.Sethostname([]byte(spec.Name))
}

func mountDisk(image, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	// mount(8) finds a free loop device, tries again when another takes it first, and lets the kernel free it with the mount.
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		return fmt.Errorf("mounting the disk %s: %w: %s", image, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func mountRoot(disk, root string) error {
	upper, work := filepath.Join(disk, "root"), filepath.Join(disk, "work")
	for _, dir := range []string{upper, work, root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	return nil
}

func mountInside(spec Spec, disk, root string) error {
	binds := [][2]string{{spec.Run(), "/run"}, {spec.Shared, spec.Shared}}
	for folder, at := range spec.Volumes {
		binds = append(binds, [2]string{filepath.Join(disk, folder), at})
	}
	for _, b := range binds {
		if err := bind(b[0], filepath.Join(root, b[1]), 0); err != nil {
			return err
		}
	}
	for _, tree := range []string{"/dev", "/sys"} {
		if err := bind(tree, filepath.Join(root, tree), unix.MS_REC); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

func bind(from, to string, flags uintptr) error {
	for _, dir := range []string{from, to} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", to, err)
	}
	return nil
}

func furnish(spec Spec, root string) error {
	for name, content := range spec.Files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		// A file of the host, such as /etc/resolv.conf, may be a link that leads out of the new root.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
	}
	for name, target := range spec.Links {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// enter changes to the new root by pivot_root: below a mere chroot runc could not change the root again, and nsenter
// would land in the old one.
func enter(root string) error {
	old := filepath.Join(root, "mnt")
	if err := os.MkdirAll(old, 0o755); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/mnt", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	// Volumes that the kubelet mounts reach the containers only through shared mounts.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing mounts: %w", err)
	}
	return nil
}
