// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/tally"
)

// countingAuth is a passwordAuth that counts how often it is asked.
type countingAuth struct {
	passwordAuth
	asked atomic.Int64
}

func (a *countingAuth) Authenticate(ctx context.Context, headers map[string][]string) (context.Context, error) {
	a.asked.Add(1)
	return a.passwordAuth.Authenticate(ctx, headers)
}

// poll reports over plain HTTP as somebody who presents a password.
func poll(t *testing.T, s *server, password string) *http.Response {
	t.Helper()
	msg := described("polls")
	msg.InstanceUid = opampwire.InstanceUID{0x01, 15: 2}.Bytes()
	raw, err := proto.Marshal(msg)
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, "http://"+s.agents.Addr().String()+"/v1/opamp", bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Authorization", password)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// upgrade opens a WebSocket, or tries to, and returns the status.
func upgrade(t *testing.T, s *server, password string) *http.Response {
	t.Helper()
	ws, resp, err := dial(s, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {password}}})
	if err == nil {
		require.NoError(t, ws.CloseNow())
	}
	require.NotNil(t, resp, err)
	return resp
}

func TestWrongCredentialsOfAgentsAreBoundedAndRightOnesPass(t *testing.T) {
	transports := map[string]struct {
		try     func(*testing.T, *server, string) *http.Response
		success int
	}{
		"websocket": {upgrade, http.StatusSwitchingProtocols},
		"http":      {poll, http.StatusOK},
	}
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			auth := &countingAuth{}
			core, logged := observer.New(zapcore.WarnLevel)
			set := nopSettings()
			set.Logger = zap.New(core)
			s := newServer(configOf(t, "agents: {auth: {authenticator: oidc}}"), set)
			require.NoError(t, s.Start(context.Background(), hostOf{component.MustNewID("oidc"): auth}))
			t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })

			require.Equal(t, transport.success, transport.try(t, s, "open sesame").StatusCode)
			const tries = 600
			refused := 0
			for i := range tries {
				// One that does not give up, and one that guesses.
				for _, password := range []string{"open barley", "guess " + strconv.Itoa(i)} {
					resp := transport.try(t, s, password)
					if resp.StatusCode == http.StatusUnauthorized {
						continue
					}
					require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
					wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
					require.NoError(t, err)
					require.Positive(t, wait)
					refused++
				}
				if i%100 == 99 {
					for _, t2 := range transports {
						require.Equal(t, t2.success, t2.try(t, s, "open sesame").StatusCode, "of the same address")
					}
				}
			}

			require.Positive(t, refused)
			counts := s.opamp.Stats().Rejected
			assert.Equal(t, int64(refused), counts[opampserver.ReasonTooManyFailures])
			assert.Equal(t, int64(2*tries-refused), counts[opampserver.ReasonUnauthorized])
			assert.Equal(t, int64(2*tries-refused+1+tries/100*2), auth.asked.Load(), "who is refused costs no look")
			lines := logged.FilterField(zap.String("reason", "too_many_failures")).Len()
			assert.Positive(t, lines)
			assert.LessOrEqual(t, lines, 1+int(time.Since(began)/tally.QuietPeriod))
		})
	}
}
