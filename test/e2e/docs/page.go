// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs runs the documents: what stands in a page's console blocks is done on a real cluster, and what comes out
// is compared with what the page says.
package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The clusters that a page can ask for.
const (
	LabNone     = "none"     // no cluster at all
	LabEmpty    = "empty"    // one in which nothing of Orlop is installed
	LabOperator = "operator" // one with the operator
)

// Page is a document that runs.
type Page struct {
	// Path is from the repository's folder.
	Path string
	// Lab is the cluster that it asks for.
	Lab   string
	Steps []Step
	// Cleanup is what is done at its end, however that comes.
	Cleanup []Command
	// Manifests are objects of Orlop that stand in it to be read.
	Manifests []Manifest
	// Left are the blocks that cannot run anywhere, with the reason.
	Left []Left
}

// Step is one thing to do: a block of commands, or a file to write.
type Step struct {
	// Heading is the one above it.
	Heading  string
	Line     int
	Commands []Command
	// Hidden: it stands in a comment, and its output is no matter.
	Hidden bool
	// Code is how one of the commands ends; the others end with 0.
	Code int
	// File is the name of a file to write, Content what is in it.
	File, Content string
}

// Command is one command of a block.
type Command struct {
	Line int
	// Node is where it runs; empty: on this machine.
	Node string
	Text string
	Want []string
}

// Manifest is an object in a page, or several.
type Manifest struct {
	Line int
	Text string
}

// Left is a block that does not run.
type Left struct {
	Line   int
	Reason string
}

var (
	directive = regexp.MustCompile(`(?s)^<!-- (lab|setup|cleanup|exit|not run):(\s.*?)\s*-->$`)
	fence     = regexp.MustCompile("^( *)```+ *([a-z]*)")
	heading   = regexp.MustCompile(`^#+ +(.*)$`)
	prompt    = regexp.MustCompile(`^(?:\$|(node[0-9]+)#) (.*)$`)
	fileName  = regexp.MustCompile(`^# ([a-zA-Z0-9./_-]+\.ya?ml)$`)
	ours      = regexp.MustCompile(`(?m)^apiVersion: orlop\.dev/`) // An object, and not a part of another's.
	heredoc   = regexp.MustCompile(`<<-?\s*['"]?([A-Za-z_]+)['"]?`)
)

// parser reads a page line by line.
type parser struct {
	page    Page
	lines   []string
	at      int
	heading string
	code    int
	reason  string
}

// Parse reads a page.
func Parse(path, text string) (Page, error) {
	p := &parser{page: Page{Path: path}, lines: strings.Split(text, "\n")}
	for ; p.at < len(p.lines); p.at++ {
		if err := p.line(); err != nil {
			return p.page, fmt.Errorf("%s:%d: %w", path, p.at+1, err)
		}
	}
	if p.page.Lab == "" && len(p.page.Steps) > 0 {
		return p.page, fmt.Errorf("%s: it has blocks that run, but no comment <!-- lab: … --> says on which cluster", path)
	}
	return p.page, nil
}

func (p *parser) line() error {
	line := p.lines[p.at]
	switch {
	case heading.MatchString(line):
		p.heading = heading.FindStringSubmatch(line)[1]
	case strings.HasPrefix(strings.TrimSpace(line), "<!-- "):
		return p.comment()
	case fence.MatchString(line):
		return p.block()
	}
	return nil
}

// comment reads one that may go on over several lines.
func (p *parser) comment() error {
	start, text := p.at, strings.TrimSpace(p.lines[p.at])
	for !strings.HasSuffix(text, "-->") {
		if p.at++; p.at == len(p.lines) {
			p.at = start
			return fmt.Errorf("the comment has no end")
		}
		text += "\n" + strings.TrimRight(p.lines[p.at], " ")
	}
	found := directive.FindStringSubmatch(text)
	if found == nil {
		return nil // A remark.
	}
	switch value := strings.TrimSpace(found[2]); found[1] {
	case "lab":
		if !slices.Contains([]string{LabNone, LabEmpty, LabOperator}, value) {
			return fmt.Errorf("no lab is %q", value)
		}
		p.page.Lab = value
	case "setup":
		p.page.Steps = append(p.page.Steps, Step{Heading: p.heading, Line: start + 1, Commands: hidden(found[2], start+1), Hidden: true})
	case "cleanup":
		p.page.Cleanup = append(p.page.Cleanup, hidden(found[2], start+1)...)
	case "not run":
		p.reason = value
	case "exit":
		code, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("no exit code: %q", value)
		}
		p.code = code
	}
	return nil
}

