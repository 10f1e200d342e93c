// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodejob

import (
	"fmt"
	"testing"

	"orlop.dev/orlop/api/v1alpha1"
)

// BenchmarkDecide is one look at a job on 5,000 nodes of which one has answered anew, with 125 decisions each.
func BenchmarkDecide(b *testing.B) {
	tally := newTally()
	var members []member
	for i := range 5000 {
		m := node(fmt.Sprintf("node-%04d", i), asked(0), answered(v1alpha1.JobSucceeded))
		for k := range 125 {
			m.answer.Images = append(m.answer.Images, v1alpha1.JobImage{Image: fmt.Sprintf("docker.io/minchou/i%d:1", k), State: v1alpha1.JobImageRemoved, Bytes: 1})
		}
		tally.hear(m.name, m.answer)
		members = append(members, m)
	}
	j := job(never)
	for b.Loop() {
		again := *members[7].answer
		members[7].answer = &again
		tally.hear(members[7].name, members[7].answer)
		if v := decide(picture{job: j, members: members, tally: tally, now: noon}); v.status.Succeeded != 5000 {
			b.Fatal(v.status)
		}
	}
}
