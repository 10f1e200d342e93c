// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet asks the nodes of a cluster in which nothing of ours is installed: one short-lived pod for each node
// and command, which holds the runtime's socket and nothing else, and speaks the session protocol over its attached
// standard streams. It streams what each node says, says of each how it ended, and leaves nothing behind.
package fleet

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Config is how a fleet reaches its nodes. Rest and Image are required.
type Config struct {
	Rest *rest.Config
	// Namespace holds the pods; empty is DefaultNamespace. NamePrefix begins their names; empty is "orlop".
	Namespace  string
	NamePrefix string
	// Image is the node image, PullSecrets the Secrets in Namespace with which the kubelet may fetch it.
	Image       string
	PullSecrets []string
	// Socket is the runtime's socket on every node, where it is in no usual place; empty: the usual places are tried.
	Socket string
	// MaxParallel is how many nodes work at once; 0 is DefaultMaxParallel.
	MaxParallel int
	// Version is that of the command line, for the pods' labels.
	Version string
}

// DefaultNamespace is where the pods run: it exists on every cluster, and its pod security admits a socket.
const DefaultNamespace = "kube-system"

// DefaultMaxParallel is how many nodes work at once: enough to hide the second that a pod takes to start, and far from
// what would weigh on an API server.
const DefaultMaxParallel = 100

// The client's own rate limits: client-go's defaults (5 and 10) would stretch 100 pods over 20 seconds.
const (
	clientQPS   = 100
	clientBurst = 200
)

// Fleet is the nodes of one cluster, for one command.
type Fleet struct {
	cfg    Config
	rest   *rest.Config
	client kubernetes.Interface
	run    string
	user   string
	attach attachFunc

	mu        sync.Mutex
	left      []string
	finishing []string
}

// New prepares one command. Nothing is asked of the cluster yet.
func New(cfg Config) (*Fleet, error) {
	config := rest.CopyConfig(cfg.Rest)
	config.QPS, config.Burst = clientQPS, clientBurst
	// Streams outlive any request; each request has a bound of its own by its context.
	config.Timeout = 0
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	f := newFleet(cfg, client)
	f.rest = config
	f.attach = f.attachTo
	return f, nil
}

func newFleet(cfg Config, client kubernetes.Interface) *Fleet {
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if cfg.NamePrefix == "" {
		cfg.NamePrefix = "orlop"
	}
	if cfg.MaxParallel <= 0 {
		cfg.MaxParallel = DefaultMaxParallel
	}
	return &Fleet{cfg: cfg, client: client, run: strings.ToLower(rand.Text()[:runIDLength])}
}

// runIDLength makes two runs of the same minute differ: 32^6 is a billion.
const runIDLength = 6

// RunID is what the pods of this command are labelled with.
func (f *Fleet) RunID() string { return f.run }

// Namespace is where the pods run.
func (f *Fleet) Namespace() string { return f.cfg.Namespace }

// Client is the connection to the API, for what a command asks beside its nodes.
func (f *Fleet) Client() kubernetes.Interface { return f.client }

// User is the name under which the API server knows us; empty where it does not tell, and before Nodes.
func (f *Fleet) User() string { return f.user }

// whoTimeout bounds a question whose answer is only for the record.
const whoTimeout = 5 * time.Second

// whoAmI is the name under which the API server knows us, for the pods' record; empty where it does not tell.
func (f *Fleet) whoAmI(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, whoTimeout)
	defer cancel()
	review, err := f.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}
