// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command image makes an OCI image of static binaries and nothing else, and pushes it or writes it as an archive.
// The same binaries give the same digest.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	push := flag.String("push", "", "push to this reference")
	archive := flag.String("archive", "", "write an archive for `ctr images import` and `docker load` to this file")
	tag := flag.String("tag", "", "the image's name in the archive (default: the reference of --push)")
	insecure := flag.Bool("insecure", false, "push over plain HTTP")
	arch := flag.String("arch", runtime.GOARCH, "the binaries' architecture")
	roots := flag.Bool("roots", false, "add the certificates of the public authorities, for a program that asks registries")
	flag.Parse()
	content := content{binaries: flag.Args(), arch: *arch, roots: *roots}
	if err := run(content, *push, *archive, *tag, *insecure); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// content is what an image is made of.
type content struct {
	binaries []string
	arch     string
	roots    bool
}

func run(content content, push, archive, tag string, insecure bool) error {
	if len(content.binaries) == 0 || push == "" && archive == "" {
		return errors.New("usage: image (--push REF | --archive FILE --tag REF) BINARY…; the first binary is the entry point")
	}
	img, err := build(content)
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
	ref, err := name.ParseReference(tag, options...)
	if err != nil {
		return err
	}
	if archive != "" {
		if err := tarball.WriteToFile(archive, ref, img); err != nil {
			return fmt.Errorf("writing %s: %w", archive, err)
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

// build puts each binary into /usr/local/bin. The config's and the layers' media types are both OCI's: CRI-O refuses
// a mixture.
func build(content content) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if content.roots {
		layer, err := layerOf(rootsFile, 0o644, rootsPEM())
		if err != nil {
			return nil, fmt.Errorf("packing certificates: %w", err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	for _, path := range content.binaries {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		layer, err := layerOf("usr/local/bin/"+filepath.Base(path), 0o755, data)
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", path, err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", content.arch
	config.Config.Entrypoint = []string{"/usr/local/bin/" + filepath.Base(content.binaries[0])}
	config.Config.Env = []string{"PATH=/usr/local/bin"}
	return mutate.ConfigFile(img, config)
}

// rootsFile is the first of the places where Go looks. A program started with SSL_CERT_DIR reads it and the folder.
const rootsFile = "etc/ssl/certs/ca-certificates.crt"

// rootsPEM are the authorities that Mozilla trusts without conditions; Go has no way to heed a condition in a file.
func rootsPEM() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		// Writing to a buffer does not fail.
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
	}
	return out.Bytes()
}

// layerOf is one file, without anything that changes from build to build.
func layerOf(name string, mode int64, data []byte) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}
