// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package table prints answers for people: tables as kubectl's, sizes as crictl's, ages as both.
package table

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
	"k8s.io/apimachinery/pkg/util/duration"
)

// gap is the space between columns, as kubectl's; narrowGap that where the lines would else be wider than the terminal.
const (
	gap       = 3
	narrowGap = 2
)

// Column is one column of a table.
type Column struct {
	Name string
	// Wide: shown with -o wide only.
	Wide bool
	// Right: aligned to the right, for numbers that are compared down the column.
	Right bool
	// Yields: the column is left out where the lines would be wider than the terminal, the lowest of these first; 0: never.
	Yields int
}

// Table is rows under columns. A row has one cell for each column; an empty cell is shown as "-".
type Table struct {
	Columns []Column
	Rows    [][]string
	yielded []string
}

// Options tell how a table is written.
type Options struct {
	Wide      bool
	NoHeaders bool
	// Fit is how many columns the terminal has; 0 is unknown.
	Fit int
	// Style, if set, colours one cell after the layout; it is given the column's name and the cell's text.
	Style func(column, cell string) string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// DropEmpty takes away the columns, from the given one on, in which no row has anything.
func (t *Table) DropEmpty(from int) {
	for i := len(t.Columns) - 1; i >= from; i-- {
		if slices.ContainsFunc(t.Rows, func(row []string) bool { return i < len(row) && row[i] != "" }) {
			continue
		}
		t.Columns = slices.Delete(slices.Clone(t.Columns), i, i+1)
		for n, row := range t.Rows {
			if i < len(row) {
				t.Rows[n] = slices.Delete(slices.Clone(row), i, i+1)
			}
		}
	}
}

// Write lays the table out in columns as wide as their widest cell.
func (t *Table) Write(w io.Writer, o Options) error {
	shown := t.shown(o.Wide)
	widths := make([]int, len(t.Columns))
	for _, i := range shown {
		if !o.NoHeaders {
			widths[i] = utf8.RuneCountInString(t.Columns[i].Name)
		}
		for _, row := range t.Rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell(row, i)))
		}
	}
	shown, between := t.fit(shown, widths, o)
	l := layout{shown, widths, between, t.room(shown, widths, len(between), o.Fit)}
	if !o.NoHeaders {
		if err := t.writeLine(w, l, func(i int) string { return t.Columns[i].Name }, nil); err != nil {
			return err
		}
	}
	for _, row := range t.Rows {
		if err := t.writeRow(w, row, l, o.Style); err != nil {
			return err
		}
	}
	return nil
}

// layout is where columns are. room is what the last one has on the terminal; 0: as much as it likes.
type layout struct {
	shown, widths []int
	between       string
	room          int
}

// leastRoom is what a last column must have for its texts to be broken: narrower ones are no easier to read.
const leastRoom = 20

// room is what a text in the last column has, where it would be wider than the terminal.
func (t *Table) room(shown, widths []int, between, columns int) int {
	if columns == 0 || len(shown) == 0 || t.Columns[shown[len(shown)-1]].Right {
		return 0
	}
	left := columns
	for _, i := range shown[:len(shown)-1] {
		left -= widths[i] + between
	}
	if left < leastRoom || widths[shown[len(shown)-1]] <= left {
		return 0
	}
	return left
}

// writeRow writes a row, in as many lines as its last cell takes.
func (t *Table) writeRow(w io.Writer, row []string, l layout, style func(column, cell string) string) error {
	last := l.shown[len(l.shown)-1]
	for n, part := range strings.Split(Wrap(cell(row, last), l.room, 0), "\n") {
		text := func(i int) string {
			switch {
			case i == last:
				return part
			case n > 0:
				return ""
			}
			return cell(row, i)
		}
		if err := t.writeLine(w, l, text, style); err != nil {
			return err
		}
	}
	return nil
}

