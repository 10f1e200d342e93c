// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package agent makes a node's images match its ImageStore: it looks, decides, acts and reports. All that it decides it
// computes anew from the store's spec, the runtime and its own last status; what it remembers besides, such as when a failed pull
// is tried again, may be lost at any moment.
package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/seal"
)

// API is what the agent needs of the cluster: its own node's two objects.
type API interface {
	// Watch calls seen with the store as it is, and whenever it has changed; nil means that there is none. It goes on until
	// ctx ends, whatever happens to the connection. late: the store may have been so for long, since nobody was told meanwhile.
	Watch(ctx context.Context, node string, seen func(store *v1alpha1.ImageStore, late bool))
	// MayRead is nil while the store is there and may be read; else ErrGone, or why that is not known.
	MayRead(ctx context.Context, node string) error
	Inventory(ctx context.Context, node string) (*v1alpha1.ImageInventory, error)
	// ApplyStore and ApplyInventory make the object's status what it is in the one given, whose uid must be the object's.
	ApplyStore(ctx context.Context, store *v1alpha1.ImageStore) (resourceVersion string, err error)
	ApplyInventory(ctx context.Context, inventory *v1alpha1.ImageInventory) error
}

// Config is one agent. Node, API and Open are required.
type Config struct {
	Node string
	// NodeUID is published, so that credentials can be sealed to this very node.
	NodeUID string
	Version string
	API     API
	// Open connects to the runtime that the Node reports, such as containerd://2.4.2.
	Open func(ctx context.Context, runtime string) (engine.Interface, error)
	Log  *slog.Logger
	// Metrics is shared by the agents of one process; nil: nothing is counted.
	Metrics *Metrics

	// MaxParallelPulls is how many images are pulled at once: 3 unless set.
	MaxParallelPulls int
	// PullTimeout bounds one pull: 30 minutes unless set.
	PullTimeout time.Duration
	// Resync is how often to look where nothing tells of a change: a minute unless set.
	Resync time.Duration
	// DiskLimit and PinLimit are percent of the images' file system that pulls do not fill beyond, and that pinned images
	// do not take: 80 and 60 unless set.
	DiskLimit, PinLimit int
	// InventoryDelay is how long after a change of images the inventory begins to be written at the latest, 9.5 s unless set: it
	// is to be there within 10 s. It is written sooner once there is nothing left to do, and later, but within BusyDelay, while
	// the agent is pulling: 29.5 s unless set.
	InventoryDelay, BusyDelay time.Duration
	// Tidy is called when much memory was used for a moment, as to measure all images; nil: nothing is done.
	Tidy func()
	// Disk measures the file system that holds a folder of the host; nil is node.MeasureDisk.
	Disk func(imageFS string) plan.Disk
}

func (c Config) withDefaults() Config {
	c.MaxParallelPulls = cmp.Or(c.MaxParallelPulls, 3)
	c.PullTimeout = cmp.Or(c.PullTimeout, 30*time.Minute)
	c.Resync = cmp.Or(c.Resync, time.Minute)
	c.DiskLimit = cmp.Or(c.DiskLimit, 80) // The kubelet's low threshold: above it, what was pulled would be collected.
	c.PinLimit = cmp.Or(c.PinLimit, 60)
	c.InventoryDelay = cmp.Or(c.InventoryDelay, 9500*time.Millisecond)
	c.BusyDelay = cmp.Or(c.BusyDelay, 29500*time.Millisecond)
	if c.Disk == nil {
		c.Disk = node.MeasureDisk
	}
	if c.Tidy == nil {
		c.Tidy = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Agent looks after one node. Everything but what is marked otherwise belongs to the goroutine of Run; other goroutines
// hand it what they found by post.
type Agent struct {
	cfg  Config
	key  *seal.Key
	jobs sync.WaitGroup

	inbox inbox
	ready atomic.Bool

	store *v1alpha1.ImageStore
	// specSince is when the spec became what it is: what was there by then is found, and none of ours.
	specSince time.Time
	wanted    *protection // of the store's spec
	// gone: there was a store, and now there is none.
	gone bool
	view view
	rt   connection

	records  map[string]v1alpha1.StoreImageStatus // the status of this moment, by image
	recorded map[string]v1alpha1.StoreImageStatus // what the API has for certain
	report   reporter
	pulls    map[string]*pull
	tries    map[tried]try
	intended map[string]bool  // records say pulled, and no pull has begun, or the last has brought nothing
	removing map[oci.Ref]bool // names of what is being removed
	going    map[string]bool  // and its entries
	removal  bool             // a removal is under way
	pinning  bool
	// unmarkAfter is when marks that could not be lifted are tried again.
	unmarkAfter time.Time
	asking      asking
	telling     telling
	needs       atomic.Pointer[plan.Needs] // read by removals under way
	stock       stock
	work        work
	watched     watch
}

// New makes an agent with a key of its own.
func New(cfg Config) (*Agent, error) {
	key, err := seal.NewKey()
	if err != nil {
		return nil, err
	}
	return &Agent{
		cfg: cfg.withDefaults(), key: key, inbox: inbox{wake: make(chan struct{}, 1)}, rt: connection{acting: make(chan struct{}, 1)},
		pulls: map[string]*pull{}, tries: map[tried]try{}, intended: map[string]bool{}, work: newWork(),
	}, nil
}

// Ready reports whether the runtime has answered and the store was seen.
func (a *Agent) Ready() bool { return a.ready.Load() }

// leaveTimeout is how long the end of the agent may take, within the grace of a pod. leavePatience is how long it looks, each
// leaveAgain, whether it is the end of all of them.
const leaveTimeout, leavePatience, leaveAgain = 5 * time.Second, 2 * time.Second, 200 * time.Millisecond

// Run looks after the node until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	a.jobs.Go(func() {
		a.cfg.API.Watch(working, a.cfg.Node, func(s *v1alpha1.ImageStore, late bool) { a.post(func() { a.seen(working, s, late) }) })
	})
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx)) // What there is to do at the end takes the runtime.
	defer disconnect()
	a.jobs.Go(func() { a.rt.keep(connected, a) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			stop()
			a.leave(ctx)
			disconnect()
			a.jobs.Wait()
			return nil
		case <-a.inbox.wake:
		case <-timer.C:
		}
		for _, f := range a.inbox.take() {
			f()
		}
		timer.Reset(time.Until(a.pass(working)))
	}
}

