// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"orlop.dev/orlop/api/v1alpha1"
)

// memory is what is kept of jobs between calls. All of it may be lost.
type memory struct {
	mu   sync.Mutex
	jobs map[types.NamespacedName]*work
}

// work is what is kept of one job. Its reconciler alone uses it, but for open, which memory guards.
type work struct {
	uid        types.UID
	generation int64
	annotation string // the retry that was seen last
	open       bool   // nodes that come or go concern it

	summed  time.Time     // when the last sum was made
	summing time.Duration // how long it took
	dirty   time.Time     // since when the status that stands there is another; zero: it is not
	wrote   time.Time
	// basis is the version of the object on which status was written: as long as it is read, status is newer.
	basis  string
	status *v1alpha1.NodeJobStatus

	// seen is what was found in each store.
	seen map[string]sight
	// uids are those of the nodes of which the ledger's entries are.
	uids  map[string]types.UID
	tally *tally
	// refused are the nodes whose pod the API server did not take, taken is when it took one last.
	refused map[string]refusal
	taken   time.Time
	// secrets tell the state of the Secrets that the job pulls with.
	secrets string
}

// sight is the job's part of one store, in one state of it.
type sight struct {
	version string
	stood   *v1alpha1.StoreJob
	answer  *v1alpha1.StoreJobStatus
}

// sightOf copies the job's part, since a pointer into the store would keep those of all other jobs in memory for as long as this one
// is remembered.
func sightOf(store *v1alpha1.ImageStore, uid string) sight {
	at := sight{version: store.ResourceVersion}
	if entry := store.Job(uid); entry != nil {
		at.stood = new(*entry)
	}
	if answer := store.Answer(uid); answer != nil {
		at.answer = new(*answer)
	}
	return at
}

// refusal is the API server's no to a pod of the template.
type refusal struct {
	text       string
	at, until  time.Time
	tries      int // in a row
	generation int64
	run        int32
}

func newMemory() *memory { return &memory{jobs: map[types.NamespacedName]*work{}} }

// take gives what is kept of the job, whose status is made the newest that is known. earlier is the uid of one that
// had the name before.
func (m *memory) take(job *v1alpha1.NodeJob) (kept *work, earlier string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(job)
	kept = m.jobs[key]
	if kept != nil && kept.uid != job.UID {
		earlier, kept = string(kept.uid), nil
	}
	if kept == nil {
		kept = &work{uid: job.UID, open: true, seen: map[string]sight{}, uids: map[string]types.UID{}, tally: newTally()}
		m.jobs[key] = kept
	}
	if kept.status != nil && kept.basis == job.ResourceVersion {
		job.Status = *kept.status.DeepCopy() // The informer has not seen our own write yet.
	}
	return kept, earlier
}

// drop forgets a job that is gone, and gives the uid that it had.
func (m *memory) drop(key types.NamespacedName) (uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept := m.jobs[key]; kept != nil {
		uid = string(kept.uid)
		delete(m.jobs, key)
	}
	return uid
}

func (m *memory) setOpen(w *work, open bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.open = open
}

// concerned are the jobs that nodes which come or go concern.
func (m *memory) concerned() (keys []types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, w := range m.jobs {
		if w.open {
			keys = append(keys, key)
		}
	}
	return keys
}
