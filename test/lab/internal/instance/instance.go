// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package instance knows where a lab keeps its things, whether it lives, and how to sweep up what is left of a dead one.
package instance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

const (
	// ControlSocket is the supervisor's socket in the folder of an instance.
	ControlSocket = "control.sock"
	// maxSocketPath is what the kernel takes for the name of a unix socket, less its end.
	maxSocketPath = 107
	// longestSocket is the longest that a node adds to the instance's folder.
	longestSocket = "/nodes/a-name-of-22-characters/run/containerd/containerd.sock"
)

// Instance is one lab on this machine.
type Instance struct {
	Name string
	root string
}

var validName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,20}[a-z0-9])?$`)

// CheckName refuses names that are no good for a lab or a node.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("name %q: it must begin with a lower-case letter and have at most 22 lower-case letters, digits and dashes", name)
	}
	return nil
}

// Open names an instance; it need not exist.
func Open(name string) (Instance, error) {
	if err := CheckName(name); err != nil {
		return Instance{}, err
	}
	root, err := Root()
	if err != nil {
		return Instance{}, err
	}
	i := Instance{Name: name, root: root}
	if len(i.Dir()+longestSocket) > maxSocketPath {
		return Instance{}, fmt.Errorf("folder %s: its path is too long for the sockets in it; set XDG_CACHE_HOME to a shorter one", i.Dir())
	}
	return i, nil
}

// Root is the folder of all instances and of the programs they share.
func Root() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for the cache folder: %w", err)
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return "", err
	}
	return filepath.Join(cache, "orlop-lab"), nil
}

// Root is the folder of all instances and of the programs they share.
func (i Instance) Root() string { return i.root }

// Programs is the folder of the built programs.
func (i Instance) Programs() string { return filepath.Join(i.root, "bin") }

// Dir is the folder of this instance.
func (i Instance) Dir() string { return filepath.Join(i.root, "i", i.Name) }

// Path is a place in the folder of this instance.
func (i Instance) Path(parts ...string) string {
	return filepath.Join(append([]string{i.Dir()}, parts...)...)
}

// Kubeconfig is the administrator's kubeconfig for this machine.
func (i Instance) Kubeconfig() string { return i.Path("kubeconfig") }

// AuditLog is where the API server tells of the changes that it was asked for.
func (i Instance) AuditLog() string { return i.Path("logs", "audit.log") }

// Lock takes the instance for as long as the file, or a copy of it in a child process, is open. A supervisor holds it
// until it dies, so a lock that can be had means a dead instance; process ids, which come back, are not asked.
func (i Instance) Lock() (file *os.File, ok bool, err error) {
	dir := filepath.Join(i.root, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, false, err
	}
	file, err = os.OpenFile(filepath.Join(dir, i.Name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		file.Close()
		return nil, false, nil
	}
	if err != nil {
		file.Close()
		return nil, false, fmt.Errorf("locking the lab %s: %w", i.Name, err)
	}
	return file, true, nil
}

// All are the instances that have a folder.
func All() ([]Instance, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(root, "i", "*"))
	if err != nil {
		return nil, err
	}
	var all []Instance
	for _, dir := range dirs {
		if name := filepath.Base(dir); !strings.HasPrefix(name, ".") {
			all = append(all, Instance{Name: name, root: root})
		}
	}
	return all, nil
}
