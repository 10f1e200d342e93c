// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/suggest"
	"orlop.dev/orlop/internal/term"
)

// usageError is a command line that cannot be meant, and the help that tells how it could.
type usageError struct {
	err  error
	help string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// advised is an error with what may help.
type advised struct {
	err error
	try string
}

func (e advised) Error() string { return e.err.Error() }
func (e advised) Unwrap() error { return e.err }

// exitError ends a command whose failures have been told.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func exitWith(code int) error {
	if code == 0 {
		return nil
	}
	return exitError{code}
}

// errNoYes is for commands that ask first, where nobody can answer.
var errNoYes = errors.New("images are removed only after you confirm, and standard input is not a terminal")

// oneOf refuses what is not among the values that a flag takes.
func oneOf(flag, value string, values []string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return fmt.Errorf("%s is one of %s, not %q%s", flag, strings.Join(values, ", "), value, suggest.DidYouMean(value, values))
}

// exit tells an error as what failed, why, and what to run, and gives the exit code.
func (a *app) exit(ctx context.Context, err error) int {
	if err == nil {
		return term.ExitOK
	}
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	if errors.Is(err, term.ErrDeclined) {
		fmt.Fprintln(a.Err, "Nothing was removed.")
		return term.ExitError
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.Err, "Interrupted: nothing was done.")
		return term.ExitInterrupted
	}
	if p, unknown := newPaint(a.color, a.Streams); unknown == nil { // A mistake in the command line ends it before it is prepared.
		a.paint = p
	}
	what, why, try := a.explain(err)
	sentence(a.Err, 2, "%s %s", a.paint.bad("error:"), what)
	if why != "" {
		sentence(a.Err, 11, "  because: %s", why)
	}
	if try != "" {
		fmt.Fprintf(a.Err, "  try:     %s\n", a.alsoHere(try))
	}
	return term.ExitError
}

// missingRight finds in the API server's words which right is missing.
var missingRight = regexp.MustCompile(`cannot ([a-z]+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// explain makes three lines of an error: what failed, why, what to try.
func (a *app) explain(err error) (what, why, try string) {
	if e, ok := errors.AsType[usageError](err); ok {
		return e.Error(), "", e.help
	}
	if t, ok := errors.AsType[*fleet.Trouble](err); ok {
		what, why, try = a.explain(errors.New(t.Message))
		return what, why, cmp.Or(t.Advice, try)
	}
	if e, ok := errors.AsType[advised](err); ok {
		what, why, _ := a.explain(e.err)
		return what, why, e.try
	}
	if right, can := rightIn(err.Error()); right != "" {
		return "you have no permission to " + right, cause(err), can
	}
	if right, words, bind := rightToAct(err.Error()); right != "" {
		return "you have no permission to " + right, words, bind
	}
	urlError, isURL := errors.AsType[*url.Error](err)
	switch {
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept your credentials", cause(err), "kubectl auth whoami"
	case isURL && isUnreachable(urlError):
		server := urlError.URL
		if u, parseErr := url.Parse(server); parseErr == nil {
			server = u.Scheme + "://" + u.Host
		}
		return "the API server at " + server + " cannot be reached", urlError.Err.Error(), "kubectl cluster-info"
	case errors.Is(err, context.DeadlineExceeded):
		return "the API server did not answer in time", err.Error(), "kubectl cluster-info"
	case clientcmd.IsEmptyConfig(err), errors.Is(err, errNoConfig):
		return "there is no kubeconfig", "neither --kubeconfig, KUBECONFIG nor ~/.kube/config names a cluster", "kubectl config get-contexts"
	case clientcmd.IsContextNotFound(err), strings.HasPrefix(err.Error(), "context "):
		return err.Error(), "", "kubectl config get-contexts"
	}
	return err.Error(), "", ""
}

// cause is the API server's own sentence, without our words before it.
func cause(err error) string {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return status.ErrStatus.Message
	}
	return err.Error()
}

// rightIn reads a missing right from a refusal, and the question by which it can be looked at.
func rightIn(message string) (right, can string) {
	m := missingRight.FindStringSubmatch(message)
	if m == nil {
		return "", ""
	}
	verb, resource, group, namespace := m[1], m[2], m[3], m[4]
	if group != "" {
		resource += "." + group
	}
	if group == v1alpha1.GroupVersion.Group {
		return inOrlop(message, verb, resource, namespace)
	}
	right, can = verb+" "+resource, "kubectl auth can-i "+verb+" "+resource
	if base, sub, ok := strings.Cut(m[2], "/"); ok {
		can = "kubectl auth can-i " + verb + " " + base + " --subresource=" + sub
	}
	if namespace != "" {
		return right + " in namespace " + namespace, can + " -n " + namespace
	}
	return right + " in the cluster", can + " --all-namespaces"
}

// actRefused finds in the words of the policy orlop-nodejob-rights who may not do what, where, and which role has the right.
var actRefused = regexp.MustCompile(`(\S+) may not let a NodeJob (.+?) on nodes in namespace (\S+): that takes the right to create (nodejobs/\w+) \(ClusterRole ([\w-]+)\)`)

// rightToAct reads a missing right to what a NodeJob does, which is one beside that to make it, from a refusal.
func rightToAct(message string) (right, words, bind string) {
	m := actRefused.FindStringSubmatch(message)
	if m == nil {
		return "", "", ""
	}
	user, what, namespace, resource, role := m[1], m[2], m[3], m[4], m[5]
	return "let a NodeJob " + what + " in namespace " + namespace, user + " may not create " + resource + " there (policy orlop-nodejob-rights)",
		"have an admin bind the role: " + term.CommandLine("kubectl", "create", "rolebinding", role, "-n", namespace, "--clusterrole", role, "--user", user)
}

// forUser finds in the API server's words who it was that asked.
var forUser = regexp.MustCompile(`User "([^"]+)"`)

// userIn is who asked, for a command that an admin is to type.
func userIn(message string) string {
	if m := forUser.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return "YOU"
}

// bindView is what lets somebody see how Orlop itself is, beside what ClusterRole orlop-view shows of images.
func bindView(message, namespace string) string {
	namespace = cmp.Or(namespace, operator.DefaultNamespace)
	return "have an admin bind the role: " + term.CommandLine("kubectl", "create", "rolebinding", "orlop-view", "-n", namespace, "--role", "orlop-view", "--user", userIn(message))
}

// inOrlop is a missing right to Orlop's kinds, for which there are roles to be bound.
func inOrlop(message, verb, resource, namespace string) (right, can string) {
	role := "orlop-edit"
	switch {
	case verb == "get" || verb == "list" || verb == "watch":
		role = "orlop-view"
	case strings.HasPrefix(resource, "nodejobs") || strings.HasPrefix(resource, "nodecronjobs"):
		role = "orlop-operate"
	}
	user := userIn(message)
	if namespace != "" {
		return verb + " " + resource + " in namespace " + namespace,
			"have an admin bind the role: " + term.CommandLine("kubectl", "create", "rolebinding", role, "-n", namespace, "--clusterrole", role, "--user", user)
	}
	return verb + " " + resource + " in the cluster",
		"have an admin bind the role: " + term.CommandLine("kubectl", "create", "clusterrolebinding", role, "--clusterrole", role, "--user", user)
}

func isUnreachable(err *url.Error) bool {
	_, isNet := errors.AsType[*net.OpError](err)
	text := err.Error()
	return isNet || err.Timeout() || strings.Contains(text, "x509") || strings.Contains(text, "EOF") || strings.Contains(text, "HTTP response to HTTPS")
}
