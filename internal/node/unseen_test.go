// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/engine/enginetest"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

func TestAPruneThatNobodySeesFirstIsTheSame(t *testing.T) {
	for name, req := range map[string]plan.PruneRequest{
		"everything":                 everything,
		"what may depend on a size":  {MaxRemovals: 1, Options: plan.Options{Force: true}},
		"what fits a pattern":        {Match: targets(t, web)},
		"what nobody asked for":      {Match: targets(t, "nowhere:1")},
		"all but one that is wanted": {Keep: targets(t, web)},
	} {
		t.Run(name, func(t *testing.T) {
			everyRuntime(t, func(t *testing.T, rt engine.Interface, fake *enginetest.Runtime) {
				fake.Start(other, enginetest.Container{Name: "app", Pod: "shop/app"})
				disk := func(string) plan.Disk { return plan.Disk{Capacity: 1000, Used: 500, Available: 500} }
				n := &Node{Runtime: rt, Now: later, Disk: disk}
				seen, err := n.PlanPrune(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				var planned []plan.Plan
				var told []session.Step
				result, err := n.PruneUnseen(t.Context(), req, func(p plan.Plan) {
					if len(told) > 0 && told[len(told)-1].State == session.StateRemoved {
						t.Error("a removal was told of before the plan")
					}
					planned = append(planned, p)
				}, func(step session.Step) { told = append(told, step) })
				if err != nil {
					t.Fatal(err)
				}
				unsized := cmp.Transformer("unsized", func(k plan.Kept) plan.Kept { // Of what stays, nobody has to ask for sizes.
					k.Image.DiskBytes, k.Image.Layers = 0, nil
					return k
				})
				if diff := cmp.Diff([]plan.Plan{seen}, planned, cmp.Comparer(func(a, b oci.Ref) bool { return a == b }), unsized); diff != "" {
					t.Errorf("plans (-seen before +while it was carried out):\n%s", diff)
				}
				if diff := cmp.Diff(told, result.Steps); diff != "" {
					t.Errorf("steps (-told +answered):\n%s", diff)
				}
				frees, removed := map[string]int64{}, map[string]int64{}
				for _, r := range seen.Remove {
					frees[r.Image.ID] = r.FreesBytes
				}
				for _, step := range told {
					if step.State == session.StateRemoved {
						removed[step.ID] = step.Bytes
					}
				}
				if diff := cmp.Diff(frees, removed); diff != "" {
					t.Errorf("what removals free (-planned +told):\n%s", diff)
				}
				if opened, closed := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpClose); opened > 1 || closed != opened {
					t.Errorf("%d batches were opened, %d closed", opened, closed)
				}
			})
		})
	}
}

func TestAPruneThatCannotMeasure(t *testing.T) {
	ill := errors.New("ill")
	for name, c := range map[string]struct {
		fails []error
		left  int
	}{
		"at all":    {[]error{ill}, 3},
		"the sizes": {[]error{nil, ill}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fake := enginetest.NewContainerd(enginetest.NewRegistry())
			load(fake.Runtime)
			fake.FailNext(enginetest.OpMeasure, c.fails...)
			n := &Node{Runtime: engine.Verify(fake), Now: later}
			if _, err := n.PruneUnseen(t.Context(), everything, nil, nil); !errors.Is(err, ill) {
				t.Errorf("error %v, want %v", err, ill)
			}
			if left := names(t, fake); len(left) != c.left {
				t.Errorf("%v is left, want %d images", left, c.left)
			}
			if opened, closed := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpClose); closed != opened {
				t.Errorf("%d batches were opened, %d closed", opened, closed)
			}
		})
	}
}

// A batch is opened before the plan is made. Where that fails, another try is made once something is to go.
func TestAPruneWhoseBatchDoesNotOpenAtOnce(t *testing.T) {
	ill := errors.New("ill")
	for name, c := range map[string]struct {
		fails []error
		left  int
	}{
		"it opens then":    {[]error{ill}, 0},
		"nor then":         {[]error{ill, ill}, 3},
		"it has no room":   {[]error{engine.Unsupported}, 0},
		"it never has any": {[]error{engine.Unsupported, engine.Unsupported, engine.Unsupported}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fake := enginetest.NewContainerd(enginetest.NewRegistry())
			load(fake.Runtime)
			fake.FailNext(enginetest.OpBatch, c.fails...)
			n := &Node{Runtime: engine.Verify(fake), Now: later}
			if _, err := n.PruneUnseen(t.Context(), everything, nil, nil); errors.Is(err, ill) != (c.left > 0) {
				t.Errorf("error %v", err)
			}
			if left := names(t, fake); len(left) != c.left {
				t.Errorf("%v is left, want %d images", left, c.left)
			}
		})
	}
}

// A look that fails breaks off no opening beside it: of a batch that opened unknown to us, nobody would let go.
func TestAFailedLookClosesTheBatchThatOpensBesideIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ill := errors.New("ill")
		fake := enginetest.NewContainerd(enginetest.NewRegistry())
		load(fake.Runtime)
		fake.FailNext(enginetest.OpUses, ill)
		fake.Before = func(call enginetest.Call) {
			if call.Op == enginetest.OpBatch {
				synctest.Wait() // The look has failed by then.
			}
		}
		n := &Node{Runtime: engine.Verify(fake), Now: later}
		if _, err := n.PruneUnseen(t.Context(), everything, nil, nil); !errors.Is(err, ill) {
			t.Errorf("error %v, want %v", err, ill)
		}
		if opened, closed := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpClose); opened != 1 || closed != 1 {
			t.Errorf("%d batches were opened, %d closed", opened, closed)
		}
	})
}

// While images are looked at just before they go, neither is another batch opened nor are sizes read.
func TestNothingElseIsAskedWhileImagesAreLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, n, _ := many(t, 1)
		measured := fake.Calls(enginetest.OpMeasure)
		var looks atomic.Int32
		fake.Before = func(call enginetest.Call) {
			if call.Op != enginetest.OpUses || looks.Add(1) != 2 { // the first is for the plan
				return
			}
			synctest.Wait()
			opened, sizes := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpMeasure)-measured
			if opened != 1 || sizes != 1 {
				t.Errorf("%d batches were opened, and %d times it was measured", opened, sizes)
			}
		}
		if _, err := n.PruneUnseen(t.Context(), everything, nil, nil); err != nil {
			t.Fatal(err)
		}
		if opened, sizes := fake.Calls(enginetest.OpBatch), fake.Calls(enginetest.OpMeasure)-measured; opened != 2 || sizes != 2 {
			t.Errorf("in the end %d batches were opened, and %d times it was measured", opened, sizes)
		}
	})
}
