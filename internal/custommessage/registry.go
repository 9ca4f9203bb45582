// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package custommessage

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"go.uber.org/zap"
)

const (
	// maxCapabilities bounds how many capabilities there are at a time. Their names come
	// from the components of a configuration.
	maxCapabilities = 256
	// maxName bounds the name of a capability and the type of a message, in bytes.
	maxName = 1 << 10
	// maxHandlers bounds how many handlers a capability has at a time.
	maxHandlers = 256
	// totalShare is how many full queues all of them together may be, unless it is said.
	totalShare = 4
	// spared is a message that is taken whatever all queues together have, in bytes, if its own has nothing.
	spared = 4 << 10
)

// Errors that a component may get. None of them goes away by waiting.
var (
	// ErrUnregistered follows Unregister. Its text is the one that components know.
	ErrUnregistered = errors.New("capability has already been unregistered")
	// ErrTooLarge is a message past the limit.
	ErrTooLarge = errors.New("custom message is too large")
	// ErrStopping is a full queue of a Collector that stops: there will be no room.
	ErrStopping = errors.New("the queue of custom messages is full and the collector is stopping")
	// ErrStopped follows the end of the extension.
	ErrStopped = errors.New("the opamp extension has stopped")
	// ErrMalformed is a name or a type that the protocol cannot carry.
	ErrMalformed = errors.New("malformed custom message")
	// ErrTooMany is a capability or a handler past the bound.
	ErrTooMany = errors.New("too many custom capabilities")
)

// Settings are the bounds of a Registry. They are fixed for its life.
type Settings struct {
	// QueueSize and QueueBytes bound what waits for the server, of each capability, in
	// messages and in bytes. What is written and unanswered still waits.
	QueueSize  int
	QueueBytes int
	// TotalBytes bounds what waits for the server of all capabilities together, and as much what waits for components.
	// 0 is four times QueueBytes, so that it is noticed where there are many. A message of up to 4 KiB that finds its
	// queue empty is taken in any case: who needs little does not wait for who needs much.
	TotalBytes int
	// MaxMessageSize bounds one message to the server, in bytes. It is not above
	// QueueBytes, and its user's key is named where it is passed.
	MaxMessageSize int
	MaxMessageKey  string
	// Logger gets a line a minute for each thing that goes on.
	Logger *zap.Logger
	// Store keeps unsent messages over restarts. Nil keeps none.
	Store Store
}

// Registry is where components register custom capabilities, and what waits to be sent
// for them. Its methods are safe for concurrent use and, Open and Close aside, none
// waits.
type Registry struct {
	// Fixed at construction.
	set    Settings
	keeper *keeper // nil without a store

	mu sync.Mutex
	// Guarded by mu.
	queues   map[string]*queue  // by capability: those that have a handler, or something to send
	rotation []*queue           // the same, in the order in which they take turns
	turn     int                // who is next
	flight   fifo[*queue]       // whose messages were given out, oldest first
	counts   map[string]*counts // by label
	link     Link               // nobody before Attach
	held     bool               // nothing is given out: what was kept is not there yet
	number   uint64             // of the last message to the server
	bytes    int                // of what waits for the server
	inBytes  int                // of what waits for components, and of some that they have read meanwhile
	cramped  bool               // somebody waits for room in all queues together
	suspects suspects
	phase    phase
	said     map[string]time.Time
}

// phase is how far the end has come.
type phase int

const (
	running  phase = iota
	stopping       // the pipelines stop: nobody may wait any more
	stopped        // nothing is taken any more
)

var _ opampcustommessages.CustomCapabilityRegistry = (*Registry)(nil)

// Link is the way to the server.
type Link struct {
	// Nudge says that there is something to send. It must not block.
	Nudge func()
	// Announce says which capabilities there are, sorted. It must neither block nor call
	// the registry.
	Announce func(capabilities []string)
}

