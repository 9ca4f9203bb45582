// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScenarios plays the scripts in testdata: prose (lines that start with #) and commands, each followed
// by a line of dashes and what the router does.
//
//	router [agents=N] [per_peer=N] [duplicates=POLICY] [silence=D] [grace=D]   a new one, at 0s
//	up LANE | down LANE      a lane gets a connection, or loses it
//	rest LANE                a lane has no connection until somebody needs it
//	free LANE                put it to rest if nobody is on it
//	fail LANE                it could not get the connection that somebody needs
//	open                     somebody comes whose name is not known yet
//	full LANE | room LANE    the lane's connection has no room, or has again
//	own PEER LANE            a lane of one peer's own
//	say PEER AGENT [seq=N] [goodbye] [at_once]    without seq the number after the last one
//	alive PEER               a sign of life that is no message
//	end PEER                 its connection ends
//	server LANE AGENT [caps] [offers] [error] [new=AGENT]    AGENT may be - for nobody
//	after D                  time passes; agents whose grace is over end
//	announce N
//	show                     who is where
//
// Which lane an agent prefers is a matter of hashing: agents are named after it, a0 prefers lane 0
// among lanes 0 and 1, b1 lane 1. A peer whose name begins with poll is an agent over plain HTTP.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var got strings.Builder
	w := &world{t: t}
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		got.WriteString(lines[i] + "\n")
		if lines[i] == "" || strings.HasPrefix(lines[i], "#") {
			continue
		}
		got.WriteString("----\n" + w.run(lines[i]))
		for i+1 < len(lines) && lines[i+1] != "" {
			i++ // the expected output
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o600))
		return
	}
	require.Equal(t, string(raw), got.String())
}

// world is a router with everything that it is told of.
type world struct {
	t      *testing.T
	router *router
	now    moment
	lanes  map[string]*lane
	peers  map[string]*peer
	heard  map[string]moment // of peers
	seqs   map[string]uint64
	uids   map[opampwire.InstanceUID]string
	log    []string // what was put on lanes of the router's own accord
	conns  int
}

// wire is a lane's connection.
type wire struct {
	world *world
	name  string
	full  bool
}

func (c *wire) offer(frame []byte) bool {
	if c.full {
		return false
	}
	m, err := opampwire.ScanAgentMessage(frame[1:])
	require.NoError(c.world.t, err)
	what := "announces"
	if m.Disconnect {
		what = "says goodbye for"
	}
	c.world.log = append(c.world.log, fmt.Sprintf("lane %s: %s %s, seq %d", c.name, what, c.world.uids[m.UID], m.SequenceNum))
	return true
}

// uid is that of a name: one that prefers the lane which the name ends with.
func (w *world) uid(name string) opampwire.InstanceUID {
	number, err := strconv.Atoi(name[len(name)-1:])
	require.NoError(w.t, err, "%s: an agent is named after its lane", name)
	both := []*lane{newLane(0), newLane(1)}
	for salt := range 1000 {
		h := fnv.New128a()
		fmt.Fprintf(h, "%s/%d", name, salt)
		uid := opampwire.InstanceUID(h.Sum(nil))
		if choose(both, uid) == both[number] {
			w.uids[uid] = name
			return uid
		}
	}
	panic("unlucky")
}

func (w *world) peer(name string) *peer {
	if w.peers[name] == nil {
		w.peers[name] = &peer{owner: name}
		if !strings.HasPrefix(name, "poll") {
			w.peers[name].heard = func() (moment, bool) { return w.heard[name], true }
		}
	}
	return w.peers[name]
}

func (w *world) lane(name string) *lane {
	if w.lanes[name] == nil {
		number, err := strconv.Atoi(name)
		require.NoError(w.t, err)
		w.lanes[name] = newLane(number)
	}
	return w.lanes[name]
}

func (w *world) laneName(l *lane) string {
	for name, other := range w.lanes {
		if other == l {
			return name
		}
	}
	return "none"
}

