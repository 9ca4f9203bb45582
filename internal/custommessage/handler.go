// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
)

// maxInbound bounds what a component may ask for as its queue, in messages.
const maxInbound = 10_000

// handler is a component's end of a capability.
type handler struct {
	// Fixed at construction.
	registry   *Registry
	capability string
	in         chan *protobufs.CustomMessage // never closed: components read it without looking

	// Guarded by the registry's lock.
	gone  bool
	sizes fifo[int] // of the messages that are in the channel, and maybe of older ones
	bytes int       // their sum
}

var _ opampcustommessages.CustomCapabilityHandler = (*handler)(nil)

// newHandler makes a handler with a queue of n messages, one at least.
func newHandler(r *Registry, capability string, n int) *handler {
	n = min(max(n, 1), maxInbound)
	return &handler{registry: r, capability: capability, in: make(chan *protobufs.CustomMessage, n)}
}

// Message implements opampcustommessages.CustomCapabilityHandler. Each message is the
// caller's own.
func (h *handler) Message() <-chan *protobufs.CustomMessage { return h.in }

// SendMessage implements opampcustommessages.CustomCapabilityHandler. It never blocks and
// keeps nothing of message. Without an error the channel closes when the server has the
// message; with types.ErrCustomMessagePending, when there is room in the capability's
// queue. Both close when the pipelines are about to stop. No other error goes away by
// trying again.
func (h *handler) SendMessage(messageType string, message []byte) (chan struct{}, error) {
	return h.registry.send(h, messageType, message)
}

// Unregister implements opampcustommessages.CustomCapabilityHandler. What is queued is
// still sent. A second time it does nothing.
func (h *handler) Unregister() { h.registry.unregister(h) }

// Withdraw is Unregister for who has told nothing but a state that will not be so any more: what is
// queued and was not written yet is taken back, and nobody misses it. Where the capability has other
// handlers it is sent, for it may be theirs.
func (h *handler) Withdraw() { h.registry.withdraw(h) }

// full reports whether there is no room for size more bytes. An empty queue takes
// whatever there is.
func (h *handler) full(size, maxBytes int) bool {
	h.settle()
	return len(h.in) == cap(h.in) || (h.sizes.len() > 0 && h.bytes+size > maxBytes)
}

// settle leaves out of count what was read meanwhile.
func (h *handler) settle() {
	for h.sizes.len() > len(h.in) {
		n := h.sizes.pop()
		h.bytes -= n
		h.registry.inBytes -= n
	}
}

// take puts msg into the queue, which is not full.
func (h *handler) take(msg *protobufs.CustomMessage, size int) {
	h.sizes.push(size)
	h.bytes += size
	h.registry.inBytes += size
	h.in <- msg // there is room: nobody but the registry, under its lock, fills it
}
