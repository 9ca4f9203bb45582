// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/tally"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// gatewaysHeader is how gateways know each other, for no other reason than to find out that one leads back to itself.
// A gateway's request names that gateway, and those over which came what it is made for; the answer names the one that
// answers and those that it reaches its server over. A name is made up anew with each process.
const gatewaysHeader = "Fleetview-Gateways"

// bondHeader is how the gateway above knows connections of one gateway, among which an agent may move. Nobody else gets
// to see what it holds, and it is made up anew with each process.
const bondHeader = "Fleetview-Gateway-Bond"

// Bounds on what is read of the headers.
const (
	maxAbove    = 16 // gateways in a row
	maxNameSize = 64 // bytes
)

// longestWait bounds how long a gateway waits for this one's connection to the server: two that connect to each other at
// the same time would wait for each other. What both are answered then tells them.
const longestWait = 3 * time.Second

// lineageKept is how long what is known of the gateways above counts after the connection that told it has ended, or was
// refused: longer than the pause between two attempts, which tell it again.
const lineageKept = time.Minute

var (
	errLoop = errors.New("upstream.endpoint leads back to this gateway, by itself or over other gateways, " +
		"so that nothing reaches an OpAMP server: set it to the server's address")
	errLooped = errors.New("this gateway's upstream.endpoint leads back to it, so it has no OpAMP server: " +
		"its operator has to mend that")
	errLoopBelow = errors.New("this gateway reaches its server over the one that connects here, " +
		"so upstream.endpoint of one of them has to be another")
)

// kinship is what a gateway knows of the gateways above it and below. Safe for concurrent use.
type kinship struct {
	// Fixed at construction.
	name   string
	bond   string // of all connections that agents are shared out among
	denied *tally.Tally[string]

	mu    sync.Mutex
	above map[*slot]lineage // guarded by mu: as each connection's last answer had it
	alone lineage           // guarded by mu: the same, of the last connection that belongs to one agent
	// aloneOf has the connections that belong to one agent each; nil: there was none. Guarded by mu.
	aloneOf *pool
	told    uint64                 // guarded by mu: grows with each gateway that comes to above
	below   map[*session]struct{}  // guarded by mu: gateways that are connected
	come    map[*arriving]struct{} // guarded by mu: gateways that wait for a connection to the server
}

// lineage is over which gateways a connection goes. What it was of one that is not there any more must not keep anybody
// away for ever: a gateway that refuses all who come has no reason to connect, and would not learn that it is otherwise.
type lineage struct {
	names   []string
	checked time.Time // when that was so last, if the connection has ended; zero: long ago
}

func (l lineage) fresh() bool { return time.Since(l.checked) < lineageKept }

// arriving is a gateway that wants to connect, and waits for this one's own connection. For that connection is made for
// its sake it is named there, like one whose message is passed on.
type arriving struct {
	names  []string           // as its request has them
	giveUp context.CancelFunc // ends its wait
}

// loopDenied is the one thing that is counted here.
const loopDenied = "loop"

func newKinship() *kinship {
	return &kinship{
		name: uuid.NewString(), bond: rand.Text(), denied: tally.New([]string{loopDenied}),
		above: make(map[*slot]lineage), below: make(map[*session]struct{}),
		come: make(map[*arriving]struct{}),
	}
}

// gatewaysIn are the gateways that a message of HTTP names.
func gatewaysIn(h http.Header) (names []string) {
	for _, line := range h.Values(gatewaysHeader) {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "" || len(name) > maxNameSize {
				continue
			}
			if names = append(names, name); len(names) == maxAbove {
				return names
			}
		}
	}
	return names
}

// bondIn is what the connections of the gateway have in common that sends a request; empty if it is none.
func bondIn(h http.Header) string {
	if bond := h.Get(bondHeader); len(bond) <= maxNameSize {
		return bond
	}
	return ""
}

// sign makes a request a gateway's, for the sake of others.
func (k *kinship) sign(h http.Header, others ...string) {
	over := append(gatewaysIn(h), others...)
	h.Set(gatewaysHeader, strings.Join(append(over[:min(len(over), maxAbove-1)], k.name), ", "))
}

// arrive notes that a request of a gateway waits, if it is one's. It returns what it waits with.
func (k *kinship) arrive(r *http.Request) (ctx context.Context, left func()) {
	ctx = r.Context()
	names := gatewaysIn(r.Header)
	if len(names) == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	a := &arriving{names: names, giveUp: cancel}
	k.mu.Lock()
	k.come[a] = struct{}{}
	k.mu.Unlock()
	return ctx, func() {
		cancel()
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.come, a)
	}
}

// waiting are the names of those who wait.
func (k *kinship) waiting() (names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for a := range k.come {
		if names = append(names, a.names...); len(names) >= maxAbove {
			break
		}
	}
	return names
}

// overLocked are the gateways over which this one reaches its server, or did when it had a connection.
func (k *kinship) overLocked() []string {
	over := slices.Clone(k.alone.names)
	for _, l := range k.above {
		over = append(over, l.names...)
	}
	return unique(over)
}

// surelyLocked are those of them over which it does.
func (k *kinship) surelyLocked() (over []string) {
	if k.alone.fresh() || k.aloneOf != nil && k.aloneOf.connected.Load() > 0 {
		over = slices.Clone(k.alone.names)
	}
	for s, l := range k.above {
		if l.fresh() || s.current.Load() != nil {
			over = append(over, l.names...)
		}
	}
	return unique(over)
}

