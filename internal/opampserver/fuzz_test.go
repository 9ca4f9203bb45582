// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// fuzzLimit bounds a message of a fuzz target, so that inputs reach it.
const fuzzLimit = 2000

// acknowledging answers every message, and keeps none.
type acknowledging struct{ t *testing.T }

func (a acknowledging) OnMessage(_ context.Context, _ ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	_, err := opampwire.InstanceUIDFromBytes(msg.GetInstanceUid())
	require.NoError(a.t, err, "nothing else gets past decode")
	require.LessOrEqual(a.t, proto.Size(msg), 3*fuzzLimit)
	return acknowledgement(msg)
}

func (acknowledging) OnClose(ConnInfo) {}

// FuzzFrames feeds a WebSocket with any bytes. The server writes whole frames, ends when the peer does, and holds nothing.
func FuzzFrames(f *testing.F) {
	whole := frame(true, opBinary, framed(f, message(0)))
	for _, seed := range [][]byte{
		whole,
		append(frame(true, opPing, []byte("x")), whole...),
		append(frame(false, opBinary, framed(f, message(1))[:5]), append(frame(true, opPong, nil), frame(true, opContinuation, framed(f, message(1))[5:])...)...),
		frame(true, opClose, closePayload(1000, "done")),
		frame(true, opText, []byte("{}")),
		bytes.Repeat(frame(true, opBinary, []byte{0, 0xff}), 3),
		frame(true, opBinary, make([]byte, fuzzLimit+2)),
		{0x82, 0xff, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4},
		{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4},
		{0xc2, 0x80, 1, 2, 3, 4},
		{0x83, 0x80, 1, 2, 3, 4},
		{0x82, 0x05, 1},
		{0x09, 0x80, 1, 2, 3, 4},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(Settings{MaxMessageSize: fuzzLimit, CloseTimeout: time.Millisecond}, acknowledging{t})
		ours, theirs := net.Pipe()
		c := s.newConn(ours, "peer:1")
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.run()
		}()
		go func() {
			_, _ = theirs.Write(data)
			_ = theirs.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // for what is still to be answered
		}()
		answer, _ := io.ReadAll(theirs)
		_ = theirs.Close()
		<-done
		for len(answer) > 0 {
			head, size, err := wsframe.ParseHeader(answer, wsframe.FromServer)
			require.NoError(t, err)
			require.True(t, head.Fin)
			if size+int(head.Length) > len(answer) {
				break // the peer stopped reading
			}
			answer = answer[size+int(head.Length):]
		}
		require.Zero(t, s.Stats().Rejected[ReasonPanic])
		require.Zero(t, s.budget.inUse())
		require.NoError(t, s.Shutdown(t.Context()))
	})
}

// FuzzExchanges posts any body, as it is or as gzip, under any media type.
func FuzzExchanges(f *testing.F) {
	plain, err := proto.Marshal(message(3))
	require.NoError(f, err)
	f.Add(plain, mediaType, "", "gzip")
	f.Add(plain, "Application/X-Protobuf; charset=utf-8", "identity", "*;q=0")
	f.Add(zip(plain), mediaType, "gzip", "")
	f.Add(zip(make([]byte, 100_000)), mediaType, "GZIP", "gzip;q=0.5, *")
	f.Add(bytes.Repeat(zip(nil), 50), mediaType, "gzip", "br")
	f.Add(zip(plain)[:20], mediaType, "gzip, gzip", "x-gzip;q=x")
	f.Add([]byte("hello"), "a/b; =", "br", "identity")
	f.Fuzz(func(t *testing.T, body []byte, media, encoding, accept string) {
		s := New(Settings{MaxMessageSize: fuzzLimit}, acknowledging{t})
		r := httptest.NewRequest(http.MethodPost, "/v1/opamp", bytes.NewReader(body))
		r.Header.Set("Content-Type", media)
		r.Header.Set("Content-Encoding", encoding)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		default:
			require.Failf(t, "status", "%d", w.Code)
		}
		require.Zero(t, s.Stats().Rejected[ReasonPanic])
		require.Zero(t, s.budget.inUse())
		require.NoError(t, s.Shutdown(t.Context()))
	})
}
