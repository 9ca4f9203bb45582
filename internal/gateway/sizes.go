// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import "time"

const (
	// suspect is the size from which a message may be the reason for a reset, in bytes.
	suspect = 4 << 20
	// plausible is the size from which one may be the reason for a Close frame that finds a
	// message too large, in bytes. There is no server that takes less.
	plausible = 4 << 10
	// suspicion is how long a message may be the reason for a reset.
	suspicion = 10 * time.Second
)

// sizes remembers which message a server may have found too large. What is small and came
// later does not make it forget: a server that has much to read finds the large one late.
type sizes struct {
	keep time.Duration // fixed: for how long, and for twice as long at most

	began   time.Time // of the present interval
	largest int       // in it, in bytes
	before  int       // in the one before
	suspect time.Time // when the last one of so many bytes was sent
}

// note takes a message that is sent now.
func (s *sizes) note(size int, now time.Time) {
	if since := now.Sub(s.began); since > s.keep {
		s.before = s.largest
		if since > 2*s.keep {
			s.before = 0
		}
		s.began, s.largest = now, 0
	}
	s.largest = max(s.largest, size)
	if size >= suspect {
		s.suspect = now
	}
}

// tooLarge is what a Close frame may mean that finds a message too large; 0: it can't be said.
func (s *sizes) tooLarge() int {
	if size := max(s.largest, s.before); size >= plausible {
		return size
	}
	return 0
}

// reset is the same for a connection that is reset now.
func (s *sizes) reset(now time.Time) int {
	if size := s.tooLarge(); size >= suspect && now.Sub(s.suspect) < suspicion {
		return size
	}
	return 0
}
