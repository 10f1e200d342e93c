// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"orlop.dev/orlop/internal/cli"
	"orlop.dev/orlop/internal/nodecli"
	"orlop.dev/orlop/internal/term"
)

// commandLines is the reference of both programs, from their own help.
func commandLines(t *testing.T) string {
	for _, name := range []string{"ORLOP_IMAGE", "ORLOP_TOOLS_IMAGE", "CONTAINER_RUNTIME_ENDPOINT"} {
		t.Setenv(name, "") // They would be shown as defaults.
	}
	p := &page{}
	p.lines("# Command line", "", "Made from the programs' own help by `make docs`. By task, with what comes out: [the command line](../command-line.md).", "")
	p.lines("- [kubectl orlop](#kubectl-orlop), for a cluster", "- [orlop-node](#orlop-node), for one machine", "")
	kubectlOrlop(t, p, nil)
	p.lines("## kubectl orlop options", "", "The flags that every command has.", "", "```text")
	p.lines(strings.TrimRight(orlop(t, "options"), "\n"), "```", "")
	orlopNode(t, p)
	return strings.TrimRight(p.String(), "\n") + "\n"
}

// orlop is what kubectl-orlop answers.
func orlop(t *testing.T, args ...string) string {
	t.Helper()
	var out, problems bytes.Buffer
	cfg := cli.Config{Streams: term.Streams{In: strings.NewReader(""), Out: &out, Err: &problems}, Version: "VERSION"}
	if code := cli.Run(t.Context(), cfg, append([]string{"kubectl-orlop"}, args...)); code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, problems.String())
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), home, "$HOME")
}

// kubectlOrlop writes a command, then those below it.
func kubectlOrlop(t *testing.T, p *page, words []string) {
	t.Helper()
	name := strings.Join(append([]string{"kubectl orlop"}, words...), " ")
	help(p, "## "+name, orlop(t, append(words, "--help")...))
	for _, sub := range subcommands(t, words) {
		kubectlOrlop(t, p, append(append([]string{}, words...), sub))
	}
}

// subcommands are in the help under headings of their own, in the order in which a newcomer needs them.
func subcommands(t *testing.T, words []string) (names []string) {
	t.Helper()
	if len(words) > 1 {
		return nil
	}
	listed := false
	for line := range strings.Lines(orlop(t, append(words, "--help")...)) {
		if groupOfCommands.MatchString(line) {
			listed = true
			continue
		}
		found := commandOfGroup.FindStringSubmatch(line)
		switch {
		case found == nil:
			listed = false
		case listed && found[1] != "options" && found[1] != "help":
			names = append(names, found[1])
		}
	}
	return names
}

var (
	groupOfCommands = regexp.MustCompile(`^(See|Act|Declare.*|Operate|Commands):\n$`)
	commandOfGroup  = regexp.MustCompile(`^  ([a-z-]+) +[A-Z]`)
)

// help writes what a program says of itself: words as words, the rest as it is.
func help(p *page, heading, text string) {
	words, rest, _ := strings.Cut(text, "Usage:")
	p.lines(heading, "")
	for paragraph := range strings.SplitSeq(strings.TrimSpace(words), "\n\n") {
		p.prose("", plain.Replace(paragraph))
		p.lines("")
	}
	rest, _, _ = strings.Cut(rest, "\n\"kubectl orlop") // It points to the help of others.
	p.lines("```text", "Usage:"+strings.TrimRight(rest, "\n"), "```", "")
}

var commandOfNode = regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)

func orlopNode(t *testing.T, p *page) {
	t.Helper()
	run := func(args ...string) string {
		var out, problems bytes.Buffer
		cfg := nodecli.Config{Streams: term.Streams{In: strings.NewReader(""), Out: &out, Err: &problems}, Version: "VERSION"}
		if code := nodecli.Run(t.Context(), cfg, args); code != 0 {
			t.Fatalf("orlop-node %v: exit code %d: %s", args, code, problems.String())
		}
		return out.String()
	}
	overview := run("help")
	help(p, "## orlop-node", overview)
	for _, found := range commandOfNode.FindAllStringSubmatch(overview, -1) {
		help(p, "## orlop-node "+found[1], run(found[1], "--help"))
	}
}