// New makes a registry. It works at once; what is sent waits for [Registry.Attach].
func New(set Settings) *Registry {
	if set.Logger == nil {
		set.Logger = zap.NewNop()
	}
	if set.TotalBytes <= 0 {
		set.TotalBytes = totalShare * min(set.QueueBytes, math.MaxInt/totalShare)
	}
	r := &Registry{
		set:    set,
		queues: make(map[string]*queue),
		counts: make(map[string]*counts),
		link:   Link{Nudge: func() {}, Announce: func([]string) {}},
		said:   make(map[string]time.Time),
	}
	if set.Store != nil {
		r.keeper = newKeeper(r, set.Store, set.Logger)
		r.held = true
	}
	return r
}

// Attach gives the registry its way to the server, and announces what is registered.
func (r *Registry) Attach(link Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link = link
	if len(r.queues) > 0 {
		r.announceLocked()
	}
	r.link.Nudge()
}

// Register implements opampcustommessages.CustomCapabilityRegistry. It may be called at
// any time; after the end of the extension the handler works and brings nothing.
func (r *Registry) Register(capability string, opts ...opampcustommessages.CustomCapabilityRegisterOption,
) (opampcustommessages.CustomCapabilityHandler, error) {
	if err := checkName("capability", capability); err != nil {
		return nil, err
	}
	if capability == "" {
		return nil, fmt.Errorf("%w: the capability has no name", ErrMalformed)
	}
	options := opampcustommessages.DefaultCustomCapabilityRegisterOptions()
	for _, o := range opts {
		if o != nil {
			o(options)
		}
	}
	h := newHandler(r, capability, options.MaxQueuedMessages)
	r.mu.Lock()
	defer r.mu.Unlock()
	q, err := r.queueLocked(capability)
	if err != nil {
		return nil, err
	}
	if len(q.handlers) >= maxHandlers {
		return nil, fmt.Errorf("%w: %q has %d handlers already", ErrTooMany, capability, maxHandlers)
	}
	q.handlers = append(q.handlers, h)
	return h, nil
}

// checkName refuses what could not be put into a message, or into a log line.
func checkName(what, name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("%w: the %s is longer than %d bytes", ErrMalformed, what, maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the %s is not valid UTF-8", ErrMalformed, what)
	}
	return nil
}

// queueLocked is the queue of a capability, which is announced if it is new.
func (r *Registry) queueLocked(capability string) (*queue, error) {
	if q := r.queues[capability]; q != nil {
		return q, nil
	}
	if len(r.queues) >= maxCapabilities {
		return nil, fmt.Errorf("%w: there are %d already", ErrTooMany, maxCapabilities)
	}
	q := &queue{capability: strings.Clone(capability), counts: r.countsLocked(capability)}
	r.queues[q.capability] = q
	r.rotation = append(r.rotation, q)
	r.announceLocked()
	return q, nil
}

// tidyLocked forgets a queue that nobody needs. Until then its capability is announced:
// a server may leave messages of one that is not.
func (r *Registry) tidyLocked(q *queue) {
	if len(q.handlers) > 0 || q.items.len() > 0 || r.queues[q.capability] != q {
		return
	}
	delete(r.queues, q.capability)
	at := slices.Index(r.rotation, q)
	r.rotation = slices.Delete(r.rotation, at, at+1)
	if r.turn > at {
		r.turn--
	}
	r.announceLocked()
}

func (r *Registry) announceLocked() {
	names := make([]string, 0, len(r.queues))
	for name := range r.queues {
		names = append(names, name)
	}
	slices.Sort(names)
	r.link.Announce(names)
}

// unregister takes h away, once.
func (r *Registry) unregister(h *handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.gone {
		return
	}
	h.gone = true
	r.inBytes -= h.bytes // what is in it is the component's
	h.bytes, h.sizes = 0, fifo[int]{}
	q := r.queues[h.capability]
	if at := slices.Index(q.handlers, h); at >= 0 {
		q.handlers = slices.Delete(q.handlers, at, at+1)
	}
	r.tidyLocked(q)
}

