// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Command push brings the images of a release to a registry, with nothing but itself and their archives. In the air-gap package
// it is called orlop-push.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"orlop.dev/orlop/hack/image/archive"
)

const usage = `usage: orlop-push --to REGISTRY/PATH [flags] ARCHIVE…

Pushes the images in archives: orlop-push --to registry.example/orlop images/*.tar makes
registry.example/orlop/orlop-node:TAG and so on. Without --user, logins of docker and podman are used where there are any.

`

// maxPassword bounds what is read as one.
const maxPassword = 64 << 10

type options struct {
	to, user, ca        string
	password, plainHTTP bool
}

func main() {
	var o options
	flags := flag.NewFlagSet("orlop-push", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.to, "to", "", "the `registry` and the path below which the images are to be")
	flags.StringVar(&o.user, "user", "", "log in by this `name`")
	flags.BoolVar(&o.password, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&o.ca, "ca", "", "a `file` with certificates, by which the registry is trusted too")
	flags.BoolVar(&o.plainHTTP, "plain-http", false, "the registry has no TLS")
	_ = flags.Parse(os.Args[1:]) // It ends the program itself.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, flags.Args(), os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "orlop-push:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, archives []string, in io.Reader, out io.Writer) error {
	switch {
	case o.to == "" || len(archives) == 0:
		return errors.New("name a registry by --to, and at least one archive")
	case (o.user != "") != o.password:
		return errors.New("--user and --password-stdin go together")
	}
	how, err := o.remote(ctx, in)
	if err != nil {
		return err
	}
	for _, file := range archives {
		if err := o.push(file, out, how); err != nil {
			return err
		}
	}
	return nil
}

func (o options) push(file string, out io.Writer, how []remote.Option) error {
	folder, err := os.MkdirTemp("", "orlop-push-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	images, err := archive.Read(file, folder)
	if err != nil {
		return err
	}
	for _, img := range images {
		ref, err := o.target(img.Name)
		if err != nil {
			return err
		}
		if err := remote.WriteIndex(ref, img.Index, how...); err != nil {
			return fmt.Errorf("pushing %s: %w", ref, err)
		}
		digest, err := img.Index.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s@%s\n", ref, digest)
	}
	return nil
}

// target is where an image of the release goes: its own name and tag, below another path.
func (o options) target(image string) (name.Tag, error) {
	from, err := name.NewTag(image)
	if err != nil {
		return name.Tag{}, err
	}
	strict := []name.Option{name.StrictValidation}
	if o.plainHTTP {
		strict = append(strict, name.Insecure)
	}
	return name.NewTag(strings.TrimSuffix(o.to, "/")+"/"+path.Base(from.RepositoryStr())+":"+from.TagStr(), strict...)
}

func (o options) remote(ctx context.Context, in io.Reader) ([]remote.Option, error) {
	how := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("orlop-push")}
	if o.user != "" {
		password, err := io.ReadAll(io.LimitReader(in, maxPassword))
		if err != nil {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		how[1] = remote.WithAuth(&authn.Basic{Username: o.user, Password: strings.TrimRight(string(password), "\r\n")})
	}
	if o.ca == "" {
		return how, nil
	}
	text, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil { // A machine without any has an empty one.
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading %s: there is no certificate in PEM form in it", o.ca)
	}
	transport := remote.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return append(how, remote.WithTransport(transport)), nil
}
