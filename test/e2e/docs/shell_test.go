// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import "testing"

func TestShell(t *testing.T) {
	s, err := newShell(t.Context(), t.TempDir(), []string{"PATH=/usr/bin:/bin", "GIVEN=yes"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, each := range []struct {
		command, want string
		code          int
	}{
		{"export MADE=too; cd /", "", 0},
		{"echo $GIVEN $MADE $PWD; ls /nowhere 2>&1 | wc -l", "yes too /\n1\n", 0},
		{"echo wrong >&2; (exit 3)", "wrong\n", 3},
		{"echo $?   # of the one before", "3\n", 0},
		{"read line || echo nobody types", "nobody types\n", 0},
		{"printf 'no end of line'", "no end of line", 0},
		{"cat <<'EOF'\n$HOME\nEOF", "$HOME\n", 0},
	} {
		got, code, err := s.run(each.command)
		if err != nil || got != each.want || code != each.code {
			t.Errorf("%s: %q, %d, %v, want %q, %d", each.command, got, code, err, each.want, each.code)
		}
	}
	if _, _, err := s.run("exit 0"); err == nil {
		t.Error("a shell that has ended goes on")
	}
}
