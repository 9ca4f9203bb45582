// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import "sync/atomic"

// Traffic counts what went in one direction over one transport since the start.
type Traffic struct {
	Messages int64
	Bytes    int64 // of payload: WebSocket headers and HTTP heads are not in it
}

// Stats is what a Server has counted since it was made. Everything but Connections
// and UnsentBytes only grows.
type Stats struct {
	Connections       int64 // WebSockets that are open now
	UnsentBytes       int64 // of messages of Send that wait to be written
	WebSocketReceived Traffic
	WebSocketSent     Traffic
	HTTPReceived      Traffic
	HTTPSent          Traffic
	Rejected          map[Reason]int64 // every Reason is there
}

// Stats returns the counts so far. Safe for concurrent use; meant for a metrics
// reader, so that a message costs two atomic additions and no more.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := int64(s.slots)
	s.mu.Unlock()
	return Stats{
		Connections:       open,
		UnsentBytes:       s.unsent.Load(),
		WebSocketReceived: s.wsReceived.load(),
		WebSocketSent:     s.wsSent.load(),
		HTTPReceived:      s.httpReceived.load(),
		HTTPSent:          s.httpSent.load(),
		Rejected:          s.ledger.counts(),
	}
}

type traffic struct {
	messages atomic.Int64
	bytes    atomic.Int64
}

func (t *traffic) add(bytes int) {
	t.messages.Add(1)
	t.bytes.Add(int64(bytes))
}

func (t *traffic) load() Traffic {
	return Traffic{Messages: t.messages.Load(), Bytes: t.bytes.Load()}
}
