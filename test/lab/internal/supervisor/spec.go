// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package supervisor is process 1 of a lab: everything of the lab runs below it and ends with it.
package supervisor

import (
	"time"

	"orlop.dev/orlop/test/lab/internal/programs"
)

// Role is the value of the environment variable by which a program knows that it is to be a supervisor.
const Role = "supervisor"

// RoleVariable names what a program that is started again is to be.
const RoleVariable = "ORLOP_LAB_ROLE"

// The descriptors that a supervisor inherits from the one who starts it.
const (
	leashFD    = 3 // ends when the starter does
	progressFD = 4 // takes Steps
	lockFD     = 5 // keeps the instance locked
	apiFD      = 6 // listeners in the host's network namespace, here and below
	registryFD = 7
	privateFD  = 8
)

// Spec says what lab a supervisor is to run.
type Spec struct {
	Name     string
	Programs programs.Paths
	// Kubernetes is whether there is a control plane.
	Kubernetes bool
	// Detached is whether the lab outlives the one who starts it.
	Detached bool
	Nodes    []NodeOptions
}

// Step is one thing that a supervisor has done on the way up; the last one is Up or an Error.
type Step struct {
	Text    string        `json:"text,omitempty"`
	Elapsed time.Duration `json:"elapsed"`
	Up      bool          `json:"up,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// Engine is the container runtime of a node.
type Engine string

// The engines a node can have.
const (
	Containerd Engine = "containerd"
	Docker     Engine = "docker"
)

// service is the name of the engine's program, and its socket below the node's folder.
func (e Engine) service() (name, socket string) {
	if e == Docker {
		return "dockerd", "run/docker.sock"
	}
	return "containerd", "run/containerd/containerd.sock"
}

// NodeOptions says what a node is like; the zero value is a good node.
type NodeOptions struct {
	// Name is node1, node2, … unless set.
	Name string `json:"name,omitempty"`
	// DiskSize is in bytes, 2 GiB unless set; the file behind it is sparse.
	DiskSize int64 `json:"diskSize,omitempty"`
	// Engine is containerd unless set. A node with Docker has no kubelet.
	Engine Engine `json:"engine,omitempty"`
	// Standalone leaves the kubelet out.
	Standalone bool `json:"standalone,omitempty"`
	// Labels are set on the Node when it registers.
	Labels map[string]string `json:"labels,omitempty"`
	// Kubelet overrides fields of the KubeletConfiguration, such as imageGCHighThresholdPercent.
	Kubelet map[string]any `json:"kubelet,omitempty"`
	// Docker overrides fields of the Docker engine's daemon.json, such as features.
	Docker map[string]any `json:"docker,omitempty"`
}

// NodeStatus says how a node is.
type NodeStatus struct {
	NodeOptions
	Address string `json:"address"`
	Running bool   `json:"running"`
	Cut     bool   `json:"cut"`
	// Services are the process ids, within the node, of what runs there.
	Services map[string]int `json:"services"`
	// Dir is the node's folder on the host; run in it is the node's /run, logs its logs.
	Dir string `json:"dir"`
}

// Status says how a lab is.
type Status struct {
	Name       string `json:"name"`
	Kubernetes bool   `json:"kubernetes"`
	// Up is whether all of it has been ready once.
	Up         bool         `json:"up"`
	Started    time.Time    `json:"started"`
	Kubeconfig string       `json:"kubeconfig,omitempty"`
	APIServer  string       `json:"apiServer,omitempty"`
	Registry   string       `json:"registry"`
	Private    string       `json:"private"`
	PrivateCA  string       `json:"privateCA"`
	Nodes      []NodeStatus `json:"nodes"`
	// Down are parts of the control plane that have ended.
	Down []string `json:"down,omitempty"`
}

// Action is something to do with a node.
type Action string

// The actions on a node.
const (
	Remove       Action = "remove"
	PowerOff     Action = "power-off"
	PowerOn      Action = "power-on"
	Cut          Action = "cut"
	Restore      Action = "restore"
	StopEngine   Action = "stop-engine"
	StartEngine  Action = "start-engine"
	StopKubelet  Action = "stop-kubelet"
	StartKubelet Action = "start-kubelet"
	AwaitReady   Action = "await-ready"
)

// NodeAction is an action on the named node.
type NodeAction struct {
	Node   string
	Action Action
}

const (
	// PrivateHost is the registry host that wants TLS and a password.
	PrivateHost = "private.lab:5443"
	// PrivateUser opens it.
	PrivateUser = "lab"
	// PrivatePassword is that user's.
	PrivatePassword = "swordfish"

	// PlainHost is a registry host that the nodes, their pods and this machine's side of the bridge reach by the same name,
	// without TLS.
	PlainHost = gateway + ":" + mirrorPort

	// MirrorHost is such a host too: it has the images of every registry host below that host's name, as a mirror has.
	MirrorHost = gateway + ":5003"

	gateway       = "172.30.0.1"
	bridgeMAC     = "02:ac:1e:00:00:01"
	serviceRange  = "10.96.0.0/16"
	serviceIP     = "10.96.0.1"
	dnsIP         = "10.96.0.10"
	apiPort       = "6443"
	etcdURL       = "http://127.0.0.1:2379"
	etcdPeerURL   = "http://127.0.0.1:2380"
	registryAddr  = "127.0.0.1:5001"
	privateAddr   = "127.0.0.1:5002"
	mirrorPort    = "5000"
	privatePort   = "5443"
	defaultDisk   = 2 << 30
	pauseImage    = "registry.k8s.io/pause:3.10"
	bridgeName    = "lab0"
	maxNodes      = 200
	startDeadline = 3 * time.Minute
	poll          = 25 * time.Millisecond
)
