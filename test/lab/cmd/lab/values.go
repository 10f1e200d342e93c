// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"

	lab "orlop.dev/orlop/test/lab"
)

// bytesFlag is a number of bytes, written with or without a unit.
type bytesFlag int64

var units = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// maxBytes keeps a slip of the finger from asking for more than any disk has.
const maxBytes = 1 << 50

func (b *bytesFlag) Set(text string) error {
	for _, unit := range units {
		number, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || value < 0 || value*unit.factor > maxBytes {
			return fmt.Errorf("%q is no size such as 512MB or 2GiB", text)
		}
		*b = bytesFlag(value * unit.factor)
		return nil
	}
	return nil
}

func (b *bytesFlag) String() string {
	for _, unit := range []int{2, 1, 0} {
		if factor := int64(units[unit].factor); int64(*b) >= factor && int64(*b)%factor == 0 {
			return fmt.Sprint(int64(*b)/factor) + units[unit].suffix
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// maxLayers is what the kernel lets overlay stack, and more than any real image has.
const maxLayers = 120

// parseLayers reads sizes such as 3x1MB,10MB.
func parseLayers(text string) ([]lab.Layer, error) {
	var layers []lab.Layer
	if text == "" || text == "0" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		count := 1
		if before, after, ok := strings.Cut(part, "x"); ok {
			n, err := strconv.Atoi(before)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("layers %q: write them as 3x1MB", part)
			}
			count, part = n, after
		}
		var size bytesFlag
		if err := size.Set(part); err != nil {
			return nil, fmt.Errorf("layers: %w", err)
		}
		if len(layers)+count > maxLayers {
			return nil, fmt.Errorf("layers: at most %d", maxLayers)
		}
		for range count {
			layers = append(layers, lab.Layer{Size: int64(size)})
		}
	}
	return layers, nil
}
