// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// script is what a container does, as far as that is written plainly. Nothing is evaluated: with a variable, a pipe or a condition in
// it, it is not plain.
type script struct {
	// plain: all of it was understood.
	plain bool
	deeds []deed
	// every is the pause of an endless loop around it, waits whether it ends in waiting.
	every time.Duration
	waits bool
}

// idle are commands that do nothing to a node.
var idle = []string{"true", ":", "echo", "printf", "date", "set", "exit", "pwd", "whoami", "uname", "hostname"}

// asksVersion are what makes of most programs one that ends at once.
var asksVersion = []string{"--version", "-version", "version", "-v", "-V", "--help", "-h", "help"}

var shells = []string{"sh", "bash", "ash", "dash"}

// scriptOf reads what a container runs.
func scriptOf(c corev1.Container) script {
	argv := slices.Concat(c.Command, c.Args)
	switch {
	case len(argv) == 0:
		return script{plain: pauses(c.Image), waits: pauses(c.Image)}
	case len(c.Command) == 0 && !slices.Contains(shells, path.Base(argv[0])) && !knownCommand(argv[0]):
		return script{} // What the image's own program makes of its arguments nobody can tell.
	case len(argv) > 2 && slices.Contains(shells, path.Base(argv[0])) && shellFlags.MatchString(argv[1]):
		return shellScript(argv[2])
	}
	s := script{plain: true}
	s.run(argv)
	return s
}

func knownCommand(name string) bool {
	base := path.Base(name)
	return slices.Contains(idle, base) || base == "sleep" || base == "tail"
}

// shellFlags are -c, also with -e, -u and -x.
var shellFlags = regexp.MustCompile(`^-[eux]*c$`)

// pauses reports whether the image is one that only waits.
func pauses(image string) bool {
	name := image
	if at := strings.IndexAny(name[strings.LastIndex(name, "/")+1:], ":@"); at >= 0 {
		name = name[:strings.LastIndex(name, "/")+1+at]
	}
	base := path.Base(name)
	return base == "pause" || strings.HasPrefix(base, "pause-")
}

// harmless is shell grammar that changes nothing of what a command does to images.
var harmless = regexp.MustCompile(`\|\|\s*(?:true\b|:|exit 0\b)|[12&]?>+\s*/dev/(?:null|stdout|stderr)|2>&1|\\\r?\n`)

// shellScript reads the plain ones: commands in a row, in an endless loop or not.
func shellScript(text string) script {
	s := script{plain: true}
	statements, ok := statementsOf(harmless.ReplaceAllString(text, " "))
	if !ok {
		return script{}
	}
	depth := 0
	for _, argv := range statements {
		switch {
		case argv[0] == "while" && len(argv) == 2 && (argv[1] == "true" || argv[1] == ":") && depth == 0:
			depth++
			continue
		case argv[0] == "do" && depth == 1:
			argv = argv[1:]
		case argv[0] == "done" && len(argv) == 1 && depth == 1:
			depth++ // A second loop is never reached.
			continue
		}
		if len(argv) == 0 {
			continue
		}
		if pause, ok := sleeps(argv); ok && depth == 1 {
			s.every += pause
			continue
		}
		s.run(argv)
	}
	if depth == 1 || depth == 2 && s.every == 0 {
		return script{}
	}
	s.waits = s.waits || s.every > 0
	return s
}

// run adds one command.
func (s *script) run(argv []string) {
	argv = unwrapped(argv)
	if len(argv) == 0 {
		return
	}
	_, pause := sleeps(argv)
	switch base := path.Base(argv[0]); {
	case pause, base == "tail" && slices.Equal(argv[1:], []string{"-f", "/dev/null"}), base == "pause" && len(argv) == 1:
		s.waits = true
		return
	case slices.Contains(idle, base), len(argv) == 2 && slices.Contains(asksVersion, argv[1]):
		return
	}
	d, ok := deedOf(argv)
	if !ok {
		s.plain = false
		return
	}
	s.deeds = append(s.deeds, d)
}

// unwrapped is a command without what only says where it runs: the node's own root, another user.
func unwrapped(argv []string) []string {
	for len(argv) > 0 {
		switch path.Base(argv[0]) {
		case "exec", "sudo":
			argv = argv[1:]
		case "chroot":
			argv = argv[min(2, len(argv)):]
		case "nsenter":
			end := slices.Index(argv, "--")
			if end < 0 {
				return argv
			}
			argv = argv[end+1:]
		default:
			return argv
		}
	}
	return argv
}

var sleepText = regexp.MustCompile(`^([0-9]{1,9})([smhd]?)$`)

// maxSleep is what an endless sleep counts for.
const maxSleep = 365 * 24 * time.Hour

func sleeps(argv []string) (time.Duration, bool) {
	if path.Base(argv[0]) != "sleep" || len(argv) != 2 {
		return 0, false
	}
	if argv[1] == "infinity" || argv[1] == "inf" {
		return maxSleep, true
	}
	found := sleepText.FindStringSubmatch(argv[1])
	if found == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		return 0, false
	}
	unit := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[found[2]]
	if time.Duration(n) > maxSleep/unit {
		return maxSleep, true
	}
	return time.Duration(n) * unit, true
}

// statementsOf splits a script into commands and those into words. ok is false where anything would have to be evaluated.
func statementsOf(text string) (all [][]string, ok bool) {
	var s splitter
	for i := 0; i < len(text); {
		n := s.take(text[i:])
		if n == 0 {
			return nil, false
		}
		i += n
	}
	s.endStatement()
	return s.all, true
}

type splitter struct {
	all   [][]string
	words []string
	word  []byte
	// inWord tells an empty word in quotes from none.
	inWord bool
}

// take reads the next piece, and tells how long it was: 0 is what cannot be taken as it stands.
func (s *splitter) take(rest string) int {
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		end := strings.IndexByte(rest[1:], c)
		if end < 0 || c == '"' && strings.ContainsAny(rest[1:1+end], "$`\\") {
			return 0
		}
		s.word, s.inWord = append(s.word, rest[1:1+end]...), true
		return end + 2
	case strings.HasPrefix(rest, "&&"):
		s.endStatement()
		return 2
	case c == ';' || c == '\n':
		s.endStatement()
	case c == ' ' || c == '\t' || c == '\r':
		s.endWord()
	case c == '#' && !s.inWord:
		if end := strings.IndexByte(rest, '\n'); end >= 0 {
			return end
		}
		return len(rest)
	case strings.IndexByte("$`|<>(){}*&\\[]~!", c) >= 0:
		return 0
	default:
		s.word, s.inWord = append(s.word, c), true
	}
	return 1
}

func (s *splitter) endWord() {
	if s.inWord {
		s.words = append(s.words, string(s.word))
		s.word, s.inWord = s.word[:0], false
	}
}

func (s *splitter) endStatement() {
	s.endWord()
	if len(s.words) > 0 {
		s.all = append(s.all, s.words)
		s.words = nil
	}
}