// fit brings the columns nearer to each other where they would be wider than the terminal, and leaves those out then in
// which no row has anything; and, unless all columns were asked for, those that yield, until the lines fit.
func (t *Table) fit(shown, widths []int, o Options) (fitting []int, between string) {
	if o.Fit == 0 || lineWidth(shown, widths, gap) <= o.Fit || len(t.Rows) == 0 {
		return shown, strings.Repeat(" ", gap)
	}
	for _, i := range shown {
		if slices.ContainsFunc(t.Rows, func(row []string) bool { return cell(row, i) != "-" }) {
			fitting = append(fitting, i)
		}
	}
	for !o.Wide && t.least(fitting, widths) > o.Fit {
		next := t.yields(fitting)
		if next < 0 {
			break
		}
		t.yielded = append(t.yielded, t.Columns[fitting[next]].Name)
		fitting = slices.Delete(fitting, next, next+1)
	}
	return fitting, strings.Repeat(" ", narrowGap)
}

// Yielded are the columns that found no room on the terminal.
func (t *Table) Yielded() []string { return t.yielded }

// yields is which of the columns is left out next, or -1.
func (t *Table) yields(shown []int) int {
	next := -1
	for n, i := range shown {
		if rank := t.Columns[i].Yields; rank > 0 && (next < 0 || rank < t.Columns[shown[next]].Yields) {
			next = n
		}
	}
	return next
}

func lineWidth(shown, widths []int, between int) int {
	width := between * (len(shown) - 1)
	for _, i := range shown {
		width += widths[i]
	}
	return width
}

// least is how wide the lines are when the last column is broken as far as it may be.
func (t *Table) least(shown, widths []int) int {
	width := lineWidth(shown, widths, narrowGap)
	if last := shown[len(shown)-1]; !t.Columns[last].Right {
		width -= max(0, widths[last]-leastRoom)
	}
	return width
}

func (t *Table) writeLine(w io.Writer, l layout, text func(int) string, style func(column, cell string) string) error {
	var line strings.Builder
	for n, i := range l.shown {
		plain := text(i)
		styled := plain
		if style != nil {
			styled = style(t.Columns[i].Name, plain)
		}
		pad := strings.Repeat(" ", max(0, l.widths[i]-utf8.RuneCountInString(plain)))
		if t.Columns[i].Right {
			line.WriteString(pad + styled)
		} else {
			line.WriteString(styled + pad)
		}
		if n < len(l.shown)-1 {
			line.WriteString(l.between)
		}
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	return err
}

// WriteCSV writes every column, the wide ones too, with a header line.
func (t *Table) WriteCSV(w io.Writer, o Options) error {
	out := csv.NewWriter(w)
	if !o.NoHeaders {
		names := []string{}
		for _, c := range t.Columns {
			names = append(names, c.Name)
		}
		if err := out.Write(names); err != nil {
			return err
		}
	}
	if err := out.WriteAll(t.Rows); err != nil {
		return err
	}
	return out.Error()
}

func (t *Table) shown(wide bool) []int {
	var shown []int
	for i, c := range t.Columns {
		if wide || !c.Wide {
			shown = append(shown, i)
		}
	}
	return shown
}

func cell(row []string, i int) string {
	if i >= len(row) || row[i] == "" {
		return "-"
	}
	return row[i]
}

// Bytes is a size as crictl prints it, such as 68.6MB; 0, which stands for unknown, is empty.
func Bytes(n int64) string {
	if n == 0 {
		return ""
	}
	return Size(n)
}

// Size is a size as crictl prints it, 0 included.
func Size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// Age is how long before now t was, as kubectl prints it; empty for an unknown time.
func Age(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(now.Sub(t))
}

// shortID is the length to which crictl cuts an id.
const shortID = 13

// ID is an id or digest as crictl shortens it, without the name of its algorithm.
func ID(id string) string {
	_, hex, found := strings.Cut(id, ":")
	if !found {
		hex = id
	}
	return hex[:min(shortID, len(hex))]
}
