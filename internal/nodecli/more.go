// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/ask"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/node"
	"orlop.dev/orlop/internal/oci"
)

func dfCommand() command {
	return command{
		name: "df", instead: "; df -v lists the images, and --filter chooses among them", short: "Show how much disk images take here, and what could be freed", timeout: lookTimeout,
		long: `Examples:
  orlop-node df
  orlop-node df -v
  orlop-node df -v --filter in-use=false
  orlop-node df -o json

RECLAIMABLE is how much would be freed if every image went that nothing needs; layers
that other images keep are not counted.`,
		setup: func(flags *pflag.FlagSet) func(context.Context, *env, []string) error {
			verbose := flags.BoolP("verbose", "v", false, "print a line for each image, with the size of what it shares")
			filters := ask.Filter(flags)
			return func(ctx context.Context, e *env, args []string) error {
				if len(*filters) > 0 && !*verbose {
					return errors.New("--filter chooses among the images that df -v lists, and what could be freed is not counted for them alone\nrun: orlop-node df -v --help")
				}
				inventory, err := e.inventory(ctx, args, *filters, true)
				switch {
				case err != nil:
					return err
				case e.structured():
					return e.print("DiskUsage", inventory)
				}
				t := dfTable(inventory)
				if *verbose {
					t = dfImageTable(inventory)
				}
				return e.printTable(t, false)
			}
		},
	}
}

func pinCommand(pin bool) command {
	c := command{
		name: "pin", args: "IMAGE…", short: "Hold images against the kubelet's garbage collection and prune", timeout: lookTimeout,
		long: "Examples:\n  orlop-node pin nginx:1.29\n  orlop-node list --filter pinned=true\n\nOnly containerd can pin from outside; for CRI-O and Docker it is a matter of the\nhost's configuration.",
	}
	if !pin {
		c.name, c.short = "unpin", "Lift the pins that Orlop has set"
		c.long = "Examples:\n  orlop-node unpin nginx:1.29\n\nAn ImageCache that still wants the image here pins it again. Pins of the runtime's\nown configuration, or of other programs, stay."
	}
	c.setup = func(*pflag.FlagSet) func(context.Context, *env, []string) error {
		return func(ctx context.Context, e *env, args []string) error { return e.pin(ctx, args, pin) }
	}
	return c
}

// handPinner is a runtime in which a person's pins stand beside those of caches.
type handPinner interface {
	PinByHand(ctx context.Context, ref oci.Ref, pinned bool) error
}

func (e *env) pin(ctx context.Context, args []string, pin bool) error {
	if len(args) == 0 {
		return errors.New("name at least one image, such as nginx:1.29")
	}
	refs := make([]oci.Ref, len(args))
	for i, arg := range args {
		var err error
		if refs[i], err = oci.Parse(arg); err != nil {
			return err
		}
	}
	n, err := e.open(ctx)
	if err != nil {
		return err
	}
	pinner, ok := engine.As[handPinner](n.Runtime)
	if !ok {
		described, err := n.Runtime.Describe(ctx)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s cannot pin images from outside: its own configuration on the host can", described.Name)
	}
	var errs []error
	for _, ref := range refs {
		err := pinner.PinByHand(ctx, ref, pin)
		if err == nil && !pin {
			err = stillPinned(ctx, n.Runtime, ref)
		}
		errs = append(errs, err)
		if err == nil {
			fmt.Fprintf(e.Err, "✔ %s %sned\n", ref, map[bool]string{true: "pin", false: "unpin"}[pin])
		}
	}
	return errors.Join(errs...)
}

// stillPinned is an error where the image is pinned though our pins are lifted.
func stillPinned(ctx context.Context, rt engine.Interface, ref oci.Ref) error {
	images, err := rt.List(ctx)
	if err != nil {
		return fmt.Errorf("looking whether %s is pinned still: %w", ref, err)
	}
	for _, img := range images {
		if img.Pinned && (slices.Contains(img.Tags, ref.WithoutDigest()) || slices.Contains(img.Digests, ref.WithoutTag())) {
			return fmt.Errorf("%s is still pinned: by an ImageCache that wants it here, by the runtime's own configuration, or by another program", ref)
		}
	}
	return nil
}

func versionCommand() command {
	return command{name: "version", short: "Print the version, and that of the runtime", timeout: lookTimeout,
		setup: func(*pflag.FlagSet) func(context.Context, *env, []string) error {
			return func(ctx context.Context, e *env, _ []string) error {
				fmt.Fprintln(e.Out, "orlop-node", e.Version)
				n, err := e.open(ctx)
				if err != nil {
					fmt.Fprintln(e.Err, "! no runtime:", err)
					return nil
				}
				described, err := n.Runtime.Describe(ctx)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(e.Out, described.Name, described.Version, described.Endpoint)
				return err
			}
		}}
}

// sessionCommand is what kubectl-orlop runs in a pod; hidden, since no person speaks its protocol.
func sessionCommand() command {
	return command{name: "session", short: "Answer kubectl-orlop on standard input and output", hidden: true,
		setup: func(*pflag.FlagSet) func(context.Context, *env, []string) error {
			return func(ctx context.Context, e *env, _ []string) error {
				return node.Serve(ctx, e.In, e.Out, func(ctx context.Context, name string) (engine.Interface, error) {
					return e.Open(ctx, e.endpoint, name)
				})
			}
		}}
}

// holdCommand keeps a pod alive for kubectl orlop shell, until the other side goes away.
func holdCommand() command {
	return command{name: "hold", short: "Wait until standard input ends", hidden: true,
		setup: func(*pflag.FlagSet) func(context.Context, *env, []string) error {
			return func(_ context.Context, e *env, _ []string) error {
				_, err := io.Copy(io.Discard, e.In)
				return err
			}
		}}
}
