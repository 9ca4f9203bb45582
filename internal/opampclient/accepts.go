// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// needs are the capabilities that a server has to have for a part to be sent to it.
// What has none here goes with AcceptsStatus, which every server has.
var needs = [partCount]protobufs.ServerCapabilities{
	partEffectiveConfig: protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig,
}

// accepts reports whether the server takes p. One that has not said takes everything:
// the first message comes before it can, and some servers never say.
func (s *session) accepts(p part) bool {
	return s.server == 0 || needs[p] == 0 || s.server&uint64(needs[p]) != 0
}

// passOver counts what the server does not take as told, so that it is not tried.
func (s *session) passOver(st state) {
	for i, h := range st.parts {
		if p := part(i); !s.accepts(p) {
			s.told[p] = h.version
		}
	}
}

// regain makes the next message tell what the server has come to take, which it was not
// told. It says how long to wait where that would be too often: a server that changes its
// mind all the time would get a configuration for each time.
func (s *session) regain(now time.Time) (wait time.Duration) {
	if !s.gained {
		return 0
	}
	if wait = early(s.lastGain, now); wait > 0 {
		return wait
	}
	s.gained, s.lastGain = false, now
	for p := range needs {
		if needs[p] != 0 && s.accepts(part(p)) {
			s.told[p] = 0
		}
	}
	return 0
}

// declare notes the capabilities that the server states on this connection, where none
// are no word on them. What it takes from now on has not been told to it; what it no
// longer takes is named in the result.
func (s *session) declare(capabilities uint64, st state) (lost []drop) {
	if capabilities == 0 || capabilities == s.server {
		return nil
	}
	before := *s
	s.server = capabilities
	for i, h := range st.parts {
		p := part(i)
		switch was, is := before.accepts(p), s.accepts(p); {
		case is && !was:
			s.gained = true
		case was && !is && h.version > 0:
			lost = append(lost, drop{parts[p].name, ReasonNotAccepted})
		}
	}
	return lost
}
