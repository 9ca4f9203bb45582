// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// badge tells a state in three ways at once: a word, a colour and the shape of an icon.
type badge struct {
	Word string
	Look string // class and icon: "ok", "bad", "warn", "busy", "off", "none"
	Help string // a sentence for who wonders
}

var conditionBadges = map[fleet.Condition]badge{
	fleet.ConditionHealthy:   {"Healthy", "ok", "Connected, and nothing in it fails."},
	fleet.ConditionUnhealthy: {"Unhealthy", "bad", "Connected, and it or a part of it fails."},
	fleet.ConditionStarting:  {"Starting", "busy", "Connected; parts of it are not up yet."},
	fleet.ConditionStopping:  {"Stopping", "busy", "It is shutting down."},
	fleet.ConditionUnknown:   {"No health", "none", "Connected, but it does not report its health."},
	fleet.ConditionGone:      {"Gone", "off", "Not connected: it said goodbye, or was lost, or fell silent."},
}

var livenessBadges = map[fleet.Liveness]badge{
	fleet.LivenessConnected: {"Connected", "ok", "It speaks."},
	fleet.LivenessGoodbye:   {"Goodbye", "off", "It said that it leaves: it was stopped."},
	fleet.LivenessLost:      {"Lost", "warn", "Its connection broke without a goodbye: it died, or the network did."},
	fleet.LivenessSilent:    {"Silent", "warn", "Nothing was heard of it for too long."},
	fleet.LivenessUnknown:   {"Not heard yet", "none", "Known from before, and not heard since this server started."},
}

// agentBadge is the state of an agent; for one that is gone, how it went.
func agentBadge(a *fleet.Agent) badge {
	if c := a.Condition(); c != fleet.ConditionGone {
		return conditionBadges[c]
	}
	return livenessBadges[a.Liveness]
}

// statusBadge is the state of a part. Collectors use the words of their own statuses, other agents any.
func statusBadge(healthy bool, status string) badge {
	b := badge{Word: statusWord(status), Look: "bad"}
	switch {
	case healthy:
		b.Look = "ok"
		if b.Word == "" {
			b.Word = "Healthy"
		}
	case status == "StatusStarting" || status == "StatusStopping":
		b.Look = "busy"
	case status == "StatusStopped":
		b.Look = "warn"
	case status == "StatusRecoverableError":
		b.Look = "warn"
	case b.Word == "":
		b.Word = "Unhealthy"
	}
	return b
}

var statusWords = map[string]string{
	"StatusOK":               "OK",
	"StatusStarting":         "Starting",
	"StatusStopping":         "Stopping",
	"StatusStopped":          "Stopped",
	"StatusRecoverableError": "Recoverable error",
	"StatusPermanentError":   "Permanent error",
	"StatusFatalError":       "Fatal error",
}

// maxStatusWord bounds the words of other agents. The API tells them whole.
const maxStatusWord = 60

func statusWord(status string) string {
	if w, ok := statusWords[status]; ok {
		return w
	}
	return clean(short(oneLine(strings.TrimSpace(status)), maxStatusWord))
}
