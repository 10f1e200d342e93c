// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	lab "orlop.dev/orlop/test/lab"
)

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "1KB": 1000, "1KiB": 1024, "2GB": 2e9, "2GiB": 2 << 30, "1.5MB": 1.5e6, "10B": 10,
	} {
		var got bytesFlag
		if err := got.Set(text); err != nil || int64(got) != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GB", "-1MB", "1PB2", "a lot", "99999TB", "1e400"} {
		if err := new(bytesFlag).Set(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestLayers(t *testing.T) {
	for text, want := range map[string][]lab.Layer{
		"": nil, "0": nil, "1MB": {{Size: 1e6}}, "2x1KB,5KiB": {{Size: 1000}, {Size: 1000}, {Size: 5120}},
	} {
		got, err := parseLayers(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("layers %q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"x1MB", "0x1MB", "3x", "-1x1MB", "1000000x1B", "1MB,"} {
		if got, err := parseLayers(text); err == nil {
			t.Errorf("layers %q: %v and no error", text, got)
		}
	}
}
