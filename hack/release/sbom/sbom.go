// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package sbom writes bills of materials in SPDX 2.3, of what Go's linker has left in programs.
package sbom

import (
	"fmt"
	"io"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

const (
	none     = "NOASSERTION"
	licence  = "Apache-2.0"
	supplier = "The Orlop Authors"
	// base begins the names of documents, which must be unique and need not lead anywhere.
	base = "https://orlop.dev/spdx/"
)

// Document is one bill of materials.
type Document struct {
	doc  *spdx.Document
	have map[common.ElementID]bool
}

// New begins the document of something, made at a time; digest tells it from all others of that name.
func New(name, digest string, at time.Time) *Document {
	return &Document{have: map[common.ElementID]bool{}, doc: &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name, DocumentNamespace: base + name + "-" + digest,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Organization", Creator: supplier}, {CreatorType: "Tool", Creator: "orlop-hack-release"}},
			Created:  at.UTC().Format(time.RFC3339),
		},
	}}
}

// Element is something in a document.
type Element = common.ElementID

// Self is the document, of which things are said.
const Self Element = "DOCUMENT"

// Artifact is a program or an image.
type Artifact struct {
	Name, Version, SHA256 string
	// Purl names it as scanners do.
	Purl string
	// Purpose is APPLICATION or CONTAINER.
	Purpose string
	// Foreign: it is not of the Orlop Authors.
	Foreign bool
}

// Add puts an artifact below another element, which the relation says something of.
func (d *Document) Add(parent Element, relation string, a Artifact) Element {
	pkg := &spdx.Package{
		PackageName: a.Name, PackageVersion: a.Version, PackageSPDXIdentifier: id("Package", a.Name, a.SHA256), PrimaryPackagePurpose: a.Purpose,
		PackageDownloadLocation: none, PackageLicenseConcluded: licence, PackageLicenseDeclared: licence, PackageCopyrightText: supplier,
		PackageSupplier:  &common.Supplier{SupplierType: "Organization", Supplier: supplier},
		PackageChecksums: []common.Checksum{{Algorithm: spdx.SHA256, Value: a.SHA256}},
	}
	if a.Foreign {
		pkg.PackageLicenseConcluded, pkg.PackageLicenseDeclared, pkg.PackageCopyrightText, pkg.PackageSupplier = none, none, none, nil
	}
	if a.Purl != "" {
		pkg.PackageExternalReferences = purl(a.Purl)
	}
	d.put(pkg)
	d.relate(parent, relation, pkg.PackageSPDXIdentifier)
	return pkg.PackageSPDXIdentifier
}

// Modules adds what a program is linked from: the modules and the standard library.
func (d *Document) Modules(program Element, info *debug.BuildInfo) {
	d.Module(program, "stdlib", strings.TrimPrefix(info.GoVersion, "go"), "")
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		d.Module(program, m.Path, m.Version, m.Sum)
	}
}

// Module adds one module that something depends on.
func (d *Document) Module(of Element, path, version, sum string) {
	pkg := &spdx.Package{
		PackageName: path, PackageVersion: version, PackageSPDXIdentifier: id("Module", path, version), PrimaryPackagePurpose: "LIBRARY",
		PackageDownloadLocation: none, PackageLicenseConcluded: none, PackageLicenseDeclared: none, PackageCopyrightText: none,
		PackageExternalReferences: purl("pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")),
	}
	if sum != "" {
		pkg.PackageComment = "go.sum has " + sum
	}
	d.put(pkg)
	d.relate(of, common.TypeRelationshipDependsOn, pkg.PackageSPDXIdentifier)
}

// Write gives the document as JSON.
func (d *Document) Write(to io.Writer) error { return json.Write(d.doc, to, json.Indent("  ")) }

func (d *Document) put(pkg *spdx.Package) {
	if !d.have[pkg.PackageSPDXIdentifier] {
		d.have[pkg.PackageSPDXIdentifier] = true
		d.doc.Packages = append(d.doc.Packages, pkg)
	}
}

func (d *Document) relate(a Element, relation string, b Element) {
	d.doc.Relationships = append(d.doc.Relationships, &spdx.Relationship{
		RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: relation,
	})
}

func purl(text string) []*spdx.PackageExternalReference {
	return []*spdx.PackageExternalReference{{Category: spdx.CategoryPackageManager, RefType: spdx.PackageManagerPURL, Locator: text}}
}

// notInID are the characters that an identifier cannot have.
var notInID = regexp.MustCompile(`[^a-zA-Z0-9.-]`)

func id(kind, name, version string) Element {
	return Element(notInID.ReplaceAllString(fmt.Sprintf("%s-%s-%s", kind, name, version), "-"))
}