func unique(over []string) []string {
	slices.Sort(over)
	over = slices.Compact(over)
	return over[:min(len(over), maxAbove-1)]
}

func (k *kinship) over() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.overLocked()
}

// tellingKey is under which a gateway's request has the value of told that its answer is of.
type tellingKey struct{}

// meet tells a gateway that connects which ones it would go over. It refuses the request of one that would go over
// itself, and returns nil then. What that is may change while the request waits: meet it before, and again after.
func (g *Gateway) meet(w http.ResponseWriter, r *http.Request) *http.Request {
	if len(r.Header.Values(gatewaysHeader)) == 0 {
		return r
	}
	k := g.kin
	k.mu.Lock()
	over, told := k.surelyLocked(), k.told
	k.mu.Unlock()
	over = append(over, k.name)
	w.Header().Set(gatewaysHeader, strings.Join(over, ", "))
	for _, name := range gatewaysIn(r.Header) {
		if !slices.Contains(over, name) {
			continue
		}
		err := errLoopBelow
		if name == k.name {
			err = errLoop
		}
		if since, due := k.denied.Note(loopDenied, 1); due {
			g.set.Logger.Warn("a gateway is refused, because its messages would go round in a circle",
				zap.String("remote_address", r.RemoteAddr), zap.Int64("since_last_line", since), zap.Error(err))
		}
		g.server.TurnAway(w, r, http.StatusLoopDetected, err)
		return nil
	}
	return r.WithContext(context.WithValue(r.Context(), tellingKey{}, told))
}

// join notes that a session is a gateway's, if it is.
func (k *kinship) join(s *session, r *http.Request) {
	told, ok := r.Context().Value(tellingKey{}).(uint64)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.below[s] = struct{}{}
	if told != k.told {
		s.retell()
	}
}

func (k *kinship) part(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.below, s)
}

// retell has a gateway connect again, so that it is told over which ones it goes now.
func (s *session) retell() {
	s.conn.Dismiss(wsframe.CloseGoingAway, "this gateway reaches its server over another gateway now")
}

// learn takes in over which gateways a connection goes, as the answer to its handshake says. The error is errLoop.
func (k *kinship) learn(s *slot, answer http.Header) error {
	names := gatewaysIn(answer)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(names) == 0 && len(k.above) == 0 && len(k.alone.names) == 0 {
		return nil
	}
	before := k.overLocked()
	switch {
	case s.lane.peer != nil:
		k.alone, k.aloneOf = lineage{names: names, checked: time.Now()}, s.pool
	case len(names) == 0:
		delete(k.above, s)
	default:
		k.above[s] = lineage{names: names, checked: time.Now()}
	}
	over := k.overLocked()
	if slices.ContainsFunc(over, func(name string) bool { return !slices.Contains(before, name) }) {
		k.told++
		for below := range k.below {
			below.retell()
		}
	}
	over = k.surelyLocked()
	for a := range k.come {
		if slices.ContainsFunc(a.names, func(name string) bool { return slices.Contains(over, name) }) {
			a.giveUp()
		}
	}
	if slices.Contains(names, k.name) {
		return errLoop
	}
	return nil
}

// ended is told that a connection of s has ended.
func (k *kinship) ended(s *slot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.lane.peer != nil {
		k.alone.checked = time.Now()
	} else if l, ok := k.above[s]; ok {
		l.checked = time.Now()
		k.above[s] = l
	}
}

// rests is told that s connects again only when somebody comes.
func (k *kinship) rests(s *slot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l, ok := k.above[s]; ok {
		l.checked = time.Time{}
		k.above[s] = l
	}
}

// upgrade connects s to the server, unless that is this gateway itself in the end.
func (s *slot) upgrade(ctx context.Context, endpoint Endpoint) (io.ReadWriteCloser, error) {
	others := s.pool.gw.kin.waiting()
	conn, err := s.upgradeFor(ctx, endpoint, others)
	if len(others) > 0 && errors.Is(err, errLoop) {
		return s.upgradeFor(ctx, endpoint, nil) // it was one of those who wait; it is refused by now
	}
	return conn, err
}

// upgradeFor connects s for the sake of others, too.
func (s *slot) upgradeFor(ctx context.Context, endpoint Endpoint, others []string) (io.ReadWriteCloser, error) {
	header, kin := s.handshake(), s.pool.gw.kin
	kin.sign(header, others...)
	if s.lane.peer == nil {
		header.Set(bondHeader, kin.bond)
	}
	conn, answer, err := opampdial.Upgrade(ctx, endpoint.Client, endpoint.URL, header)
	if err != nil {
		return nil, s.unlooped(err)
	}
	if err := kin.learn(s, answer); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// unlooped is what an error means: who refuses a request may say of it that it goes in a circle.
func (s *slot) unlooped(err error) error {
	var status *opampdial.StatusError
	if !errors.As(err, &status) {
		return err
	}
	loop := s.pool.gw.kin.learn(s, status.Header)
	if loop == nil && status.Code == http.StatusLoopDetected {
		loop = errLoop
	}
	if loop != nil {
		return fmt.Errorf("%w (%w)", loop, err)
	}
	return err
}

// absence is what agents are told while there is no connection to the server.
func (g *Gateway) absence() error {
	for _, s := range g.pool.all() {
		if s.looped.Load() {
			return errLooped
		}
	}
	return errNoUpstream
}
