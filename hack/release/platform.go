// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// platform is what a program is built for, in Go's words.
type platform struct{ os, arch string }

// all are the platforms of a release. Nodes are those with Linux; the others are of people's machines.
var all = []platform{
	{"linux", "amd64"}, {"linux", "arm64"}, {"linux", "arm"}, {"linux", "ppc64le"}, {"linux", "s390x"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"},
}

// here is the machine that makes the release.
var here = platform{runtime.GOOS, runtime.GOARCH}

// armVersion is the oldest ARM of 32 bits that is built for.
const armVersion = "7"

func (p platform) String() string { return p.os + "/" + p.arch }

// file is the platform as a part of a file's name.
func (p platform) file() string { return p.os + "_" + p.arch }

// node reports whether Orlop runs on such nodes.
func (p platform) node() bool { return p.os == "linux" }

// exe is what programs' names end with.
func (p platform) exe() string {
	if p.os == "windows" {
		return ".exe"
	}
	return ""
}

// oci is the platform in the words of images.
func (p platform) oci() v1.Platform {
	out := v1.Platform{OS: p.os, Architecture: p.arch}
	if p.arch == "arm" {
		out.Variant = "v" + armVersion
	}
	return out
}

// choose reads a list of platforms; an empty one is all of them.
func choose(list string) ([]platform, error) {
	if list == "" {
		return all, nil
	}
	var chosen []platform
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(p platform) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no release for %q, but for %v", name, all)
		}
		chosen = append(chosen, all[i])
	}
	if !slices.ContainsFunc(chosen, platform.node) {
		return nil, fmt.Errorf("%s has no nodes: name at least one platform with linux", list)
	}
	return chosen, nil
}
