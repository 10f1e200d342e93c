// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"orlop.dev/orlop/hack/image/archive"
)

// TestAirGap: the package has what its README speaks of, each file with its checksum, and images under their names.
func TestAirGap(t *testing.T) {
	m := theRelease(t)
	top := "orlop-" + m.version + "-airgap/"
	have := map[string][]byte{}
	for name, data := range unpacked(t, m.path("orlop-VERSION-airgap_"+testPlatform.file()+".tar.gz")) {
		short, ok := strings.CutPrefix(name, top)
		if !ok {
			t.Errorf("%s is not in the folder", name)
		}
		have[short] = data
	}
	sums := string(have["SHA256SUMS"])
	for name, data := range have {
		sum := sha256.Sum256(data)
		if name != "SHA256SUMS" && !strings.Contains(sums, hex.EncodeToString(sum[:])+"  "+name+"\n") {
			t.Errorf("%s has another checksum, or none", name)
		}
	}
	spoken := regexp.MustCompile(`\b(bin|chart|images)/[a-z0-9_./-]+[a-z0-9]`).FindAllString(string(have["README.md"]), -1)
	if len(spoken) < 6 {
		t.Errorf("the README speaks of %v alone", spoken)
	}
	for _, name := range spoken {
		if have[name] == nil {
			t.Errorf("the README speaks of %s, which is not there", name)
		}
	}
	for _, name := range []string{node, controller, "orlop-tools"} {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, have["images/"+name+".tar"], 0o600); err != nil {
			t.Fatal(err)
		}
		images, err := archive.Read(path, t.TempDir())
		if err != nil || len(images) != 1 || images[0].Name != registry+"/"+name+":"+m.version {
			t.Errorf("%s holds %v (%v)", name, images, err)
		}
	}
}
