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
// chosen by rendezvous hashing over those that have a connection or could have one. So the
// same agent always speaks on the same connection, for servers that remember where they
// heard it; when one is lost only its agents move; and every gateway chooses alike. When a lane comes
// back, or one is added, the agents that prefer it go there with their next message, once they
// have been at rest for a second: what they said before has been dealt with then.
//
// Down: a message goes to the connection that has its instance UID, whichever lane it came
// on, for the choice of the connection to answer on is the server's. A message for
// somebody who is not here, or for nobody, is dropped. A connection of one agent's own
// (MultiplexPerAgent) brings messages for that agent only, and those may lack the UID.
//
// # Rest
//
// A lane has a connection while agents need it. One that carries nobody is of no use to the
// server, which may take it for a fault: a connection that says nothing at first is closed
// by servers that guard themselves, ours among them, and a gateway that connected again at
// once would make both complain for ever. So
//
//   - a lane is at rest until the first agent that prefers it speaks. That agent waits until
//     the connection is made, or turns out to be impossible, at most as long as a handshake
//     may take; others go on. It does not make do with another lane meanwhile, because to
//     move it later would show the server one agent on two connections. An agent whose
//     name is not known yet, in its own handshake, wakes any lane if there is no connection
//     at all, and waits likewise: it is not told to come back;
//   - one connection is made at start, for nobody. A gateway with a wrong address or a wrong
//     credential says so then, and goes on trying, and not when the first agent comes. It is
//     kept if agents come soon, as they do when a gateway is replaced;
//   - a server that starts beside the gateway, in the same process even, may listen a moment
//     later. So for two seconds after the start nobody who could not be reached is given up:
//     the gateway tries again many times, and agents that come wait on, as many as there may be.
//     Whoever answers is taken at its word, and once there was a server this is over;
//   - a connection is closed when nobody has been on it for Settings.UpstreamIdle, counted from the end of
//     the grace of the last one, so an agent that comes and goes does not make it come and go.
//     Where nothing was ever said on it that is 10 seconds: less than what servers wait for
//     a first message. It ends with a Close frame, and counts as idle, not as lost;
//   - a connection that is lost, or that somebody needed and that could not be made, is no lane at
//     rest: it is tried again until there is one, whoever has needed it. Its agents go elsewhere
//     meanwhile. One that is lost with nobody on it is at rest;
//   - lanes that the pool has grown by are taken back when they are at rest. They are not
//     taken from agents when the server answers fast again: to move agents costs the server
//     more than a connection does, and it may be slow again.
//
// The gateway shows a lane at rest as idle, and only one that it cannot have as disconnected.
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
// connection's messages one after the other. It also grows when connections have 4,000 agents
// each, because servers bound how many may share one.
//
// A message is counted against its limit before it is kept. If the server closes a
// connection because of one that is too large for it, that size is refused to
// agents for a while. A message is never sent twice: what was in a buffer when its
// connection ended is counted and forgotten, and its agent's next one shows the server the
// gap.
//
// # Loss of the server
//
// Agents stay. New ones are answered 503 with Retry-After, before their handshake, once it
// is known that there is no connection. What
// an agent says meanwhile is dropped, and it gets no answer, so it does not believe
// otherwise.
//
// Whoever has lost a message, to an outage or for want of room, is announced, also one of which the
// server has never heard: it does not know, and may have nothing more to say. One that has said
// goodbye is not.
//
// When there is a connection again (or another one is left), each agent is announced on it, at a
// pace: a message with its UID and a sequence number and nothing else. The number is
// chosen so that the server sees a gap and asks for everything: the agent's last one
// again, if the server has certainly had it, since then the agent's next message does not look like
// another gap; otherwise two ahead. An agent that speaks before its turn needs no
// announcement.
//
// A server over plain HTTP that is not there, or has no time, is told after a pause that grows, or as long
// as it has asked for; agents' own messages go on as they come. It is not told of an agent that it has refused,
// nor of any where agents show it credentials of their own.
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
// What the server answers to an agent that has said goodbye, or has closed its connection in order,
// is nobody's, and no loss: however many of its last messages were unanswered by then. An agent whose
// connection broke has lost its answers, and they are counted.
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
// life when it is asked: however long an agent has said nothing, it is pinged first. An agent
// over plain HTTP can't be asked, and has its UID until it has long not polled. A connection with
// many agents answers for them: that one has gone it says. An agent that said goodbye, or whose
// connection ended, has let go; a goodbye for somebody else's UID is dropped. When the server
// gives an agent another UID, both reach it until it speaks by the new one; so of two agents that
// made up the same one until they are given theirs, the second has its turn then.
//
// A gateway behind this one has several connections, and moves agents among them, for the reasons that
// this one has. That is no conflict. It shows by a header of its handshakes that they are all its own;
// what it holds is random, and no agent gets to see it.
//
// A connection may have more than one agent, up to a limit: a gateway behind this one
// has many. Such a connection is not closed for the sake of one agent; that agent is answered
// with ServerErrorResponse UNAVAILABLE, which its gateway passes on to it alone.
//
// # Loops
//
// A gateway whose upstream leads back to it would send messages round, with no server to answer
// them. So gateways name themselves to each other, by a header of the handshake that means
// nothing to anybody else: the request names the gateway that connects, the answer the one that
// answers and those over which it reaches its server. A gateway does not go over itself: who sees
// its own name in an answer hangs up, and who is asked by one that it goes over answers 508. Since
// a gateway that has no server says so with 503 and the same header, a circle in which nobody can
// connect first is found as well, by the second attempt or so. A gateway that makes a connection
// because another one waits for it names that one, too; and those that wait for each other do
// so for three seconds at most. What a gateway was told when it
// connected may change later. Then it is closed (1001), and told anew.
//
// The header takes nobody's connection: what an agent puts into it can only have itself refused.
// Where something between takes it out, a loop has no name, and ends at the first
// gateway that it comes back to all the same, for an instance UID belongs to one connection.
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
