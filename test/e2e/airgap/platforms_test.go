// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package airgap

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"orlop.dev/orlop/hack/image/archive"
	"orlop.dev/orlop/hack/image/static"
	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// severalPlatforms gives an image of two platforms to a real containerd, as an archive and by a registry: each takes its own from it,
// or the one that is asked for.
func severalPlatforms(t *testing.T) {
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	var images []v1.Image
	for _, arch := range []string{runtime.GOARCH, other} {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte("built for "+arch), 0o755); err != nil {
			t.Fatal(err)
		}
		img, err := static.Image(static.Content{Binaries: []string{path}, Platform: v1.Platform{OS: "linux", Architecture: arch}})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	index, err := static.Index(images, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "several.tar")
	if err := archive.Write(path, stage.Registry+"/several", "v1", index); err != nil {
		t.Fatal(err)
	}
	if err := here.Lab(t).Put(bastion, path, "/root/several.tar"); err != nil {
		t.Fatal(err)
	}
	program := func(node, image, arch string) string {
		return on(t, node, "mkdir -p /mnt/image; ctr -n k8s.io images mount --platform linux/"+arch+" "+image+" /mnt/image >/dev/null; "+
			"cat /mnt/image/usr/local/bin/program; ctr -n k8s.io images unmount --rm /mnt/image >/dev/null")
	}
	on(t, bastion, "ctr -n k8s.io images import /root/several.tar")
	if got := program(bastion, stage.Registry+"/several:v1", runtime.GOARCH); got != "built for "+runtime.GOARCH {
		t.Errorf("of the archive, containerd took %q", got)
	}
	image := lab.PrivateHost + "/orlop/several:v1"
	on(t, bastion, "bin/orlop-push --ca /etc/lab/registry.crt --to "+lab.PrivateHost+"/orlop --user "+lab.PrivateUser+" --password-stdin /root/several.tar < /root/password")
	login := lab.PrivateUser + ":" + lab.PrivatePassword
	on(t, "node2", "crictl pull --creds "+login+" "+image)
	if said := on(t, "node2", "crictl inspecti "+image); !strings.Contains(said, `"architecture": "`+runtime.GOARCH+`"`) {
		t.Errorf("of the registry, the kubelet's way takes %s", said)
	}
	on(t, "node2", "ctr -n k8s.io images pull --local --user "+login+" --tlscacert /etc/lab/registry.crt --platform linux/"+other+" "+image)
	if got := program("node2", image, other); got != "built for "+other {
		t.Errorf("asked for %s, containerd took %q", other, got)
	}
}
