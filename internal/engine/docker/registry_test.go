// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
)

// registryServer is a registry on loopback; Docker speaks plain HTTP to that.
type registryServer struct {
	host  string
	login *engine.Credentials

	mu      sync.Mutex
	stalled map[string]bool
	lifted  chan struct{}
}

func newRegistry(t testing.TB, login *engine.Credentials) *registryServer {
	r := &registryServer{login: login, stalled: map[string]bool{}, lifted: make(chan struct{})}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); login != nil && (user != login.Username || password != login.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		if r.holds(req) {
			w = &stallingWriter{w, func() {
				select {
				case <-r.lifted:
				case <-req.Context().Done():
				}
			}}
		}
		inner.ServeHTTP(w, req)
	}))
	r.host = strings.TrimPrefix(server.URL, "http://")
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(r.lifted) })
	return r
}

// holds reports whether the layer that is asked for is of a stalled repository.
func (r *registryServer) holds(req *http.Request) bool {
	if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") {
		return false
	}
	repository, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/")
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stalled[r.host+"/"+repository]
}

// stallingWriter sends the head of an answer and holds back its body: Docker 20.10 does not give up waiting for a head
// when a pull is cancelled, and then has one download less to run at once.
type stallingWriter struct {
	http.ResponseWriter
	wait func()
}

func (w *stallingWriter) Write(p []byte) (int, error) {
	w.ResponseWriter.(http.Flusher).Flush()
	w.wait()
	return w.ResponseWriter.Write(p)
}

func (r *registryServer) stall(_ testing.TB, repository string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled[repository] = true
}

func (r *registryServer) push(t testing.TB, ref oci.Ref, content enginetest.Content) digest.Digest {
	t.Helper()
	return r.pushImage(t, ref, buildImage(t, content))
}

func (r *registryServer) pushImage(t testing.TB, ref oci.Ref, image v1.Image) digest.Digest {
	t.Helper()
	target, err := name.ParseReference(ref.String(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	auth := authn.Anonymous
	if r.login != nil {
		auth = &authn.Basic{Username: r.login.Username, Password: r.login.Password}
	}
	if err := remote.Write(target, image, remote.WithAuth(auth), remote.WithContext(t.Context())); err != nil {
		t.Fatalf("pushing %s: %v", ref, err)
	}
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(d.String())
}

// buildImage makes content real: layers of bytes that do not compress, and a program, so that it can run.
func buildImage(t testing.TB, content enginetest.Content) v1.Image {
	t.Helper()
	layers := []v1.Layer{fileLayer(t, "sleeper", sleeper(t))}
	for _, blob := range content.Layers {
		layers = append(layers, fileLayer(t, "data-"+blob.Seed, noise(blob)))
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.DockerManifestSchema2), layers...)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, configOf(t, image, content))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func configOf(t testing.TB, image v1.Image, content enginetest.Content) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", goarch
	config.Config.Entrypoint = []string{"/sleeper"}
	config.Config.Labels = map[string]string{"seed": content.Seed}
	return config
}

func noise(blob enginetest.Blob) []byte {
	data := make([]byte, blob.Size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(blob.Seed))).Read(data)
	return data
}

func fileLayer(t testing.TB, path string, data []byte) v1.Layer {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	}, tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// sleeper is the program in every image, built once.
var sleeper = func() func(testing.TB) []byte {
	var once sync.Once
	var program []byte
	return func(t testing.TB) []byte {
		once.Do(func() {
			path := filepath.Join(t.TempDir(), "sleeper")
			build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./testdata/sleeper")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("building the test program: %v\n%s", err, out)
			}
			var err error
			if program, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		})
		return program
	}
}()