// post hands something to the goroutine of Run.
func (a *Agent) post(f func()) { a.inbox.put(f) }

// seen takes a new state of the store in.
func (a *Agent) seen(ctx context.Context, s *v1alpha1.ImageStore, late bool) {
	if s == nil {
		if a.store != nil {
			a.cfg.Log.Info("the ImageStore is gone: letting go of everything", "node", a.cfg.Node)
			a.gone = true
		}
		a.store = nil
		return
	}
	begins := a.store == nil || a.store.UID != s.UID
	if begins {
		a.begin(ctx, s)
	}
	if a.store == nil || a.store.Generation != s.Generation {
		a.specSince = time.Now()
		a.view.want(a.specSince)
	}
	a.report.heard(s, a.key.ID())
	a.store = s
	a.wanted = protected(s.Spec)
	a.watched.take(&s.Spec, time.Now())
	a.stock.uidMayChange(s)
	a.rt.expect(s.Spec.Runtime)
	a.telling.hear(s.Spec.Needs, a.asking, begins || late, time.Now())
	a.noteNeeds()
}

// begin starts with a store that this process has not seen: what it says of records is all that is known.
func (a *Agent) begin(ctx context.Context, s *v1alpha1.ImageStore) {
	if a.store != nil || a.gone {
		a.letGo(ctx) // Of what the store before this one had.
	}
	a.gone = false
	left := a.records
	a.records = byName(s.Status.Images)
	a.recorded = byName(s.Status.Images)
	a.owe(left)
	a.report = newReporter(s)
	a.work.read(s.Status)
	a.asking, a.telling = asking{}, telling{}
	clear(a.tries)
	clear(a.intended)
	a.recall()
}

func byName(images []v1alpha1.StoreImageStatus) map[string]v1alpha1.StoreImageStatus {
	names := make(map[string]v1alpha1.StoreImageStatus, len(images))
	for _, image := range images {
		names[image.Image] = image
	}
	return names
}

// pass looks, decides, acts and reports, as far as each can be done at this moment, and gives the time of the next.
func (a *Agent) pass(ctx context.Context) time.Time {
	now := time.Now()
	next := &earliest{now.Add(a.cfg.Resync)}
	a.look(ctx, now, next)
	switch {
	case a.gone:
		a.gone = !a.letGo(ctx)
	case a.store == nil:
		a.cancelPulls(func(string) bool { return true })
		a.work.abandon()
	default:
		a.ready.Store(a.view.fresh)
		a.work.blind = !a.view.fresh
		a.work.enlist(&a.store.Spec, now)
		a.work.conclude(now)
		made := a.decide(now)
		todo := a.decideJobs(now, &made)
		if a.view.fresh {
			a.act(ctx, now, &made, next)
			a.carryOut(ctx, now, &todo, next)
			a.work.conclude(now)
		}
		a.tell(ctx, now, made, next)
	}
	a.takeStock(ctx, now, next)
	return next.at
}

// earliest is the first of several times; zero: there is none.
type earliest struct{ at time.Time }

func (e *earliest) or(at time.Time) {
	if !at.IsZero() && (e.at.IsZero() || at.Before(e.at)) {
		e.at = at
	}
}

// inbox holds what other goroutines have for the agent. It never blocks them, so that none outlives the agent waiting.
type inbox struct {
	wake  chan struct{}
	mu    sync.Mutex
	queue []func()
}

func (i *inbox) put(f func()) {
	i.mu.Lock()
	i.queue = append(i.queue, f)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.queue
	i.queue = nil
	return all
}

// uid is that of the store, which every write names: one for a store that was made anew must not take the old one's.
func (a *Agent) uid() types.UID {
	if a.store == nil {
		return ""
	}
	return a.store.UID
}

func (a *Agent) runtimeName() string {
	d := a.rt.described
	if d.Name == "" {
		return ""
	}
	return fmt.Sprintf("%s://%s", d.Name, d.Version)
}
