// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"orlop.dev/orlop/hack/release/pack"
)

const sumsFile = "checksums.txt"

// sum writes the checksums of every file of the release, as `sha256sum --check` reads them.
func (r *release) sum(context.Context) error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, entry := range entries {
		sum, err := sumOf(r.path(entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, entry.Name())
	}
	return os.WriteFile(r.path(sumsFile), []byte(text.String()), 0o644)
}

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// sumOfFile is the checksum of something to be packed.
func sumOfFile(f pack.File) (string, error) {
	if f.From != "" {
		return sumOf(f.From)
	}
	sum := sha256.Sum256([]byte(f.Text))
	return hex.EncodeToString(sum[:]), nil
}