func (w *world) run(line string) string {
	fields := strings.Fields(line)
	args := map[string]string{}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		args[k] = v
	}
	has := func(word string) bool { _, ok := args[word]; return ok }
	duration := func(key string, otherwise time.Duration) time.Duration {
		if d, err := time.ParseDuration(args[key]); err == nil {
			return d
		}
		return otherwise
	}
	number := func(key string, otherwise int) int {
		if n, err := strconv.Atoi(args[key]); err == nil {
			return n
		}
		return otherwise
	}
	switch fields[0] {
	case "router":
		policy := Duplicates(args["duplicates"])
		if policy == "" {
			policy = DuplicatesReplace
		}
		*w = world{
			t: w.t, lanes: map[string]*lane{}, peers: map[string]*peer{}, heard: map[string]moment{}, seqs: map[string]uint64{},
			uids: map[opampwire.InstanceUID]string{},
			router: newRouter(routerSettings{
				maxAgents: number("agents", 100), maxPerPeer: number("per_peer", 16), duplicates: policy,
				silence: duration("silence", 5*time.Second), grace: duration("grace", 5*time.Second),
			}),
		}
	case "own":
		l := newLane(0)
		l.peer = w.peer(fields[1])
		l.peer.own = l
		w.lanes[fields[2]] = l
	case "up":
		w.conns++
		w.router.laneUp(w.lane(fields[1]), &wire{world: w, name: fields[1]})
	case "down":
		w.router.laneDown(w.lane(fields[1]), w.lane(fields[1]).carrier)
	case "rest":
		w.router.laneRests(w.lane(fields[1]))
	case "free":
		if l := w.lane(fields[1]); !w.router.letGo(l, l.carrier) {
			return "it is needed\n"
		}
	case "fail":
		w.router.laneFailed(w.lane(fields[1]))
	case "open":
		ok, arrival := w.router.open()
		return w.awaited(arrival, fmt.Sprintf("open: %t\n", ok))
	case "full", "room":
		w.lane(fields[1]).carrier.(*wire).full = fields[0] == "full"
	case "say":
		return w.say(fields[1], fields[2], uint64(number("seq", -1)), has("goodbye"), has("at_once"))
	case "lose": // a message that was on its way
		w.router.missedBy(w.uid(fields[1]), true)
	case "alive":
		w.heard[fields[1]] = w.now
	case "end":
		w.router.ended(w.peer(fields[1]), has("left"), w.now)
		delete(w.peers, fields[1])
	case "server":
		return w.server(fields[1], fields[2], args, has)
	case "after":
		d, err := time.ParseDuration(fields[1])
		require.NoError(w.t, err)
		w.now += d
		w.router.bury(w.now)
	case "announce":
		n, _ := strconv.Atoi(fields[1])
		done, more := w.router.announce(n, w.now)
		w.log = append(w.log, fmt.Sprintf("%d announced, more: %t", done, more))
	case "show":
		return w.show()
	default:
		require.Fail(w.t, "no such command", line)
	}
	return w.flush()
}

func (w *world) flush() string {
	out := strings.Join(w.log, "\n")
	w.log = nil
	if out == "" {
		return "ok\n"
	}
	return out + "\n"
}

// awaited says which lane has been asked to connect, else otherwise.
func (w *world) awaited(arrival <-chan struct{}, otherwise string) string {
	for name, l := range w.lanes {
		var of <-chan struct{} = l.arrival
		if arrival != nil && arrival == of {
			return "waits for lane " + name + "\n"
		}
	}
	return otherwise
}

func (w *world) say(from, who string, seq uint64, goodbye, atOnce bool) string {
	if seq == ^uint64(0) {
		seq = w.seqs[who] + 1
	}
	w.seqs[who] = seq
	p := w.peer(from)
	w.heard[from] = w.now
	decide := w.router.fromAgent
	if atOnce {
		decide = w.router.fromAgentAtOnce
	}
	v := decide(p, opampwire.AgentMessage{UID: w.uid(who), SequenceNum: seq, Disconnect: goodbye}, w.now)
	if v.arrival != nil {
		w.seqs[who]-- // it comes again with the same
		return w.awaited(v.arrival, "")
	}
	if v.why == ReasonNoUpstream {
		w.router.missed(v.agent, true)
	}
	if v.why != "" {
		out := "not forwarded: " + string(v.why)
		if v.old != nil {
			out += fmt.Sprintf(" of %v, policy %s", v.old.owner, v.conflict)
		}
		return out + "\n"
	}
	return fmt.Sprintf("lane %s\n", v.carrier.(*wire).name)
}

func (w *world) server(on, who string, args map[string]string, has func(string) bool) string {
	m := opampwire.ServerMessage{Error: has("error")}
	if who != "-" {
		m.UID = w.uid(who)
	}
	if has("caps") {
		m.Capabilities = []byte("caps")
	}
	if has("offers") {
		m.CustomOffers = []byte("offers")
	}
	if next := args["new"]; next != "" {
		m.NewUID = w.uid(next)
	}
	l := w.lane(on)
	d := w.router.fromServer(l, l.peer, m)
	if d.why != "" {
		return "dropped: " + string(d.why) + "\n"
	}
	if d.peer == nil {
		return "nobody misses it\n"
	}
	out := fmt.Sprintf("to %v", d.peer.owner)
	if d.capabilities != nil {
		out += ", with " + string(d.capabilities)
	}
	if d.offers != nil {
		out += ", with " + string(d.offers)
	}
	return out + "\n"
}

func (w *world) show() string {
	var lines []string
	for uid, a := range w.router.agents {
		where := "in its grace"
		if a.peer != nil {
			where = fmt.Sprintf("at %v", a.peer.owner)
		}
		bound := "not announced"
		if a.bound() {
			bound = "lane " + w.laneName(a.lane)
		}
		lines = append(lines, fmt.Sprintf("%s %s, %s, seq %d", w.uids[uid], where, bound, a.seq))
	}
	slices.Sort(lines)
	_, perLane, c := w.router.snapshot()
	for _, name := range []string{"0", "1"} {
		if l := w.lanes[name]; l != nil && l.carrier != nil {
			lines = append(lines, fmt.Sprintf("lane %s has %d", name, perLane[l]))
		}
	}
	lines = append(lines, fmt.Sprintf("goodbyes %d, returned %d, announced %d, moved %d, renamed %d, duplicates %v",
		c.goodbyes, c.returned, c.announced, c.moved, c.renamed, c.duplicates))
	return strings.Join(lines, "\n") + "\n"
}
