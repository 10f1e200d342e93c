// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// commandTimeout is how long one command of a page may take: longer than any wait in a page.
const commandTimeout = 3 * time.Minute

// maxOutput bounds what a command may write: no reader would look at more.
const maxOutput = 1 << 20

// shell is one bash, in which a page's commands are done one after the other.
type shell struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	script string
	mark   string
	end    *regexp.Regexp
	code   int
}

// newShell starts one in a folder, which is its home; env is all of its environment besides.
func newShell(ctx context.Context, dir string, env []string) (*shell, error) {
	s := &shell{script: filepath.Join(dir, ".command"), mark: "end-" + rand.Text()}
	s.end = regexp.MustCompile(`\n` + s.mark + ` ([0-9]+)\n$`)
	s.cmd = exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	s.cmd.Dir, s.cmd.Env = dir, append(slices.Clone(env), "HOME="+dir)
	// What a command leaves in the background ends with the page.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Cancel = func() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	s.out, s.cmd.Stdout, s.cmd.Stderr = read, write, write
	if err := s.cmd.Start(); err != nil {
		read.Close()
		return nil, fmt.Errorf("starting a shell: %w", err)
	}
	return s, nil
}

// run does one command, and returns both its outputs as a terminal would show them.
func (s *shell) run(text string) (output string, code int, err error) {
	// $? is that of the command before.
	if err := os.WriteFile(s.script, fmt.Appendf(nil, "(exit %d)\n%s\n", s.code, text), 0o600); err != nil {
		return "", 0, err
	}
	if _, err := fmt.Fprintf(s.in, ". %s </dev/null; printf '\\n%s %%d\\n' $?\n", s.script, s.mark); err != nil {
		return "", 0, fmt.Errorf("the shell has ended: %w", err)
	}
	if err := s.out.SetReadDeadline(time.Now().Add(commandTimeout)); err != nil {
		return "", 0, err
	}
	var all strings.Builder
	buffer := make([]byte, 32<<10)
	for all.Len() < maxOutput {
		n, err := s.out.Read(buffer)
		all.Write(buffer[:n])
		if found := s.end.FindStringSubmatch(all.String()); found != nil {
			s.code, err = strconv.Atoi(found[1])
			return strings.TrimSuffix(all.String(), found[0]), s.code, err
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all.String(), 0, fmt.Errorf("it goes on after %s", commandTimeout)
		}
		if err != nil {
			return all.String(), 0, fmt.Errorf("the shell has ended: %w", err)
		}
	}
	return all.String(), 0, fmt.Errorf("it writes more than %d bytes", maxOutput)
}

// close ends the shell, and all that it left running.
func (s *shell) close() {
	s.in.Close()
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.out.Close()
}
