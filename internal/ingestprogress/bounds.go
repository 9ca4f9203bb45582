// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxMessageBytes bounds the data of a message that is read. What receivers send is a tenth of it.
const MaxMessageBytes = 64 << 10

// Bounds of what is kept of a text, in bytes, and of a list.
const (
	maxName     = 256 // a receiver's id, a mode
	maxKey      = 1 << 10
	maxError    = 4 << 10
	maxReason   = 64
	maxFailures = 32
)

var (
	// ErrTooLarge says that a message is longer than MaxMessageBytes.
	ErrTooLarge = errors.New("message of an ingest is too large")
	// ErrMalformed says that a message is not what its type says.
	ErrMalformed = errors.New("malformed message of an ingest")
)

// States lists every state.
func States() []State {
	return []State{StateListing, StateIngesting, StateRetrying, StateWaiting, StateFailed, StateCompleted}
}

// Final reports whether the ingest is over.
func (s State) Final() bool { return s == StateFailed || s == StateCompleted }

func (s State) known() bool { return slices.Contains(States(), s) }

// signals are the values of TelemetryType.
var signals = []string{"traces", "metrics", "logs"}

func isSignal(s string) bool { return slices.Contains(signals, s) }

// marker ends a text that was cut.
const marker = "…[cut]"

// cut is at most limit bytes of s, in memory of its own where it is less than s, and always UTF-8.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	end := limit - len(marker)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.Clone(s[:end]) + marker
}
