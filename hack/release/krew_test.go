// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// krew runs one of krew's own programs.
func krew(t *testing.T, root, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", program}, args...)...)
	cmd.Dir = "../tools/krew"
	cmd.Env = append(os.Environ(), "KREW_ROOT="+root, "KREW_OS="+testPlatform.os, "KREW_ARCH="+testPlatform.arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// TestKrewTakesIt: krew's own check finds the manifest good, and krew installs the plugin from its archive. Its completion
// goes where kubectl finds it, which is not where krew keeps it.
func TestKrewTakesIt(t *testing.T) {
	if testPlatform.arch == noKrew {
		t.Skipf("krew does not know %s", testPlatform)
	}
	m := theRelease(t)
	manifest, root := m.path(krewFile), t.TempDir()
	krew(t, root, "validate-krew-manifest", "-manifest", manifest, "-skip-install")
	krew(t, root, "krew", "install", "--manifest="+manifest, "--archive="+m.path(plugin+"_VERSION_"+testPlatform.file()+".tar.gz"))
	if _, err := os.Stat(filepath.Join(root, "store", "orlop", m.version, "LICENSE")); err != nil {
		t.Error(err)
	}
	installed := filepath.Join(root, "bin", plugin)
	if testPlatform != here {
		return
	}
	out, err := exec.CommandContext(t.Context(), installed, "version", "--client").CombinedOutput()
	if err != nil || !strings.Contains(string(out), m.version) {
		t.Errorf("%s %v", out, err)
	}
	t.Setenv("PATH", filepath.Dir(installed)+":"+os.Getenv("PATH"))
	if out, err := exec.CommandContext(t.Context(), installed, "completion", "install").CombinedOutput(); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	out, err = exec.CommandContext(t.Context(), "kubectl_complete-orlop", "sta").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "status") {
		t.Errorf("kubectl, which looks on the PATH, gets %s %v", out, err)
	}
}

// TestKrewRefusesOthers: an archive that is not the manifest's is not installed.
func TestKrewRefusesOthers(t *testing.T) {
	m := theRelease(t)
	sum, err := sumOf(m.path(plugin + "_VERSION_" + testPlatform.file() + ".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(t.TempDir(), krewFile)
	text := strings.ReplaceAll(string(m.read(t, krewFile)), sum, strings.Repeat("a", len(sum)))
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "krew", "install", "--manifest="+manifest, "--archive="+m.path(plugin+"_VERSION_"+testPlatform.file()+".tar.gz"))
	cmd.Dir = "../tools/krew"
	cmd.Env = append(os.Environ(), "KREW_ROOT="+t.TempDir(), "KREW_OS="+testPlatform.os, "KREW_ARCH="+testPlatform.arch)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "checksum") {
		t.Errorf("%v\n%s", err, out)
	}
}
