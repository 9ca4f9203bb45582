// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
)

// heldShare is the part of a queue that fills while what was kept is read.
const heldShare = 10

// queue is what waits to be sent for one capability, and who takes what comes for it.
// All of it is guarded by the registry's lock.
type queue struct {
	capability string
	counts     *counts
	handlers   []*handler

	items fifo[*item] // what is given out is at the front
	out   int         // how many are
	bytes int
	room  chan struct{} // nil unless somebody waits for it

	strikes int           // connections in a row that ended when the front was written
	until   time.Time     // nothing is given out before
	penance time.Duration // how long it last had to wait
}

// item is one message to the server.
type item struct {
	msg     *protobufs.CustomMessage
	number  uint64        // grows from one message to the next
	settled chan struct{} // closed when the server has it, or when nobody may wait any more
	closed  bool
	again   bool     // it was given out before
	tick    uint64   // of the keeper, when it came
	kept    *segment // where it is kept, nil if it is not
	over    bool     // it has left the queue

	unmissed bool // whoever sent it has withdrawn
}

func (i *item) size() int { return sizeOf(len(i.msg.GetType()), len(i.msg.GetData())) }

// sizeOf is what a message counts for.
func sizeOf(messageType, data int) int { return messageType + data }

// settle lets go who waits for the item.
func (i *item) settle() {
	if !i.closed {
		i.closed = true
		close(i.settled)
	}
}

// giveRoom lets go who waits for room.
func (q *queue) giveRoom() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// send queues a message of h.
func (r *Registry) send(h *handler, messageType string, data []byte) (chan struct{}, error) {
	size := sizeOf(len(messageType), len(data))
	err := checkName("type", messageType)
	if err == nil && size > r.set.MaxMessageSize {
		err = fmt.Errorf("%w: %d bytes, the limit is %d bytes (%s)", ErrTooLarge, size, r.set.MaxMessageSize, r.set.MaxMessageKey)
	}
	var msg *protobufs.CustomMessage
	if err == nil { // the copy is made outside of the lock
		msg = &protobufs.CustomMessage{Capability: h.capability, Type: strings.Clone(messageType), Data: slices.Clone(data)}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[h.capability]
	switch {
	case h.gone:
		r.countsLocked(h.capability).refused[refusedUnregistered]++
		return nil, ErrUnregistered
	case err != nil:
		q.counts.refused[reasonOf(err)]++
		r.sayLocked("Refused a custom message of a component", q.capability, zap.Error(err))
		return nil, err
	case r.phase == stopped:
		q.counts.refused[refusedStopped]++
		return nil, ErrStopped
	case !r.roomLocked(q, size):
		return r.refuseLocked(q, refusedFull)
	case !r.totalRoomLocked(q, size):
		r.cramped = true
		r.sayLocked("Custom messages wait for the server in many queues: a component has to wait for room in all of them together",
			q.capability, zap.Int("total_bytes", r.set.TotalBytes))
		return r.refuseLocked(q, refusedTotal)
	}
	r.number++
	i := &item{msg: msg, number: r.number, settled: make(chan struct{})}
	r.pushLocked(q, i)
	if r.phase == stopping {
		i.settle()
	}
	r.link.Nudge()
	return i.settled, nil
}

// refuseLocked tells a component to wait for room, or that there will be none.
func (r *Registry) refuseLocked(q *queue, reason string) (chan struct{}, error) {
	q.counts.refused[reason]++
	if r.phase == stopping {
		return nil, ErrStopping
	}
	if q.room == nil {
		q.room = make(chan struct{})
	}
	return q.room, types.ErrCustomMessagePending
}

// totalRoomLocked reports whether all queues together leave room for size more bytes in q.
func (r *Registry) totalRoomLocked(q *queue, size int) bool {
	return r.bytes+size <= r.set.TotalBytes || (size <= spared && q.items.len() == 0)
}

// roomLocked reports whether q has room for size more bytes. While what was kept is not
// there yet there is little, for that has to fit as well.
func (r *Registry) roomLocked(q *queue, size int) bool {
	if r.held && q.items.len() > 0 {
		return q.items.len() < r.set.QueueSize/heldShare && q.bytes+size <= r.set.QueueBytes/heldShare
	}
	return q.items.len() < r.set.QueueSize && q.bytes+size <= r.set.QueueBytes
}

func (r *Registry) pushLocked(q *queue, i *item) {
	q.items.push(i)
	r.chargeLocked(q, i.size())
	if r.keeper != nil {
		r.keeper.addedLocked(i)
	}
}

var _ opampclient.CustomMessages = (*Registry)(nil)

// Next implements opampclient.CustomMessages: capabilities take turns, each in order.
func (r *Registry) Next(now time.Time) (msg *protobufs.CustomMessage, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || r.carefulLocked() {
		return nil, 0
	}
	for range r.rotation {
		if r.turn >= len(r.rotation) {
			r.turn = 0
		}
		q := r.rotation[r.turn]
		r.turn++
		if q.out == q.items.len() {
			continue
		}
		if d := q.until.Sub(now); d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		return r.giveOutLocked(q), 0
	}
	return nil, wait
}

func (r *Registry) giveOutLocked(q *queue) *protobufs.CustomMessage {
	i := q.items.at(q.out)
	q.out++
	q.counts.sent++
	if i.again {
		q.counts.resent++
	}
	i.again = true
	r.flight.push(q)
	return i.msg
}

// Answered implements opampclient.CustomMessages.
func (r *Registry) Answered() { r.over(func(c *counts) { c.acknowledged++ }) }

// Unanswered implements opampclient.CustomMessages.
func (r *Registry) Unanswered() { r.over(func(c *counts) { c.unanswered++ }) }

// Rejected implements opampclient.CustomMessages.
func (r *Registry) Rejected(reason opampclient.Reason) {
	r.over(func(c *counts) { c.dropped[dropReason(reason)]++ })
}

// over lets the oldest message that was given out leave its queue.
func (r *Registry) over(count func(*counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.overLocked(count)
}

func (r *Registry) overLocked(count func(*counts)) {
	if r.flight.len() == 0 {
		return
	}
	q := r.flight.pop()
	count(q.counts)
	r.clearLocked()
	q.strikes, q.until, q.penance = 0, time.Time{}, 0
	q.out--
	i := q.items.pop()
	r.chargeLocked(q, -i.size())
	r.leftLocked(i)
	q.giveRoom()
	if r.cramped { // it may have been anybody's bytes
		r.cramped = false
		for _, other := range r.queues {
			other.giveRoom()
		}
	}
	r.tidyLocked(q)
}

// chargeLocked notes that so many bytes more wait in q.
func (r *Registry) chargeLocked(q *queue, bytes int) {
	q.bytes += bytes
	r.bytes += bytes
}

// leftLocked notes that an item has left its queue.
func (r *Registry) leftLocked(i *item) {
	i.over = true
	i.settle()
	if r.keeper != nil {
		r.keeper.leftLocked(i)
	}
}