// hidden are the commands of a comment, one on each line.
func hidden(text string, line int) []Command {
	var all []Command
	for i, each := range strings.Split(text, "\n") {
		each = strings.TrimSpace(each)
		if each == "" {
			continue
		}
		command := Command{Line: line + i, Text: each}
		if found := prompt.FindStringSubmatch(each); found != nil {
			command.Node, command.Text = found[1], found[2]
		}
		all = append(all, command)
	}
	return all
}

// block reads a fenced one.
func (p *parser) block() error {
	found := fence.FindStringSubmatch(p.lines[p.at])
	indent, language, start := found[1], found[2], p.at
	var body []string
	for p.at++; ; p.at++ {
		if p.at == len(p.lines) {
			p.at = start
			return fmt.Errorf("the block has no end")
		}
		line := strings.TrimPrefix(p.lines[p.at], indent)
		if strings.HasPrefix(line, "```") {
			break
		}
		body = append(body, line)
	}
	defer func() { p.code, p.reason = 0, "" }()
	if p.reason != "" {
		p.page.Left = append(p.page.Left, Left{start + 1, p.reason})
		return nil
	}
	switch language {
	case "console":
		commands, err := console(body, start+2)
		p.page.Steps = append(p.page.Steps, Step{Heading: p.heading, Line: start + 1, Commands: commands, Code: p.code})
		return err
	case "yaml":
		p.yaml(body, start+1)
	}
	return nil
}

func (p *parser) yaml(body []string, line int) {
	text := strings.Join(body, "\n") + "\n"
	if len(body) > 0 && fileName.MatchString(body[0]) {
		name := fileName.FindStringSubmatch(body[0])[1]
		p.page.Steps = append(p.page.Steps, Step{Heading: p.heading, Line: line, File: name, Content: text})
		return
	}
	if ours.MatchString(text) {
		p.page.Manifests = append(p.page.Manifests, Manifest{line, text})
	}
}

// console reads commands with what comes out of them; line is that of the first.
func console(body []string, line int) ([]Command, error) {
	var all []Command
	for i := 0; i < len(body); i++ {
		found := prompt.FindStringSubmatch(body[i])
		if found == nil {
			if len(all) == 0 {
				return nil, fmt.Errorf("a console block begins with a command: %q", body[i])
			}
			last := &all[len(all)-1]
			last.Want = append(last.Want, strings.TrimRight(body[i], " "))
			continue
		}
		command := Command{Line: line + i, Node: found[1], Text: found[2]}
		for i+1 < len(body) && goesOn(command.Text, body[i+1]) {
			i++
			command.Text += "\n" + strings.TrimPrefix(strings.TrimPrefix(body[i], "> "), ">")
		}
		all = append(all, command)
	}
	for i := range all {
		all[i].Want = trimmed(all[i].Want)
	}
	return all, nil
}

// goesOn tells whether the next line belongs to the command: as a shell would ask for more, or as a here document.
func goesOn(command, next string) bool {
	if next == ">" || strings.HasPrefix(next, "> ") || strings.HasSuffix(command, `\`) {
		return true
	}
	first, rest, _ := strings.Cut(command, "\n")
	open := heredoc.FindStringSubmatch(first)
	return open != nil && !slices.Contains(strings.Split(rest, "\n"), open[1])
}

// trimmed leaves out empty lines at the end, which part one command from the next.
func trimmed(lines []string) []string {
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

var inNamespace = regexp.MustCompile(`(?m)(^  namespace: \S+\n|, *namespace: [^,}]+|namespace: [^,}]+, *)`)

// anywhere is the manifest without the namespaces of its objects, which need not exist.
func (m Manifest) anywhere() string { return inNamespace.ReplaceAllString(m.Text, "") }

// names tells whether the page speaks of something in what it does.
func (p Page) names(word string) bool {
	for _, step := range p.Steps {
		if strings.Contains(step.Content, word) || slices.ContainsFunc(step.Commands, func(c Command) bool { return strings.Contains(c.Text, word) }) {
			return true
		}
	}
	return false
}
