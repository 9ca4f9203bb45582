// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// What a message costs, beside what a heartbeat of the same agent costs.
func BenchmarkCustomMessage(b *testing.B) {
	words := []string{"aws_s3/replay", "traces", "ingesting", "50", "1", "1"}
	for name, msg := range map[string]*protobufs.AgentToServer{
		"heartbeat": {},
		"raw":       {CustomMessage: &protobufs.CustomMessage{Capability: "com.example", Type: "t", Data: make([]byte, 1000)}},
		"status":    {CustomMessage: statusMessage(nil, []string{"logs", "ingesting", "30"})},
		"progress":  {CustomMessage: progressMessage(nil, words)},
	} {
		b.Run(name, func(b *testing.B) {
			f := New(Settings{})
			f.Report(testConn, reportOf("a", fullReport(0)), testNow)
			for i := range maxChannels { // an agent that has said much
				f.Report(testConn, messageReport(fmt.Sprint(i), "t", make([]byte, 1000)), testNow)
			}
			msg := reportOf("a", msg)
			now := testNow
			b.ReportAllocs()
			for b.Loop() {
				msg.SequenceNum++
				now = now.Add(time.Millisecond)
				f.Report(testConn, msg, now)
			}
		})
	}
}
