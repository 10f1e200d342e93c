// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package programs builds what the lab runs from Go modules, once for each version, and says where it lies.
package programs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Builder keeps programs in a folder which several labs share.
type Builder struct {
	// Source is the folder of the lab's own module.
	Source string
	// Cache is the folder of the built programs.
	Cache string
	// Progress is told before and after each build; nil is silent.
	Progress func(Progress)
}

// Progress is one step of a build.
type Progress struct {
	Program string
	Version string
	N, Of   int
	Elapsed time.Duration
	Done    bool
}

// Paths are the built programs by name.
type Paths map[string]string

type task struct {
	product Product
	program Program
	path    string
}

// Ensure builds what is missing of the products and returns where all their programs are.
func (b *Builder) Ensure(ctx context.Context, products ...Product) (Paths, error) {
	paths, missing, err := b.look(products)
	if err != nil || len(missing) == 0 {
		return paths, err
	}
	unlock, err := b.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another process may have built them while this one waited for the lock.
	paths, missing, err = b.look(products)
	if err != nil {
		return nil, err
	}
	for i, t := range missing {
		if err := b.build(ctx, t, i+1, len(missing)); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// Paths says where the products' programs are, or will be once they are built.
func (b *Builder) Paths(products ...Product) (Paths, error) {
	paths, _, err := b.look(products)
	return paths, err
}

func (b *Builder) look(products []Product) (Paths, []task, error) {
	paths := Paths{}
	var missing []task
	for _, product := range products {
		key, err := b.key(product)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the module of %s: %w", product.Name, err)
		}
		for _, program := range product.Programs {
			path := filepath.Join(b.Cache, product.Name+"-"+product.Version+"-"+key, program.Name)
			paths[program.Name] = path
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, task{product, program, path})
			} else if err != nil {
				return nil, nil, err
			}
		}
	}
	return paths, missing, nil
}

// key changes with everything a product is built from, so that a stale binary is never taken for a new one.
func (b *Builder) key(product Product) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.GOOS, runtime.GOARCH, product.Tags, product.LDFlags)
	dir := filepath.Join(b.Source, product.Dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if entry.IsDir() || !slices.Contains([]string{".go", ".mod", ".sum"}, filepath.Ext(entry.Name())) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", entry.Name(), len(content))
		hash.Write(content)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6]), nil
}

func (b *Builder) build(ctx context.Context, t task, n, of int) error {
	begin := time.Now()
	step := Progress{Program: t.program.Name, Version: t.product.Version, N: n, Of: of}
	b.tell(step)
	if err := os.MkdirAll(filepath.Dir(t.path), 0o755); err != nil {
		return err
	}
	unfinished := t.path + ".building"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", t.product.Tags,
		"-ldflags", strings.TrimSpace("-s -w "+t.product.LDFlags), "-o", unfinished, t.program.Package)
	cmd.Dir = filepath.Join(b.Source, t.product.Dir)
	// A workspace or the flags of whoever calls would change what is built under the same key.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s %s: %w\n%s", t.program.Name, t.product.Version, err, tail(&out))
	}
	if err := os.Rename(unfinished, t.path); err != nil {
		return err
	}
	step.Done, step.Elapsed = true, time.Since(begin)
	b.tell(step)
	return nil
}

func (b *Builder) tell(p Progress) {
	if b.Progress != nil {
		b.Progress(p)
	}
}

func (b *Builder) lock() (func(), error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(b.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("locking the cache of programs: %w", err)
	}
	return func() { file.Close() }, nil
}

// tail keeps the end of a compiler's words: the first error of a long list is rarely far from it.
func tail(out *bytes.Buffer) string {
	const enough = 4 << 10
	if skip := out.Len() - enough; skip > 0 {
		out.Next(skip)
	}
	text, _ := io.ReadAll(out)
	return strings.TrimSpace(string(text))
}
