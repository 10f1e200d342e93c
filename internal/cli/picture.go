// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/term"
)

// barWidth is how many columns a bar has, where there is room for one.
const barWidth = 12

// erase goes back to the first line of the picture and clears from there, in ECMA-48.
func (b *board) erase() {
	if b.drawn > 0 {
		fmt.Fprintf(b.to, "\x1b[%dA\r\x1b[J", b.drawn)
		b.drawn = 0
	}
}

// draw writes the picture over the one before. The lock is held.
func (b *board) draw() {
	if b.paused {
		return
	}
	width, height := term.Size(b.to, 80, 24)
	shown, hidden := b.choose(max(1, height-3))
	picture := b.picture(shown, width-1, barWidth)
	if slices.ContainsFunc(picture, func(line string) bool { return utf8.RuneCountInString(line) >= width }) {
		picture = b.picture(shown, width-1, 0) // Numbers say more than a bar, or than the domain of the nodes.
	}
	if hidden > 0 {
		picture = append(picture, fmt.Sprintf("… and %s more", count(hidden, "node")))
	}
	b.erase()
	for _, line := range picture {
		text := []rune(line)
		fmt.Fprintln(b.to, string(text[:min(len(text), width-1)]))
		b.drawn++
	}
}

// picture is a line for each node, below a header.
func (b *board) picture(nodes []string, fit, bar int) []string {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "IMAGES", Right: true}, {Name: "PROGRESS", Right: true}, {Name: "RATE", Right: true},
		{Name: "LEFT", Right: true}, {Name: "PULLED", Right: true}, {Name: "NOTE"}}}
	hosts := map[string]bool{}
	for _, name := range nodes {
		t.Rows = append(t.Rows, b.row(name, bar))
		hosts[host(name)] = true
	}
	if bar == 0 && len(hosts) == len(nodes) {
		for _, row := range t.Rows {
			row[0] = host(row[0])
		}
	}
	t.DropEmpty(2)
	var text strings.Builder
	_ = t.Write(&text, table.Options{Fit: fit}) // A Builder takes everything.
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// host is a node's name without its domain; one that is an address has none.
func host(node string) string {
	first, _, _ := strings.Cut(node, ".")
	if strings.Trim(first, "0123456789") == "" {
		return node
	}
	return first
}

// choose takes the nodes that fit on the screen: those at work before those that wait, and these before those done.
func (b *board) choose(room int) (shown []string, hidden int) {
	rank := func(name string) int {
		switch line := b.lines[name]; {
		case line.over && line.note == "":
			return 3
		case line.state == "waiting":
			return 2
		case line.over:
			return 1
		}
		return 0
	}
	if len(b.nodes) <= room {
		return b.nodes, 0
	}
	shown = slices.Clone(b.nodes)
	slices.SortStableFunc(shown, func(x, y string) int { return cmp.Compare(rank(x), rank(y)) })
	return shown[:room], len(shown) - room
}

func (b *board) row(name string, width int) []string {
	line := b.lines[name]
	row := []string{name, line.state, "", "", "", "", "", line.note}
	p := line.progress
	if p.Images > 0 {
		row[2] = fmt.Sprintf("%d/%d", p.Finished, p.Images)
	}
	if p.Total > 0 {
		row[3], row[6] = bar(p.Done, p.Total, width), amount(p)
	}
	if rate := line.rate(); rate > 0 {
		row[4] = table.Size(int64(rate)) + "/s"
		if p.Phase == engine.PhaseDownloading && p.Total > p.Done {
			row[5] = (time.Duration(float64(p.Total-p.Done)/rate) * time.Second).String()
		}
	}
	return row
}

func bar(done, total int64, width int) string {
	full := int(min(done, total) * int64(width) / total)
	return strings.TrimSpace(strings.Repeat("━", full) + strings.Repeat("·", width-full) + fmt.Sprintf(" %3d %%", min(done, total)*100/total))
}
