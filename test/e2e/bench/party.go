// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// party is one process on each of some nodes, which carry out an order at the same moment.
type party struct {
	nodes   map[string]*member
	patient context.CancelFunc
}

type member struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	errors bytes.Buffer
	early  int
}

// patience is how long anything may take that is measured here.
const patience = 3 * time.Minute

// gather starts a process on each node, and returns when each is ready. Disks are at rest then.
func (b *bench) gather(ctx context.Context, nodes []string, o order) (*party, error) {
	question, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	p := &party{nodes: map[string]*member{}, patient: cancel}
	for _, node := range nodes {
		m, err := b.enlist(ctx, node, question)
		if err != nil {
			cancel()
			return nil, p.leave(fmt.Errorf("watching %s: %w", node, err))
		}
		p.nodes[node] = m
	}
	// What the last round wrote would be paid for by this one.
	unix.Sync()
	return p, nil
}

func (b *bench) enlist(ctx context.Context, node string, question []byte) (*member, error) {
	cmd, err := b.lab.Command(ctx, node, stopwatch, inNode, "obey")
	if err != nil {
		return nil, err
	}
	m := &member{cmd: cmd}
	if m.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr, m.out = &m.errors, json.NewDecoder(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err = m.in.Write(question); err == nil {
		err = m.out.Decode(&m.early)
	}
	if err != nil {
		return nil, errors.Join(err, cmd.Cancel(), m.end())
	}
	return m, nil
}

// end waits for the process, and gives its words if it failed.
func (m *member) end() error {
	if err := m.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, lastLine(m.errors.String()))
	}
	return nil
}

// begin gives all of them the word, and tells when.
func (p *party) begin() (time.Duration, error) {
	start := monotonic()
	for node, m := range p.nodes {
		if _, err := m.in.Write([]byte("true\n")); err != nil {
			return 0, p.leave(fmt.Errorf("beginning on %s: %w", node, err))
		}
	}
	return start, nil
}

// finish waits until each has seen what it waits for.
func (p *party) finish() (map[string]sight, error) {
	defer p.patient()
	seen := map[string]sight{}
	var problems []error
	for node, m := range p.nodes {
		var s sight
		read := m.out.Decode(&s)
		if err := m.end(); err != nil || read != nil {
			problems = append(problems, fmt.Errorf("watching %s: %w", node, errors.Join(err, read)))
		}
		seen[node] = s
	}
	return seen, errors.Join(problems...)
}

// leave ends what was begun, since something went wrong.
func (p *party) leave(why error) error {
	p.patient()
	for _, m := range p.nodes {
		_ = m.end() // It was told to end, and says so.
	}
	return why
}

// early is how many images were there before anything began, on all nodes.
func (p *party) early() int {
	sum := 0
	for _, m := range p.nodes {
		sum += m.early
	}
	return sum
}

// latest is when the last node had seen the last image.
func latest(seen map[string]sight) time.Duration {
	var last time.Duration
	for _, s := range seen {
		last = max(last, s.All)
	}
	return last
}

// floor is the time in which raw CRI pulls bring the images to the nodes, begun at one moment, several at once on each.
func (b *bench) floor(ctx context.Context, nodes []string, images map[string]string) (taken, error) {
	p, err := b.gather(ctx, nodes, order{Images: images, Pull: names(images), Workers: agentWorkers})
	if err != nil {
		return taken{}, err
	}
	if p.early() > 0 {
		return taken{}, p.leave(fmt.Errorf("%d images were there before the raw pulls", p.early()))
	}
	start, err := p.begin()
	if err != nil {
		return taken{}, err
	}
	seen, err := p.finish()
	return taken{Done: latest(seen) - start}, err
}
