// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// longestHold is how long SQS keeps a message from others at most, counted from when it was given
// out, less a moment for the clocks (Amazon SQS API Reference, ChangeMessageVisibility: 12 hours).
const longestHold = 12*time.Hour - time.Minute

// held is a message that the queue has given out to us and keeps from others.
type held struct {
	// Fixed at construction.
	id       string
	body     string
	sent     time.Time // zero if it is not told
	receives int       // how often it was given out, this time included

	// Guarded by the mu of hands.
	receipt string    // of the newest receive
	since   time.Time // of the newest receive
	left    bool      // it is not to be kept from others any longer, or it cannot be
}

// hold reads what the queue says of a message.
func hold(m *types.Message) *held {
	h := &held{
		// Without a name of its own a message is known by its receipt, lest all such be taken for one.
		id:      cmp.Or(aws.ToString(m.MessageId), aws.ToString(m.ReceiptHandle)),
		body:    aws.ToString(m.Body),
		receipt: aws.ToString(m.ReceiptHandle),
		since:   time.Now(),
	}
	h.receives, _ = strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if ms, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		h.sent = time.UnixMilli(ms)
	}
	return h
}

// age is how long ago the message was sent, 0 if nobody knows.
func (h *held) age() time.Duration {
	if h.sent.IsZero() {
		return 0
	}
	return max(time.Since(h.sent), 0)
}

// hands are all messages that are held. They are few: what is worked on and what waits for a worker.
type hands struct {
	mu   sync.Mutex
	byID map[string]*held // guarded by mu
}

// take adds a message. It returns false for one that is held already, which the queue has given out
// again because it took us too long: the newer receipt counts then.
func (h *hands) take(m *held) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known, ok := h.byID[m.id]; ok {
		known.receipt, known.since = m.receipt, m.since
		return false
	}
	h.byID[m.id] = m
	return true
}

// drop forgets a message that is settled.
func (h *hands) drop(m *held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.byID, m.id)
}

func (h *hands) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.byID)
}

// leave ends that a message is kept from others. It returns false if that was so already.
func (h *hands) leave(messages ...*held) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := false
	for _, m := range messages {
		before = before || m.left
		m.left = true
	}
	return !before
}

// receipt is a message as a call names it, and for how long it shall be kept from others.
type receipt struct {
	*held
	handle string
	rest   time.Duration
}

// kept are the messages that are to be kept from others, for d from now on or as long as SQS allows.
func (h *hands) kept(d time.Duration) []receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make([]receipt, 0, len(h.byID))
	for _, m := range h.byID {
		rest := min(d, longestHold-time.Since(m.since))
		if !m.left && rest >= 0 {
			kept = append(kept, receipt{held: m, handle: m.receipt, rest: rest})
		}
	}
	return kept
}

// named are some messages, to be kept from others for d from now on.
func (h *hands) named(messages []*held, d time.Duration) []receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	named := make([]receipt, len(messages))
	for i, m := range messages {
		named[i] = receipt{held: m, handle: m.receipt, rest: d}
	}
	return named
}

// batches cuts what is named into what one call may hold.
func batches(named []receipt) [][]receipt { return slices.Collect(slices.Chunk(named, maxBatch)) }
