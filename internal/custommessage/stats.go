// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

const (
	// maxLabels bounds how many capabilities are counted by name; the rest are one.
	maxLabels = 32
	// maxLabel bounds such a name, in bytes.
	maxLabel = 128
	// otherLabel is the rest.
	otherLabel = "other"
)

// dropReason says why a message was dropped, in a word of a closed set.
type dropReason string

const (
	droppedFull        dropReason = "queue_full"   // from the server: the component does not read
	droppedTotal       dropReason = "total_full"   // from the server: components do not read, and together may not have more
	droppedRejected    dropReason = "rejected"     // to the server: it could not read it
	droppedServerLimit dropReason = "server_limit" // to the server: too large for it
	droppedStop        dropReason = "shutdown"     // to the server: unsent when the collector stopped, and not kept
	droppedDamaged     dropReason = "damaged"      // to the server: what was kept could not be read
	droppedRestored    dropReason = "no_room"      // to the server: kept, and past the queue's present bounds
)

// Why a message of a component was refused, in a word of a closed set.
const (
	refusedFull         = "queue_full"
	refusedTotal        = "total_full"
	refusedTooLarge     = "too_large"
	refusedMalformed    = "malformed"
	refusedUnregistered = "unregistered"
	refusedStopped      = "shutdown"
)

func reasonOf(err error) string {
	if errors.Is(err, ErrTooLarge) {
		return refusedTooLarge
	}
	return refusedMalformed
}

// counts are what happened to the messages of one label. Guarded by the registry's lock.
type counts struct {
	sent, resent, acknowledged, unanswered, delivered uint64

	dropped map[dropReason]uint64
	refused map[string]uint64
}

// labelLocked is the name under which a capability is counted.
func (r *Registry) labelLocked(capability string) string {
	if len(capability) > maxLabel {
		return otherLabel
	}
	if _, known := r.counts[capability]; known || len(r.counts) < maxLabels {
		return capability
	}
	return otherLabel
}

func (r *Registry) countsLocked(capability string) *counts {
	label := r.labelLocked(capability)
	c := r.counts[label]
	if c == nil {
		c = &counts{dropped: make(map[dropReason]uint64), refused: make(map[string]uint64)}
		r.counts[strings.Clone(label)] = c
	}
	return c
}

// Stats is what happened to the messages of a capability, and what waits.
type Stats struct {
	Capability string // or "other"

	QueueSize  int // messages that wait, those that are written and unanswered included
	QueueBytes int

	Sent         uint64 // written, those written again included
	Resent       uint64
	Acknowledged uint64 // the server has answered since
	Unanswered   uint64 // the server has it and left it unanswered
	Delivered    uint64 // to handlers

	Dropped map[string]uint64 // by reason
	Refused map[string]uint64 // by reason
}

// Stats are how things stand, by label. There are 33 of them at most.
func (r *Registry) Stats() []Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := make(map[string]*Stats, len(r.counts))
	for label, c := range r.counts {
		s := &Stats{
			Capability: label, Sent: c.sent, Resent: c.resent, Acknowledged: c.acknowledged, Unanswered: c.unanswered,
			Delivered: c.delivered, Refused: maps.Clone(c.refused), Dropped: make(map[string]uint64, len(c.dropped)),
		}
		for reason, n := range c.dropped {
			s.Dropped[string(reason)] = n
		}
		sums[label] = s
	}
	for _, q := range r.queues {
		s := sums[r.labelLocked(q.capability)]
		s.QueueSize += q.items.len()
		s.QueueBytes += q.bytes
	}
	all := make([]Stats, 0, len(sums))
	for _, s := range sums {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Stats) int { return strings.Compare(a.Capability, b.Capability) })
	return all
}
