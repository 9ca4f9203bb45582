// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// What a server finds too large is the large message, also if it was slow to read it and much that is small came
// since. Were it taken for a small one, nobody could say anything for minutes.
func TestWhichMessageWasTooLarge(t *testing.T) {
	var (
		large = make([]byte, 1<<20)
		huge  = make([]byte, 5<<20)
		beat  = make([]byte, 20)

		refused = &closedError{code: wsframe.CloseTooBig}
		reset   = errors.Join(errors.New("read"), syscall.ECONNRESET)
	)
	for name, tt := range map[string]struct {
		first []byte
		pause time.Duration
		err   error
		want  int
	}{
		"at once":                          {large, 0, refused, len(large)},
		"while the server was slow":        {large, 29 * time.Second, refused, len(large)},
		"just before it would be given up": {large, 59 * time.Second, refused, len(large)},
		"long ago":                         {large, 10 * time.Minute, refused, 0},
		"never: nothing but heartbeats":    {beat, 0, refused, 0},
		"another reason":                   {large, 0, &closedError{code: wsframe.CloseGoingAway}, 0},
		"a reset, and it was not so large": {large, 0, reset, 0},
		"a reset":                          {huge, time.Second, reset, len(huge)},
		"a reset long after":               {huge, 20 * time.Second, reset, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLink(nopConn{bytes.NewReader(nil)}, &slot{lane: newLane(0)}, linkSettings{maxQueue: 16 << 20, pingInterval: 30 * time.Second})
				put := func(message []byte) {
					_, err := l.putMessage(message)
					require.NoError(t, err)
				}
				put(tt.first)
				for range 10 { // heartbeats of everybody else
					time.Sleep(tt.pause / 10)
					put(beat)
				}
				assert.Equal(t, tt.want, l.tooLarge(tt.err))
				assert.Zero(t, l.tooLarge(io.EOF))
			})
		})
	}
}
