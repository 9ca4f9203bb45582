// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	// batchEvery is how often a stream tells at most. What changes after a quiet time leaves at once; what comes after
	// that waits for a moment that all streams have in common, so that all who watch ask for the same at the same time.
	batchEvery = time.Second
	// keepAliveEvery is how often a stream with nothing to tell says so, so that nobody on the way thinks it dead.
	keepAliveEvery = 15 * time.Second
	// writeTimeout is how long a client may take to read what it is sent.
	writeTimeout = 10 * time.Second
	// comeBack is after which time a client comes again when its stream broke, and comeAgain when it has lasted as long
	// as it may. A page says that it is not live after one and a half seconds.
	comeBack  = 2 * time.Second
	comeAgain = time.Second
	// agentsPerEvent bounds the size of one event.
	agentsPerEvent = 250
)

// changed is the data of the event "agents".
type changed struct {
	Agents  []summary `json:"agents"`
	Removed []string  `json:"removed"`
}

// moved is the data of the event "changed".
type moved struct {
	Version uint64 `json:"version"`
}

// wanted is what a client asked of its stream.
type wanted struct {
	from    fleet.Position        // the last that it knows; zero is nothing
	uid     opampwire.InstanceUID // zero is everybody
	version bool                  // only that something changed, not what
	unread  bool                  // it was told of configs that are not read yet
}

func (a *API) streamEvents(w http.ResponseWriter, r *http.Request) {
	want, err := parseWanted(r)
	if err != nil {
		badRequest(w, err)
		return
	}
	peer := peerOf(r.RemoteAddr)
	if !a.streams.enter(peer) {
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "too_many_streams", "too many event streams are open; try again later")
		return
	}
	defer a.streams.leave(peer)
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	watcher := a.fleet.Watch()
	defer watcher.Close()
	s := &stream{
		fleet: a.fleet, index: a.index, began: a.began, want: want, w: w, out: http.NewResponseController(w), life: a.streamLife(),
		rounds: a.index.Rounds(),
	}
	_ = s.run(r.Context(), watcher.C, a.closed) // an error is a client that left: there is nobody to tell
}

// streamLife is how long the next stream lasts.
func (a *API) streamLife() time.Duration {
	life := a.settings.MaxStreamLife
	return life - rand.N(life/5+1) //nolint:gosec // jitter, no secret
}

func parseWanted(r *http.Request) (want wanted, err error) {
	all, err := parameters(r)
	if err != nil {
		return wanted{}, err
	}
	for name, values := range all {
		value, err := only(values)
		if err == nil {
			err = want.set(name, value)
		}
		if err != nil {
			return wanted{}, fmt.Errorf("%.64s: %w", name, err)
		}
	}
	// A browser that reconnects sends this by itself. It is newer than the URL. One that makes no sense is none.
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if p, err := fleet.ParsePosition(id); err == nil {
			want.from = p
		}
	}
	return want, nil
}

func (want *wanted) set(name, value string) (err error) {
	switch name {
	case "since":
		want.from, err = fleet.ParsePosition(value)
	case "instance_uid":
		want.uid, err = opampwire.ParseInstanceUID(value)
	case "unread":
		want.unread = value == "true"
		if !want.unread && value != "false" {
			return fmt.Errorf("%.64q is neither true nor false", value)
		}
	case "view":
		if value != "version" && value != "summary" {
			return fmt.Errorf("%.64q is neither summary nor version", value)
		}
		want.version = value == "version"
	default:
		err = errUnknownParameter
	}
	return err
}

// stream is one client's. It is owned by its handler.
type stream struct {
	fleet  *fleet.Fleet
	index  *fleetsearch.Index
	began  time.Time // when all moments at which streams tell are counted from
	want   wanted
	w      http.ResponseWriter
	out    *http.ResponseController
	life   time.Duration
	rounds uint64 // of the index, that the client knows of
}

// run tells until the client leaves, closed is, or the stream has lasted as long as it may.
func (s *stream) run(ctx context.Context, wake <-chan struct{}, closed <-chan struct{}) error {
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no") // proxies that buffer would hold events back
	if err := s.write(retryIn(comeBack)); err != nil {
		return err
	}
	end := time.NewTimer(s.life)
	defer end.Stop()
	keepAlive := time.NewTicker(keepAliveEvery)
	defer keepAlive.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	ready := pause.C // nil while the last batch is old enough and nothing is new
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-closed:
			return nil
		case <-end.C:
			return s.write(s.farewell())
		case <-keepAlive.C:
			if err := s.write([]byte(": still here\n\n")); err != nil {
				return err
			}
		case <-ready:
			told, err := s.tell()
			if err != nil {
				return err
			}
			ready = nil
			if told {
				pause.Reset(s.untilNext())
				ready = pause.C
			}
		case <-wakeUnless(ready != nil, wake):
			pause.Reset(0)
			ready = pause.C
		}
	}
}

