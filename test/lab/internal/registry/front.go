// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry stands before the lab's registries: one registry holds the images of every registry host, each below
// the host's name, and answers can be refused, slowed and stalled.
package registry

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
)

const (
	// MirrorSuffix ends the names under which an engine that has no ns= query asks for a registry host.
	MirrorSuffix = ".mirror.lab"
	dockerHub    = "docker.io"
)

// Front is a registry as the nodes see it.
type Front struct {
	// Backend is the registry that holds the images.
	Backend *url.URL
	// Host is the registry host this front stands for; empty, it stands for every host that is asked for.
	Host   string
	Faults *Faults
}

var resource = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/`)

// StoredAs is where the one registry keeps a repository of the host.
func StoredAs(host, repository string) string {
	return strings.ReplaceAll(host, ":", "__") + "/" + repository
}

// ServeHTTP answers from the backend, or as a fault says.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, image, kind := f.locate(r)
	var hit *rule
	// Faults and counts are about what nodes read; pushing goes the same way and is left alone.
	read := image != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	if read {
		hit = f.Faults.hit(image, kind)
	}
	if hit != nil && hit.Status != 0 {
		hit.refuse(w)
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(f.Backend)
			p.Out.URL.Path, p.Out.URL.RawPath = path, ""
			// The registry's answers name the host that was asked.
			p.Out.Host = r.Host
		},
		ModifyResponse: func(response *http.Response) error {
			response.Body = &body{
				ReadCloser: response.Body, done: r.Context().Done(), rule: hit,
				count: func(n int) {
					if read {
						f.Faults.sent(image, kind, n)
					}
				},
			}
			return nil
		},
		FlushInterval: -1,
	}
	proxy.ServeHTTP(w, r)
}

// locate is the backend's path for the request, and what the request is about, where it is about an image.
func (f *Front) locate(r *http.Request) (path, image, kind string) {
	path = r.URL.Path
	match := resource.FindStringSubmatch(path)
	if match == nil {
		return path, "", ""
	}
	host := f.host(r)
	if f.Host == "" {
		path = "/v2/" + StoredAs(host, match[1]) + strings.TrimPrefix(path, "/v2/"+match[1])
	}
	return path, host + "/" + match[1], match[2]
}

// host is the registry host that the request is about: containerd names it in a query when it asks a mirror.
func (f *Front) host(r *http.Request) string {
	host := r.Host
	if ns := r.URL.Query().Get("ns"); ns != "" {
		host = ns
	}
	if f.Host != "" {
		host = f.Host
	}
	if name, _, err := net.SplitHostPort(host); err == nil && strings.HasSuffix(name, MirrorSuffix) {
		host = strings.TrimSuffix(name, MirrorSuffix)
	}
	switch host {
	case "registry-1.docker.io", "index.docker.io":
		return dockerHub
	}
	return host
}
