// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsend

import (
	"errors"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// wire notes what is sent, and fails with err.
type wire struct {
	err  error
	conn uint64
	sent []*protobufs.ServerToAgent
}

func (w *wire) Send(connection uint64, msg *protobufs.ServerToAgent) error {
	if w.err != nil {
		return w.err
	}
	w.conn, w.sent = connection, append(w.sent, msg)
	return nil
}

var (
	uid = opampwire.InstanceUID{0x01, 0x9a, 15: 1}
	now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

// newSender knows one agent, which speaks over transport and takes messages of the capability c.
func newSender(t *testing.T, transport string) (*Sender, *wire, *fleet.Fleet) {
	t.Helper()
	f := fleet.New(fleet.Settings{})
	require.Nil(t, f.Report(fleet.Conn{ID: 7, Transport: transport}, &protobufs.AgentToServer{
		InstanceUid:        uid.Bytes(),
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"c"}},
	}, now).GetErrorResponse())
	w := &wire{}
	s := New(f, w)
	s.now = func() time.Time { return now }
	return s, w, f
}

var posting = fleet.Posting{Capability: "c", Type: "t", Data: []byte("x")}

func TestMessageGoesOutOnTheAgentsConnection(t *testing.T) {
	s, w, f := newSender(t, fleet.TransportWebSocket)
	receipt, err := s.Send(uid, posting)
	require.NoError(t, err)
	assert.Equal(t, Receipt{Fate: fleet.MessageDelivered}, receipt)
	require.Len(t, w.sent, 1)
	assert.Equal(t, uint64(7), w.conn)
	assert.Equal(t, uid.Bytes(), w.sent[0].GetInstanceUid())
	assert.Equal(t, "c", w.sent[0].GetCustomMessage().GetCapability())
	assert.Equal(t, "t", w.sent[0].GetCustomMessage().GetType())
	assert.Equal(t, []byte("x"), w.sent[0].GetCustomMessage().GetData())
	a, _ := f.Agent(uid)
	assert.Equal(t, uint64(1), a.Channel("c").Sent)
}

func TestMessageWaitsForAnAgentThatPolls(t *testing.T) {
	s, w, f := newSender(t, fleet.TransportHTTP)
	receipt, err := s.Send(uid, posting)
	require.NoError(t, err)
	assert.Equal(t, Receipt{Fate: fleet.MessageQueued, Expires: now.Add(5 * time.Minute)}, receipt)
	assert.Empty(t, w.sent)
	a, _ := f.Agent(uid)
	assert.Len(t, a.Mail, 1)
}

func TestWhatIsNotSentIsNotShownAsSent(t *testing.T) {
	for failure, want := range map[error]error{
		opampserver.ErrNotConnected:    fleet.ErrNotConnected,
		opampserver.ErrQueueFull:       ErrBusy,
		opampserver.ErrMessageTooLarge: fleet.ErrBadPost,
		errors.New("anything"):         fleet.ErrBadPost,
	} {
		s, w, f := newSender(t, fleet.TransportWebSocket)
		w.err = failure
		_, err := s.Send(uid, posting)
		require.ErrorIs(t, err, want)
		a, _ := f.Agent(uid)
		assert.Nil(t, a.Channel("c"))
	}
	s, w, _ := newSender(t, fleet.TransportWebSocket)
	_, err := s.Send(opampwire.InstanceUID{1}, posting)
	require.ErrorIs(t, err, fleet.ErrUnknownAgent)
	assert.Empty(t, w.sent)
}