// farewell sends a client away that is to come again at once, and tells it from where to go on.
func (s *stream) farewell() []byte {
	out := append(retryIn(comeAgain), ": come again, so that it is looked at who asks\n"...)
	if s.want.from.Epoch != "" {
		out = fmt.Appendf(out, "id: %s\n", s.want.from)
	}
	return append(out, '\n')
}

// retryIn tells a client after which time to come again when the stream has ended.
func retryIn(d time.Duration) []byte { return fmt.Appendf(nil, "retry: %d\n\n", d.Milliseconds()) }

// untilNext is how long it is until the next moment at which streams tell.
func (s *stream) untilNext() time.Duration { return batchEvery - time.Since(s.began)%batchEvery }

// wakeUnless leaves a wake where it is while a batch is due anyway.
func wakeUnless(due bool, wake <-chan struct{}) <-chan struct{} {
	if due {
		return nil
	}
	return wake
}

// tell writes what changed since it told last, and reports whether there was something.
func (s *stream) tell() (bool, error) {
	now := s.fleet.Position()
	if s.want.version && s.readMeanwhile() {
		s.want.from = now
		return true, s.tellVersion(now)
	}
	if !s.isNews(now) {
		s.want.from = now
		return false, nil
	}
	if s.want.version && s.want.uid.IsZero() { // whoever it was
		s.want.from = now
		return true, s.tellVersion(now)
	}
	d := s.fleet.Since(s.want.from)
	s.want.from = d.Position
	s.want.only(&d)
	if d.Empty() {
		return false, nil
	}
	if s.want.version {
		return true, s.tellVersion(d.Position)
	}
	return true, s.tellAgents(d)
}

// isNews spares a look at all that changed where nothing did, or nothing of the one agent that the client asked for.
func (s *stream) isNews(now fleet.Position) bool {
	if now == s.want.from {
		return false
	}
	if s.want.uid.IsZero() || now.Epoch != s.want.from.Epoch || now.Version < s.want.from.Version {
		return true
	}
	a, ok := s.fleet.Agent(s.want.uid)
	return !ok || a.Version > s.want.from.Version
}

func (s *stream) tellVersion(p fleet.Position) error {
	return s.write(event("changed", p.String(), moved{Version: p.Version}))
}

// readMeanwhile reports whether all configs were read since it was asked last, after the client or somebody else was told
// of some that were not.
func (s *stream) readMeanwhile() bool {
	rounds := s.index.Rounds()
	late := s.want.unread && s.index.Unread() == 0 // before the stream began
	s.want.unread = false
	if rounds == s.rounds && !late {
		return false
	}
	s.rounds = rounds
	return true
}

// only narrows d to the agent that the client asked for.
func (want *wanted) only(d *fleet.Delta) {
	if want.uid.IsZero() {
		return
	}
	d.Agents = slices.DeleteFunc(d.Agents, func(a *fleet.Agent) bool { return a.UID != want.uid })
	d.Removed = slices.DeleteFunc(d.Removed, func(uid opampwire.InstanceUID) bool { return uid != want.uid })
}

// tellAgents writes d in events of bounded size. Only the last carries the position: a client that loses the
// connection before it starts again from where it was.
func (s *stream) tellAgents(d fleet.Delta) error {
	if d.Reset {
		if err := s.write(event("reset", "", struct{}{})); err != nil {
			return err
		}
	}
	now := time.Now()
	removed := make([]string, 0, len(d.Removed))
	for _, uid := range d.Removed {
		removed = append(removed, uid.String())
	}
	for len(d.Agents) > agentsPerEvent {
		batch := changed{Agents: summaries(d.Agents[:agentsPerEvent], now), Removed: removed}
		if err := s.write(event("agents", "", batch)); err != nil {
			return err
		}
		d.Agents, removed = d.Agents[agentsPerEvent:], removed[:0]
	}
	return s.write(event("agents", d.Position.String(), changed{Agents: summaries(d.Agents, now), Removed: removed}))
}

// event is one event in the format of the HTML standard. JSON has no raw newline, so one line of data does.
func event(name, id string, data any) []byte {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Appendf(nil, ": %s could not be written\n\n", name) // our own types always can
	}
	out := fmt.Appendf(nil, "event: %s\n", name)
	if id != "" {
		out = fmt.Appendf(out, "id: %s\n", id)
	}
	return fmt.Appendf(out, "data: %s\n\n", raw)
}

// write sends b now, or fails within writeTimeout.
func (s *stream) write(b []byte) error {
	// Where deadlines are not supported, the connection's own rules hold.
	_ = s.out.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	// Between events there is no deadline: HTTP/2 resets a stream whose deadline passes, even if nobody writes.
	_ = s.out.SetWriteDeadline(time.Time{})
	return nil
}
