// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chart

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const example = `
apiVersion: orlop.dev/v1alpha1
kind: ImageCache
metadata: {name: kept, namespace: default}
spec: {images: [{image: "nginx:1.29"}]}
`

// An installation's life: made, used, changed, taken away; what people wrote is still there, and taken up again.
func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	for _, generation := range generations {
		t.Run(generation, func(t *testing.T) {
			clean(t)
			helmDoes(t, generation, "install", "orlop", folder, "--create-namespace")
			if got := len(ours(t)); got < 18 {
				t.Errorf("only %d objects are ours", got)
			}
			await(t, "the kinds are served", func() bool {
				_, err := apply(t, example)
				return err == nil
			})
			helmDoes(t, generation, "upgrade", "orlop", folder, "--set", "agent.maxParallelPulls=7,serviceMonitor.enabled=false,registryCA="+authority)
			if args := kubectl(t, "get", "daemonset", "orlop-agent", "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, "--max-parallel-pulls=7") {
				t.Errorf("after the upgrade the agent has %s", args)
			}
			kubectl(t, "get", "configmap", "orlop-registry-ca", "-n", namespace)
			helmDoes(t, generation, "upgrade", "orlop", folder, "--reset-values")
			if _, err := cluster.Kubectl(t.Context(), "get", "configmap", "orlop-registry-ca", "-n", namespace); err == nil {
				t.Error("what an upgrade no longer has is still there")
			}
			helmDoes(t, generation, "uninstall", "orlop")
			onlyKindsAreLeft(t, ourKinds...)
			kubectl(t, "get", "imagecache", "kept")
			helmDoes(t, generation, "install", "orlop", folder)
			helmDoes(t, generation, "uninstall", "orlop", "--no-hooks")

			deleteKinds(t)
			helmDoes(t, generation, "install", "orlop", folder, "--set", "crds.keep=false")
			helmDoes(t, generation, "uninstall", "orlop", "--no-hooks")
			onlyKindsAreLeft(t)
		})
	}
}

const authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

// Either way in takes over from the other, and the last one counts.
func TestHelmAndManifestOverEachOther(t *testing.T) {
	image := func(t *testing.T) string {
		t.Helper()
		_, tag, _ := strings.Cut(kubectl(t, "get", "daemonset", "orlop-agent", "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].image}"), ":")
		return tag
	}
	for _, generation := range generations {
		for label, how := range map[string][]string{"server-side": {"--server-side", "--force-conflicts"}, "client-side": nil} {
			if generation == "v3" && how == nil {
				continue // Neither knows of server-side apply, which is where they could meet.
			}
			t.Run(generation+" "+label, func(t *testing.T) {
				clean(t)
				manifest := func(version string) {
					t.Helper()
					if out, err := apply(t, installYAML(t, version), how...); err != nil {
						t.Fatal(out)
					}
					if got := image(t); got != version {
						t.Errorf("after the manifest of %s the image is %s", version, got)
					}
				}
				helmTo := func(verb, version string) {
					t.Helper()
					args := []string{verb, "orlop", folder, "--set", "image.tag=" + version}
					if generation == "v4" {
						args = append(args, "--force-conflicts")
					}
					helmDoes(t, generation, args...)
					if got := image(t); got != version {
						t.Errorf("after helm %s of %s the image is %s", verb, version, got)
					}
				}
				manifest("v1")
				before := ours(t)
				helmTo("install", "v2")
				manifest("v3")
				manifest("v3")
				helmTo("upgrade", "v4")
				helmTo("upgrade", "v4")
				if after := workloads(ours(t)); strings.Join(after, " ") != strings.Join(workloads(before), " ") {
					t.Errorf("%v became %v", workloads(before), after)
				}
				// The stand-ins have one tag only.
				helmDoes(t, generation, "uninstall", "orlop", "--no-hooks")
				onlyKindsAreLeft(t, ourKinds...)
			})
		}
	}
}

