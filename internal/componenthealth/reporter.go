// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component/componentstatus"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/agentreport"
)

const (
	// settleTime is how long after Ready a component that still starts is waited
	// for before the first tree leaves.
	settleTime = 500 * time.Millisecond
	// lookInterval is the least time between two aggregations, so that a storm of
	// events costs as much as fifty a second.
	lookInterval = 20 * time.Millisecond
)

// reporter turns what a Recorder holds into messages. All of it is owned by the
// Recorder's goroutine (by Start before that runs).
type reporter struct {
	recorder *Recorder
	send     func(*protobufs.ComponentHealth)

	said       phase                      // the phase that was last told of
	last       *protobufs.ComponentHealth // the message last sent
	lastStatus componentstatus.Status     // its status
	news       uint64                     // events in the tree of the present look that are in no message
	pace       pace
	nextLook   time.Time
}

// plan is what to wait for besides a new phase and the end.
type plan struct {
	at     time.Time // look again then; zero: never
	listen bool      // look again when a status changes
}

func (r *reporter) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p := r.look(time.Now())
		if p.at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(p.at))
		}
		changed := r.recorder.changed
		if !p.listen {
			changed = nil
		}
		select {
		case <-r.recorder.quit:
			r.lastLook()
			return
		case <-r.recorder.turned:
		case <-changed:
		case <-timer.C:
		}
	}
}

// look says what is due now and returns what to wait for.
func (r *reporter) look(now time.Time) plan {
	switch current, since := r.recorder.currentPhase(); current {
	case phaseReady:
		return r.lookReady(now, since)
	case phaseStopping:
		r.sayStopping(now, since)
	}
	return plan{}
}

// lastLook lets StatusStopping out if Stop came right behind NotReady.
func (r *reporter) lastLook() {
	if current, since := r.recorder.currentPhase(); current == phaseStopping {
		r.sayStopping(time.Now(), since)
	}
}

func (r *reporter) lookReady(now, readySince time.Time) plan {
	if now.Before(r.nextLook) {
		return plan{at: r.nextLook}
	}
	r.nextLook = now.Add(lookInterval)

	tree := r.readyTree(readySince)
	if r.said != phaseReady {
		return r.openReady(now, readySince, tree)
	}
	msg := agentreport.ComponentHealth(tree, r.recorder.started)
	if proto.Equal(msg, r.last) {
		r.recorder.noteSame(r.news)
		return plan{listen: true}
	}
	worse := badness(tree.Status) > badness(r.lastStatus)
	if due := r.pace.due(worse); due.After(now) {
		return plan{at: due, listen: !worse && r.pace.canOvertake()}
	}
	r.say(now, msg, tree.Status)
	return plan{listen: true}
}

// openReady sends the first tree, once nothing in it starts any more or
// settleTime is over.
func (r *reporter) openReady(now, readySince time.Time, tree *agentreport.HealthTree) plan {
	settled := readySince.Add(settleTime)
	if tree.Status == componentstatus.StatusStarting && now.Before(settled) {
		return plan{at: settled, listen: true}
	}
	r.said = phaseReady
	r.say(now, agentreport.ComponentHealth(tree, r.recorder.started), tree.Status)
	return plan{listen: true}
}

// readyTree is the present tree. Where no component ever reported, being ready is
// all that is known, and it is good.
func (r *reporter) readyTree(readySince time.Time) *agentreport.HealthTree {
	all, news := r.recorder.snapshot()
	r.news = news
	tree := aggregate(all)
	if tree.Status == componentstatus.StatusNone {
		tree.Status, tree.Since = componentstatus.StatusOK, readySince
	}
	return tree
}

func (r *reporter) sayStarting() {
	started := r.recorder.started
	tree := &agentreport.HealthTree{Status: componentstatus.StatusStarting, Since: started}
	r.emit(agentreport.ComponentHealth(tree, started), tree.Status)
}

// sayStopping shows the components as they were before they were told to stop:
// if an error was why, it stays readable.
func (r *reporter) sayStopping(now, since time.Time) {
	if r.said == phaseStopping {
		return
	}
	r.said = phaseStopping
	r.news = 0 // none of them is in the tree that follows
	tree := aggregate(r.recorder.snapshotAtNotReady())
	tree.Status, tree.Since = componentstatus.StatusStopping, since
	r.say(now, agentreport.ComponentHealth(tree, r.recorder.started), tree.Status)
}

func (r *reporter) say(now time.Time, msg *protobufs.ComponentHealth, status componentstatus.Status) {
	r.pace.sent(now)
	r.emit(msg, status)
}

func (r *reporter) emit(msg *protobufs.ComponentHealth, status componentstatus.Status) {
	r.last, r.lastStatus = msg, status
	r.recorder.noteReport(r.news)
	r.news = 0
	r.send(msg)
}
