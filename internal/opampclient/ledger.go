// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

const (
	// answerGrace is how long a message may go unanswered on a WebSocket that is up
	// before it counts as delivered. A server must answer each, but nothing may wait for
	// ever for one that does not.
	answerGrace = 10 * time.Second
	// shortGrace is the same for a server that is known to leave messages unanswered,
	// and for one whose messages may have been answers.
	shortGrace = time.Second
	// doubtGap is how soon to look again for the pong that shows that a message arrived.
	doubtGap = 50 * time.Millisecond
)

// ledger pairs the messages on one WebSocket with the server's answers. It is pure.
//
// An answer names no message; but each message gets one, in order, so that the first
// answer is for the first message. A server may also speak unasked, and when it does it
// sends something of its own. Such a message is no proof that another one arrived: it
// only shortens how long the oldest has to wait for a better one.
type ledger struct {
	flight []written // written and unanswered, oldest first
	custom int       // how many of them carry a custom message
	spoken int       // messages that may have been answers
	mute   bool      // a message has gone unanswered before
}

// written is a message that was written.
type written struct {
	at     time.Time
	custom bool
}

func (l *ledger) wrote(custom bool, now time.Time) {
	l.flight = append(l.flight, written{now, custom})
	if custom {
		l.custom++
	}
}

// answered takes an answer, and reports whether it is for a custom message.
func (l *ledger) answered() (custom bool) {
	if len(l.flight) == 0 {
		return false
	}
	return l.pop()
}

// spoke notes a message that may be an answer, or not.
func (l *ledger) spoke() {
	if len(l.flight) > 0 {
		l.spoken = min(l.spoken+1, len(l.flight))
	}
}

// overdue takes the oldest message if it has waited too long for its answer, and reached
// the server: what was written before reached did, because the server has answered a
// ping that was sent then. Otherwise wait says how long to wait, and doubt that a ping is
// due; a wait of 0 is for good.
func (l *ledger) overdue(now, reached time.Time) (d overdue) {
	if len(l.flight) == 0 {
		return overdue{}
	}
	grace := answerGrace
	if l.spoken > 0 || l.mute {
		grace = shortGrace
	}
	at := l.flight[0].at
	if d.wait = at.Add(grace).Sub(now); d.wait > 0 {
		return d
	}
	if !at.Before(reached) {
		return overdue{doubt: true, wait: doubtGap}
	}
	if l.spoken > 0 {
		l.spoken--
	} else {
		l.mute = true
	}
	return overdue{expired: true, custom: l.pop()}
}

// overdue is what has become of the oldest message.
type overdue struct {
	expired bool // it counts as delivered
	custom  bool // and carried a custom message
	doubt   bool
	wait    time.Duration
}

func (l *ledger) pop() (custom bool) {
	custom = l.flight[0].custom
	l.flight = l.flight[1:]
	if custom {
		l.custom--
	}
	l.spoken = min(l.spoken, len(l.flight))
	return custom
}

// open reports whether another custom message may be written.
func (l *ledger) open() bool { return l.custom < customWindow }

// saysMore reports whether msg has something in it that a server may send unasked.
func saysMore(msg *protobufs.ServerToAgent) bool {
	return msg.GetCustomMessage() != nil || msg.GetRemoteConfig() != nil || msg.GetConnectionSettings() != nil ||
		msg.GetPackagesAvailable() != nil || msg.GetCommand() != nil || msg.GetAgentIdentification() != nil
}
