// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"strings"
	"testing"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"
)

// TestBills: each document is read and found valid by SPDX's own library, describes one thing, and nothing in it stands apart.
func TestBills(t *testing.T) {
	m := theRelease(t)
	for name, modules := range map[string][]string{
		plugin + "_VERSION_" + testPlatform.file():     {"stdlib", "k8s.io/kubectl", "github.com/spf13/cobra"},
		node + "_VERSION_" + testPlatform.file():       {"stdlib", "k8s.io/cri-api"},
		controller + "_VERSION_" + testPlatform.file(): {"stdlib", "sigs.k8s.io/controller-runtime"},
		node + "_VERSION_image":                        {"stdlib", "k8s.io/cri-api", registry + "/orlop-node"},
		controller + "_VERSION_image":                  {"stdlib", rootsModule, registry + "/orlop-controller"},
		"orlop-tools_VERSION_image":                    {"stdlib", "orlop-node", "crictl", "sigs.k8s.io/cri-tools"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := json.Read(bytes.NewReader(m.read(t, name+".spdx.json")))
			if err != nil {
				t.Fatal(err)
			}
			if err := spdxlib.ValidateDocument(doc); err != nil {
				t.Error(err)
			}
			if doc.SPDXVersion != "SPDX-2.3" || !strings.HasPrefix(doc.DocumentNamespace, "https://") || doc.CreationInfo.Created == "" {
				t.Errorf("%+v", doc)
			}
			described, err := spdxlib.GetDescribedPackageIDs(doc)
			if err != nil || len(described) != 1 {
				t.Errorf("it describes %v (%v)", described, err)
			}
			lookAtPackages(t, doc, modules)
		})
	}
}

func lookAtPackages(t *testing.T, doc *spdx.Document, want []string) {
	t.Helper()
	related := map[spdx.ElementID]bool{}
	for _, r := range doc.Relationships {
		related[r.RefB.ElementRefID] = true
	}
	have := map[string]bool{}
	for _, pkg := range doc.Packages {
		have[pkg.PackageName] = true
		if pkg.PackageVersion == "" || len(pkg.PackageExternalReferences) != 1 || !related[pkg.PackageSPDXIdentifier] {
			t.Errorf("%+v", pkg)
		}
	}
	for _, name := range want {
		if !have[name] {
			t.Errorf("%s is not in it", name)
		}
	}
}

// TestBillHasEveryModule compares a bill with what the program itself says of its modules.
func TestBillHasEveryModule(t *testing.T) {
	m := theRelease(t)
	info, err := buildinfo.Read(bytes.NewReader(unpacked(t, m.path(plugin+"_VERSION_"+testPlatform.file()+".tar.gz"))[plugin]))
	if err != nil {
		t.Fatal(err)
	}
	text := string(m.read(t, plugin+"_VERSION_"+testPlatform.file()+".spdx.json"))
	for _, dep := range info.Deps {
		if !strings.Contains(text, `"name": "`+dep.Path+`"`) || !strings.Contains(text, dep.Sum) {
			t.Errorf("%s %s is not in it", dep.Path, dep.Version)
		}
	}
	if len(info.Deps) < 20 {
		t.Errorf("only %d modules", len(info.Deps))
	}
}
