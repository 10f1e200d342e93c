// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package airgap

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"orlop.dev/orlop/test/e2e/stage"
)

// dockerNode has a Docker engine, and no kubelet.
const dockerNode = "docker1"

// dockerLoads gives the archive of the node's image to a real Docker engine, as `docker load` does.
func dockerLoads(t *testing.T, path, version string) {
	socket := here.Lab(t).DockerSocket(dockerNode)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	ask := func(method, path string, body io.Reader) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-tar")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		said, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s: %s (%v)", method, path, response.Status, said, err)
		}
		return string(said)
	}
	if said := ask(http.MethodPost, "/images/load", inPackage(t, path, "images/orlop-node.tar")); strings.Contains(said, "error") {
		t.Errorf("docker load: %s", said)
	}
	image := stage.Registry + "/orlop-node:" + version
	if said := ask(http.MethodGet, "/images/"+image+"/json", nil); !strings.Contains(said, image) || !strings.Contains(said, "/usr/local/bin/orlop-node") {
		t.Errorf("docker has %s", said)
	}
}

// inPackage is one file of the package.
func inPackage(t *testing.T, path, name string) io.Reader {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	unpressed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(unpressed); ; {
		header, err := r.Next()
		if err != nil {
			t.Fatalf("looking for %s: %v", name, err)
		}
		if strings.HasSuffix(header.Name, "/"+name) {
			return r
		}
	}
}
