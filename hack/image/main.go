// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command image makes an OCI image of static binaries and nothing else, and pushes it or writes it as an archive.
// The same binaries give the same digest.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"orlop.dev/orlop/hack/image/archive"
	"orlop.dev/orlop/hack/image/static"
)

func main() {
	push := flag.String("push", "", "push to this reference")
	archive := flag.String("archive", "", "write an archive for `ctr images import` and `docker load` to this file")
	tag := flag.String("tag", "", "the image's name in the archive (default: the reference of --push)")
	insecure := flag.Bool("insecure", false, "push over plain HTTP")
	arch := flag.String("arch", runtime.GOARCH, "the binaries' architecture")
	roots := flag.Bool("roots", false, "add the certificates of the public authorities, for a program that asks registries")
	flag.Parse()
	content := static.Content{Binaries: flag.Args(), Platform: v1.Platform{OS: "linux", Architecture: *arch}, Roots: *roots}
	if err := run(content, *push, *archive, *tag, *insecure); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(content static.Content, push, file, tag string, insecure bool) error {
	if len(content.Binaries) == 0 || push == "" && file == "" {
		return errors.New("usage: image (--push REF | --archive FILE --tag REF) BINARY…; the first binary is the entry point")
	}
	img, err := static.Image(content)
	if err != nil {
		return err
	}
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	if tag == "" {
		tag = push
	}
	ref, err := name.NewTag(tag, options...)
	if err != nil {
		return err
	}
	if file != "" {
		index, err := static.Index([]v1.Image{img}, nil)
		if err != nil {
			return err
		}
		if err := archive.Write(file, ref.Context().Name(), ref.TagStr(), index); err != nil {
			return err
		}
	}
	if push != "" {
		if err := remote.Write(ref, img, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return fmt.Errorf("pushing %s: %w", ref, err)
		}
	}
	return describe(ref, img)
}

func describe(ref name.Reference, img v1.Image) error {
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	var compressed int64
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return err
		}
		compressed += size
	}
	_, err = fmt.Fprintf(os.Stdout, "%s@%s %.1f MB compressed\n", ref, digest, float64(compressed)/1e6)
	return err
}
