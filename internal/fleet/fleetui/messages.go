// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// maxDumpBytes is how much of a message that is no text is shown. The API tells more.
const maxDumpBytes = 512

// messagesPart shows what was said by custom messages.
type messagesPart struct {
	Channels []channelRow
	Waiting  []waitingRow
}

type channelRow struct {
	ID         string
	Capability string
	Announced  bool
	Said       bool   // anything at all
	Received   string // how many
	Sent       string // how many; empty for none
	Messages   []messageRow
}

type messageRow struct {
	ID        string
	Arrow     string // which way it went, for the eye
	Way       string // the same in words
	Look      string // of the way
	Type      string
	Size      string
	At        moment
	Preview   string
	Text      string
	Dump      string // of what is no text
	Truncated string // how much of it there is; empty if all
}

type waitingRow struct {
	Capability, Type string
	Since            moment
	Until            string
}

func newMessagesPart(a *fleet.Agent, now time.Time) *messagesPart {
	names := slices.Clone(a.CustomCapabilities)
	for _, c := range a.Channels {
		names = append(names, c.Capability)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil
	}
	out := &messagesPart{}
	for _, name := range names {
		out.Channels = append(out.Channels, newChannelRow(a, name, now))
	}
	for _, l := range a.Mail {
		out.Waiting = append(out.Waiting, waitingRow{
			Capability: clean(l.Capability), Type: clean(short(l.Type, 80)), Since: ago(l.At, now),
			Until: l.Expires.UTC().Format("15:04:05 UTC"),
		})
	}
	return out
}

func newChannelRow(a *fleet.Agent, name string, now time.Time) channelRow {
	out := channelRow{ID: "c-" + shortSum(name), Capability: clean(name), Announced: a.Announces(name)}
	c := a.Channel(name)
	if c == nil {
		return out
	}
	out.Said, out.Received, out.Sent = true, thousands(c.Received), unlessZero(c.Sent)
	for _, m := range c.Last {
		out.Messages = append(out.Messages, newMessageRow(out.ID, m, now))
	}
	return out
}

func newMessageRow(channel string, m *fleet.Message, now time.Time) messageRow {
	out := messageRow{
		ID:    fmt.Sprint(channel, "-", m.N),
		Arrow: "←", Way: "from the collector", Look: "all",
		Type: clean(short(m.Type, 120)),
		Size: byteSize(float64(m.Size)),
		At:   ago(m.At, now),
	}
	switch {
	case m.Fate == fleet.MessageExpired:
		out.Arrow, out.Way, out.Look = "×", "not fetched in time", "warn"
	case m.Direction == fleet.DirectionSent:
		out.Arrow, out.Way, out.Look = "→", "to the collector", "busy"
	}
	shown := len(m.Data)
	if text, ok := m.Text(); ok {
		out.Text = clean(text)
		out.Preview = short(oneLine(out.Text), 160)
	} else {
		shown = min(shown, maxDumpBytes)
		out.Dump = strings.TrimRight(hex.Dump(m.Data[:shown]), "\n")
		out.Preview = "bytes"
	}
	if shown < m.Size {
		out.Truncated = fmt.Sprintf("The first %s of %s.", byteSize(float64(shown)), out.Size)
	}
	return out
}

// shortSum names what has a foreign name, for the id of an element.
func shortSum(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}
