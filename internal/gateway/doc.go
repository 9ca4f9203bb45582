// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package gateway carries many OpAMP agents over a few connections to their server. It is
// what the protocol calls a terminating proxy (ServerToAgent.instance_uid); how one has to
// behave the protocol does not say. This is what this one holds to, and why.
//
// # Bytes
//
// A message goes on as it came. The gateway reads its top level to the end, without
// decoding: the instance UID, and a few fields that concern a relay. It has one instance
// UID: of several a decoder takes the last, so a relay that took the first would let one
// agent speak for another; a message with two is refused. What a server signs, and what
// is newer than this code, arrives intact.
//
// Three things are changed, each because the server cannot know that there is a gateway.
// The first answer to an agent gets what servers say once a connection (capabilities and
// custom capabilities), by appending the fields as they came: a message's fields may stand
// in any order. An offer of another destination is taken out, rewritten or forwarded,
// by policy. And an agent over plain HTTP is not sent an acknowledgement when there is a
// message that says more.
//
// Nothing else is dropped, invented or joined. What is not forwarded has a [Reason], a
// counter, and at most one log line a minute.
//
// # Routing
//
// Up: an agent belongs on one lane, a place in the pool of upstream connections, which is
// chosen by rendezvous hashing over those that have a connection. So the same agent always
// speaks on the same connection, for servers that remember where they heard it; when
// one is lost only its agents move; and every gateway chooses alike. When a lane comes
// back, or one is added, the agents that prefer it go there with their next message, once they
// have been at rest for a second: what they said before has been dealt with then.
//
// Down: a message goes to the connection that has its instance UID, whichever lane it came
// on, for the choice of the connection to answer on is the server's. A message for
// somebody who is not here, or for nobody, is dropped. A connection of one agent's own
// (MultiplexPerAgent) brings messages for that agent only, and those may lack the UID.
//
// # Order
//
// The messages of one agent stay in order: its connection has one reader, which puts
// each into the buffer of the agent's lane, and a lane is one connection with one writer. The
// server's messages stay in order per lane: the lane's reader puts them into the agents'
// queues. Between agents there is no order.
//
// # Room
//
// Whoever is slow waits for itself. The reader of a lane never waits: an agent whose
// queue is full, or that takes longer for a write than there is time, is closed and the rest
// go on. The writer of a lane takes all there is at a time, so load makes few and large
// writes. When the server does not keep up, the buffer of its lane fills, and the readers
// of agents with something to say wait, each with one message, which stops its agent by its
// own socket; who waits longer than a write may take loses the message, not the connection.
// When the server answers slowly the pool grows, because servers deal with a
// connection's messages one after the other.
//
// A message is counted against its limit before it is kept. If the server closes a
// connection because of one that is too large for it, that size is refused to
// agents for a while. A message is never sent twice: what was in a buffer when its
// connection ended is counted and forgotten, and its agent's next one shows the server the
// gap.
//
// # Loss of the server
//
// Agents stay. New ones are answered 503 with Retry-After, before their handshake. What
// an agent says meanwhile is dropped, and it gets no answer, so it does not believe
// otherwise.
//
// When there is a connection again (or another one is left), each agent is announced on it, at a
// pace: a message with its UID and a sequence number and nothing else. The number is
// chosen so that the server sees a gap and asks for everything: the agent's last one
// again, if the server has certainly had it, since then the agent's next message does not look like
// another gap; otherwise two ahead. An agent that speaks before its turn needs no
// announcement.
//
// A server that froze is found by its silence: it is pinged after an interval, and given
// up after two.
//
// # Presence
//
// The server sees one connection, so that an agent has gone it must be told. When a
// connection ends, its agents have a grace. Whoever is back within it was never away.
// Otherwise the server gets agent_disconnect with the next sequence number, provided that it has
// heard of the agent on the connection that it still has: a server that lost its
// connection has drawn its own conclusions, and some fall over a goodbye of somebody they do
// not know. The goodbye is put into the lane's buffer under the same lock under which a
// returning agent is let in, so it never comes after that agent's first message on the lane.
//
// An agent that has moved to another gateway within the grace is said goodbye for all the same: nobody
// here can know. Its next message, or its heartbeat, makes it present again; servers that bind an
// agent to a connection are not misled. At shutdown nobody is said goodbye for.
//
// An agent over plain HTTP has no connection. It has a mailbox, which it empties a
// message an exchange, and has gone when it has long not polled.
//
// # Identity
//
// An instance UID belongs to the connection that brought it while that lives. What another
// one meets is a policy ([Duplicates]); by none of them can it take the UID from one that shows
// life. An agent that said goodbye, or whose connection ended, has let go. When the server
// gives an agent another UID, both reach it until it speaks by the new one.
//
// A connection may have more than one agent, up to a limit: a gateway behind this one
// has many. Such a connection is not closed for the sake of one agent; that agent is answered
// with ServerErrorResponse UNAVAILABLE, which its gateway passes on to it alone.
//
// # Concurrency
//
// The router decides, under one lock, with no I/O and no clock. Each downstream connection
// has the goroutine of its opampserver.Server; each upstream connection has a reader, a
// writer and a watch. Shutdown waits for all of them.
//
// Sections named in this package are those of the OpAMP specification, unless an RFC is
// named.
package gateway
