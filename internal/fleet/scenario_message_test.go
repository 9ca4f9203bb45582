// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// The commands of TestScenarios that are about custom messages.

func scenarioMessage(t testing.TB, args words) *protobufs.CustomMessage {
	switch {
	case args["message"] != "":
		capability, kind, data := threeWords(args["message"])
		return &protobufs.CustomMessage{Capability: capability, Type: kind, Data: []byte(data)}
	case args["progress"] != "":
		return progressMessage(t, strings.Split(args["progress"], ":"))
	case args["ingest"] != "":
		return statusMessage(t, strings.SplitN(args["ingest"], ":", 4))
	}
	return nil
}

func threeWords(s string) (a, b, c string) {
	parts := append(strings.SplitN(s, ":", 3), "", "")
	return parts[0], parts[1], parts[2]
}

func number(t testing.TB, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n
}

// progressMessage is of words: receiver, signal, state, percent, second that it began, second that it is of.
func progressMessage(t testing.TB, w []string) *protobufs.CustomMessage {
	require.Len(t, w, 6)
	data, err := json.Marshal(ingestprogress.Progress{
		Receiver: w[0], TelemetryType: w[1], Mode: "time_range", State: ingestprogress.State(w[2]),
		Percent: float64(number(t, w[3])), ETASeconds: -1,
		Began: number(t, w[4]) * int64(time.Second), Updated: number(t, w[5]) * int64(time.Second),
	})
	require.NoError(t, err)
	return &protobufs.CustomMessage{Capability: ingestprogress.Capability, Type: ingestprogress.TypeProgress, Data: data}
}

// statusMessage is of words: signal, state, minute of the hour before the scenario starts, error.
func statusMessage(t testing.TB, w []string) *protobufs.CustomMessage {
	start := scenarioStart.Add(-time.Hour)
	position := start.Add(time.Duration(number(t, w[2])) * time.Minute)
	failure := ""
	if len(w) > 3 {
		failure = w[3]
	}
	return &protobufs.CustomMessage{
		Capability: ingestprogress.Capability, Type: ingestprogress.TypeStatus,
		Data: contribStatus(w[0], w[1], start, scenarioStart, position, failure),
	}
}

// contribStatus is what contrib's S3 receiver sends: an OTLP LogsData with one log record.
func contribStatus(signal, state string, start, end, position time.Time, failure string) []byte {
	field := func(b []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	text := func(s string) []byte { return field(nil, 1, []byte(s)) }
	whole := func(t time.Time) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(t.UnixNano()))
	}
	record := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	record = protowire.AppendFixed64(record, uint64(position.UnixNano()))
	record = field(record, 5, text("status"))
	attribute := func(key string, value []byte) {
		record = field(record, 6, field(field(nil, 1, []byte(key)), 2, value))
	}
	attribute("telemetry_type", text(signal))
	attribute("ingest_status", text(state))
	attribute("start_time", whole(start))
	attribute("end_time", whole(end))
	if failure != "" {
		attribute("failure_message", text(failure))
	}
	return field(nil, 1, field(nil, 2, field(nil, 2, record)))
}

func (w *world) post(agent, text string) string {
	capability, kind, data := threeWords(strings.ReplaceAll(text, "_", " "))
	p := Posting{Capability: capability, Type: kind, Data: []byte(data)}
	var out string
	changes := w.changesOf(func() {
		d, err := w.fleet.Post(scenarioUID(agent), p, w.now)
		switch {
		case err != nil:
			out = err.Error() + "\n"
		case d.Conn == 0:
			out = fmt.Sprintf("waits for a poll until %s\n", clock(d.Expires))
		default:
			m := d.Message.GetCustomMessage()
			out = fmt.Sprintf("connection %d: %s %s %q\n", d.Conn, m.GetCapability(), m.GetType(), m.GetData())
			require.Equal(w.t, scenarioUID(agent).Bytes(), d.Message.GetInstanceUid())
			w.fleet.Posted(scenarioUID(agent), p, w.now)
		}
	})
	return out + changes
}

func (w *world) said(agent string) string {
	a, ok := w.fleet.Agent(scenarioUID(agent))
	if !ok {
		return "unknown\n"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "announces %s\n", strings.Join(a.CustomCapabilities, " "))
	for _, c := range a.Channels {
		fmt.Fprintf(&out, "%s received %d, sent %d\n", c.Capability, c.Received, c.Sent)
		for _, m := range c.Last {
			fmt.Fprintf(&out, "  %s %s %s %s, %d bytes: %q\n", clock(m.At), m.Fate, m.Direction, m.Type, m.Size, string(m.Data))
		}
	}
	for _, l := range a.Mail {
		fmt.Fprintf(&out, "waits since %s until %s: %s %s %q\n", clock(l.At), clock(l.Expires), l.Capability, l.Type, string(l.data))
	}
	fates := w.fleet.Stats().Messages
	for _, fate := range slices.Sorted(maps.Keys(fates)) {
		fmt.Fprintf(&out, "%s %d ", fate, fates[fate])
	}
	return strings.TrimSpace(out.String()) + "\n"
}

func (w *world) ingests(agent string) string {
	a, _ := w.fleet.Agent(scenarioUID(agent))
	var out strings.Builder
	for _, in := range a.Ingests {
		fmt.Fprintf(&out, "ingest %q %s %s %.1f %%", in.Receiver, in.TelemetryType, in.State, in.Percent)
		if in.ETASeconds >= 0 {
			fmt.Fprintf(&out, ", %.0f s left", in.ETASeconds)
		}
		fmt.Fprintf(&out, ", detailed=%t, since %s, heard %s", in.Detailed, clock(in.Since), clock(in.Heard))
		if in.Error != "" {
			fmt.Fprintf(&out, " %q", in.Error)
		}
		out.WriteString("\n")
	}
	return out.String()
}