// withdraw takes h away, and what it has queued.
func (r *Registry) withdraw(h *handler) {
	r.mu.Lock()
	if q := r.queues[h.capability]; !h.gone && len(q.handlers) == 1 {
		r.takeBackLocked(q)
	}
	r.mu.Unlock()
	r.unregister(h)
}

// takeBackLocked takes what is queued out of q. What was given out stays until it is answered, or until
// the connection or the Collector ends.
func (r *Registry) takeBackLocked(q *queue) {
	for i := range q.out {
		q.items.at(i).unmissed = true
	}
	for q.items.len() > q.out {
		i := q.items.popBack()
		r.chargeLocked(q, -i.size())
		r.leftLocked(i)
	}
	q.giveRoom()
}

// Dispatch hands msg to each handler of its capability, and reports whether there is
// one. It never waits: where a handler's queue is full its message is dropped.
func (r *Registry) Dispatch(msg *protobufs.CustomMessage) (known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[msg.GetCapability()]
	if q == nil || len(q.handlers) == 0 {
		return false
	}
	size := sizeOf(len(msg.GetType()), len(msg.GetData()))
	given := false
	for _, h := range q.handlers {
		if h.full(size, r.set.QueueBytes) {
			q.counts.dropped[droppedFull]++
			r.sayLocked("A component does not read the server's custom messages as fast as they come, some were dropped",
				q.capability, zap.String("reason", string(droppedFull)), zap.Int("queue_size", cap(h.in)))
			continue
		}
		if !r.inRoomLocked(h, size) {
			q.counts.dropped[droppedTotal]++
			r.sayLocked("Components do not read the server's custom messages as fast as they come, some were dropped",
				q.capability, zap.String("reason", string(droppedTotal)), zap.Int("total_bytes", r.set.TotalBytes))
			continue
		}
		own := msg
		if given { // each may do with it as it likes
			own = cloned(msg)
		}
		given = true
		h.take(own, size)
		q.counts.delivered++
	}
	return true
}

// inRoomLocked reports whether all components together leave room for size more bytes to h.
func (r *Registry) inRoomLocked(h *handler, size int) bool {
	if r.inBytes+size <= r.set.TotalBytes || (size <= spared && h.sizes.len() == 0) {
		return true
	}
	for _, q := range r.queues { // what was read meanwhile is not counted until somebody looks
		for _, other := range q.handlers {
			other.settle()
		}
	}
	return r.inBytes+size <= r.set.TotalBytes
}

func cloned(msg *protobufs.CustomMessage) *protobufs.CustomMessage {
	return &protobufs.CustomMessage{
		Capability: msg.GetCapability(), Type: msg.GetType(), Data: slices.Clone(msg.GetData()),
	}
}

// quiet is the least time between two log lines that say the same of one capability.
const quiet = time.Minute

// sayLocked logs a line that may recur. The texts are a closed set, capabilities are
// bounded by their labels.
func (r *Registry) sayLocked(text, capability string, fields ...zap.Field) {
	now := time.Now()
	key := text + "\x00" + r.labelLocked(capability)
	if last, ok := r.said[key]; ok && now.Sub(last) < quiet {
		return
	}
	r.said[key] = now
	r.set.Logger.Warn(text, append(fields, zap.String("capability", capability))...)
}

// Stopping says that the pipelines are about to stop: whoever waits for room is let go,
// because a component that waits would keep the Collector from stopping.
func (r *Registry) Stopping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == running {
		r.phase = stopping
	}
	r.releaseLocked()
}

// Running takes Stopping back.
func (r *Registry) Running() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == stopping {
		r.phase = running
	}
}

// releaseLocked lets go everybody who waits, for room or for delivery.
func (r *Registry) releaseLocked() {
	for _, q := range r.queues {
		q.giveRoom()
		for i := range q.items.len() {
			q.items.at(i).settle()
		}
	}
}
