// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/common"

	"orlop.dev/orlop/hack/release/sbom"
)

const (
	describes = common.TypeRelationshipDescribe
	contains  = common.TypeRelationshipContains

	application = "APPLICATION"
	container   = "CONTAINER"

	ownModule = "orlop.dev/orlop"

	// rootsModule has the certificates of the public authorities.
	rootsModule = "golang.org/x/crypto/x509roots/fallback"
)

// bill writes what is in each program and in each image.
func (r *release) bill(context.Context) error {
	for _, p := range r.platforms {
		for _, name := range []string{plugin, node, controller} {
			if name != plugin && !p.node() {
				continue
			}
			if err := r.billProgram(name, p); err != nil {
				return fmt.Errorf("reading %s for %s: %w", name, p, err)
			}
		}
	}
	for _, img := range r.images {
		if err := r.billImage(img); err != nil {
			return fmt.Errorf("reading the image %s: %w", img.name, err)
		}
	}
	return nil
}

func (r *release) billProgram(name string, p platform) error {
	title := name + "_" + r.version + "_" + p.file()
	sum, err := sumOf(r.built(name, p))
	if err != nil {
		return err
	}
	doc := sbom.New(title, sum, r.time)
	if err := r.addProgram(doc, sbom.Self, describes, name, p); err != nil {
		return err
	}
	return r.writeBill(doc, title)
}

func (r *release) addProgram(doc *sbom.Document, parent sbom.Element, relation, name string, p platform) error {
	path := r.built(name, p)
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	sum, err := sumOf(path)
	if err != nil {
		return err
	}
	a := sbom.Artifact{Name: name, Version: r.version, SHA256: sum, Purpose: application}
	a.Purl = "pkg:golang/" + info.Path + "@" + r.version + "?goos=" + p.os + "&goarch=" + p.arch
	if !strings.HasPrefix(info.Path, ownModule+"/") {
		a.Foreign, a.Version = true, info.Main.Version
		a.Purl = "pkg:golang/" + info.Path + "@" + a.Version
	}
	added := doc.Add(parent, relation, a)
	if a.Foreign {
		doc.Module(added, info.Main.Path, info.Main.Version, info.Main.Sum)
	}
	doc.Modules(added, info)
	return nil
}

func versionIn(info *debug.BuildInfo, module string) string {
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}

func (r *release) billImage(img image) error {
	digest, err := img.index.Digest()
	if err != nil {
		return err
	}
	repository := registry + "/" + img.name
	title := img.name + "_" + r.version + "_image"
	doc := sbom.New(title, digest.Hex, r.time)
	purl := func(digest string) string {
		return "pkg:oci/" + img.name + "@" + digest + "?repository_url=" + repository + "&tag=" + r.version
	}
	top := doc.Add(sbom.Self, describes, sbom.Artifact{Name: repository, Version: r.version, SHA256: digest.Hex, Purpose: container, Purl: purl(digest.String())})
	for _, p := range r.nodes() {
		digest, err := img.by[p].Digest()
		if err != nil {
			return err
		}
		one := doc.Add(top, contains, sbom.Artifact{Name: repository + " for " + p.String(), Version: r.version, SHA256: digest.Hex, Purpose: container,
			Purl: purl(digest.String()) + "&arch=" + p.arch})
		for _, name := range img.programs {
			if err := r.addProgram(doc, one, contains, name, p); err != nil {
				return err
			}
		}
		if img.roots {
			version, err := rootsVersion()
			if err != nil {
				return err
			}
			doc.Module(one, rootsModule, version, "")
		}
	}
	return r.writeBill(doc, title)
}

// rootsVersion is that of the certificates which this very program has put into images.
func rootsVersion() (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		if version := versionIn(info, rootsModule); version != "" {
			return version, nil
		}
	}
	return "", errors.New("the version of the public authorities' certificates is not known")
}

func (r *release) writeBill(doc *sbom.Document, title string) error {
	var text strings.Builder
	if err := doc.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(r.path(title+".spdx.json"), []byte(text.String()), 0o644)
}