// workloads leaves out what comes and goes by itself.
func workloads(names []string) (kept []string) {
	for _, n := range names {
		if kind, _, _ := strings.Cut(n, "/"); kind != "Pod" && kind != "ReplicaSet" && kind != "ControllerRevision" {
			kept = append(kept, n)
		}
	}
	return kept
}

// An uninstall whose first step fails says so, leaves the release as it was, and goes on when told.
func TestUninstallWhoseHookFails(t *testing.T) {
	for _, generation := range generations {
		t.Run(generation, func(t *testing.T) {
			clean(t)
			helmDoes(t, generation, "install", "orlop", folder, "--create-namespace", "--set", "image.tag=broken")
			if out, err := helm(t, generation, "uninstall", "orlop"); err == nil {
				t.Errorf("the hook failed, and Helm said %s", out)
			}
			kubectl(t, "get", "deployment", "orlop-controller", "-n", namespace)
			helmDoes(t, generation, "uninstall", "orlop", "--no-hooks")
			onlyKindsAreLeft(t, ourKinds...)
		})
	}
}

// Where pods with a folder of the host would be refused, the installation says so and how to help it, and not the pods later.
func TestRestrictedNamespaceIsRefused(t *testing.T) {
	clean(t)
	if out, err := apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}"); err != nil {
		t.Fatal(out)
	}
	kubectl(t, "label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	for _, generation := range generations {
		_, err := helm(t, generation, "install", "orlop", folder)
		if err == nil || !strings.Contains(err.Error(), "kubectl label --overwrite namespace orlop-system pod-security.kubernetes.io/enforce=privileged") {
			t.Errorf("%s: %v", generation, err)
		}
	}
	onlyKindsAreLeft(t)
	// As it says.
	kubectl(t, "label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged")
	helmDoes(t, "v4", "install", "orlop", folder)
	await(t, "both agents run", func() bool {
		return strings.Count(kubectl(t, "get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=agent", "--no-headers"), "Running") == 2
	})
}

func TestHelmLints(t *testing.T) {
	for _, generation := range generations {
		if out, err := helm(t, generation, "lint", "--strict", folder); err != nil {
			t.Errorf("%s: %v", generation, err)
		} else if !strings.Contains(out, "0 chart(s) failed") {
			t.Errorf("%s: %s", generation, out)
		}
	}
}

// Helm's command lines make of every scenario what the engine in these tests makes of it.
func TestHelmTemplates(t *testing.T) {
	for label, s := range scenarios {
		t.Run(label, func(t *testing.T) {
			values := filepath.Join(t.TempDir(), "values.yaml")
			writeFile(t, values, s.values)
			args := []string{"template", "orlop", folder, "--values", values}
			// Helm 3 built without its release's flags takes its cluster for an ancient one.
			args = append(args, "--kube-version", cmp.Or(s.kubeVersion, "v1.36.3"))
			for _, v := range s.apiVersions {
				args = append(args, "--api-versions", v)
			}
			rendered := s.render(t)
			want := names(append(rendered.Objects, rendered.Hooks...))
			for _, generation := range generations {
				if generation == "v3" && strings.Contains(s.kubeVersion, "-gke.") {
					continue // Helm 3 knows this ending from clusters only, and cuts it off a flag.
				}
				out, err := helm(t, generation, args...)
				if err != nil {
					t.Error(err)
					continue
				}
				var objects []object
				for part := range strings.SplitSeq("\n"+out, "\n---\n") {
					var o object
					if err := yaml.Unmarshal([]byte(part), &o); err != nil {
						t.Fatal(err)
					}
					if o != nil {
						objects = append(objects, o)
					}
				}
				if diff := gocmp.Diff(want, names(objects)); diff != "" {
					t.Errorf("%s: %s", generation, diff)
				}
			}
		})
	}
}

func names(objects []object) (all []string) {
	for _, o := range objects {
		all = append(all, name(o))
	}
	slices.Sort(all)
	return all
}
