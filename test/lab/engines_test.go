// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	lab "orlop.dev/orlop/test/lab"
)

// engineAPI asks a Docker engine, through the socket as the host sees it.
func engineAPI(t *testing.T, c *lab.Cluster, method, path, body, login string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.DockerSocket("docker1"))
	}}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, strings.NewReader(body))
	ok(t, err)
	request.Header.Set("Content-Type", "application/json")
	if login != "" {
		request.Header.Set("X-Registry-Auth", base64.URLEncoding.EncodeToString([]byte(login)))
	}
	response, err := client.Do(request)
	ok(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	ok(t, err)
	return response.StatusCode, string(content)
}

func TestEngines(t *testing.T) {
	c := start(t, lab.Options{
		Name: fmt.Sprintf("e%d", os.Getpid()), EnginesOnly: true, Nodes: 1,
		More: []lab.NodeOptions{{Name: "docker1", Engine: lab.Docker}},
	})
	t.Run("containerd", func(t *testing.T) {
		push(t, c, "quay.io/acme/web:1", lab.ImageSpec{})
		ok(t, crictlPull(t, c, "quay.io/acme/web:1"))
		conn, err := net.Dial("unix", c.ContainerdSocket("node1"))
		ok(t, err)
		conn.Close()
	})
	for _, image := range []string{"docker.io/acme/web:1", "ghcr.io/acme/web:1", lab.PrivateHost + "/acme/web:1"} {
		t.Run("docker pulls "+image, func(t *testing.T) {
			digest := push(t, c, image, lab.ImageSpec{Layers: []lab.Layer{{Size: 1 << 20}}})
			login := fmt.Sprintf(`{"username":%q,"password":%q,"serveraddress":%q}`, lab.PrivateUser, lab.PrivatePassword, lab.PrivateHost)
			if !strings.HasPrefix(image, lab.PrivateHost) {
				login = ""
			}
			host, path, _ := strings.Cut(image, "/") // The host may have a port.
			name, tag, _ := strings.Cut(path, ":")
			query := url.Values{"fromImage": {host + "/" + name}, "tag": {tag}}
			status, answer := engineAPI(t, c, http.MethodPost, "/images/create?"+query.Encode(), "", login)
			if status != http.StatusOK || !strings.Contains(answer, digest) {
				t.Errorf("pull: status %d: %s", status, answer)
			}
		})
	}
	t.Run("docker runs", func(t *testing.T) { dockerRuns(t, c) })
	t.Run("docker restarts", func(t *testing.T) {
		ok(t, c.StopEngine(t.Context(), "docker1"))
		if _, err := net.Dial("unix", c.DockerSocket("docker1")); err == nil {
			t.Error("a stopped engine answers")
		}
		ok(t, c.StartEngine(t.Context(), "docker1"))
		if status, answer := engineAPI(t, c, http.MethodGet, "/images/docker.io/acme/web:1/json", "", ""); status != http.StatusOK {
			t.Errorf("images after a restart: status %d: %s", status, answer)
		}
	})
}

func dockerRuns(t *testing.T, c *lab.Cluster) {
	status, answer := engineAPI(t, c, http.MethodPost, "/containers/create?name=waits",
		`{"Image":"docker.io/acme/web:1","Cmd":["wait"],"HostConfig":{"NetworkMode":"none"}}`, "")
	if status != http.StatusCreated {
		t.Fatalf("create: status %d: %s", status, answer)
	}
	if status, answer = engineAPI(t, c, http.MethodPost, "/containers/waits/start", "", ""); status != http.StatusNoContent {
		t.Fatalf("start: status %d: %s", status, answer)
	}
	_, answer = engineAPI(t, c, http.MethodGet, "/containers/waits/json", "", "")
	var container struct{ State struct{ Running bool } }
	ok(t, json.Unmarshal([]byte(answer), &container))
	if !container.State.Running {
		t.Errorf("container %s", answer)
	}
}
