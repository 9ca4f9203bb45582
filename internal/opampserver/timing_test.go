// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// pipeRig is a Server with one WebSocket whose handshake is done, over a pipe: time
// is synctest's.
type pipeRig struct {
	*Server
	*peer
	handler *echo
	started time.Time
	ended   chan struct{}
}

func newPipeRig(t *testing.T, settings Settings) *pipeRig {
	t.Helper()
	client, server := net.Pipe()
	return newPipeRigOver(t, settings, client, server)
}

func newPipeRigOver(t *testing.T, settings Settings, client, server net.Conn) *pipeRig {
	t.Helper()
	h := newEcho()
	h.closed = make(chan ConnInfo, 10)
	r := &pipeRig{Server: New(settings, h), handler: h, started: time.Now(), ended: make(chan struct{})}
	r.peer = &peer{t: t, Conn: client, in: bufio.NewReader(client)}
	slot := r.connections()
	_, err := r.arrive(slot)
	require.NoError(t, err)
	c := r.newConn(server, "pipe")
	go func() {
		defer close(r.ended)
		defer r.leave(slot)
		c.run()
	}()
	return r
}

// requireEnd reads the Close frame and proves when it came.
func (r *pipeRig) requireEnd(code uint16, after time.Duration) {
	r.t.Helper()
	go func() {
		<-r.ended
		_ = r.Conn.Close()
	}()
	for {
		op, payload, err := r.readFrame()
		require.NoError(r.t, err)
		if op != opClose {
			continue
		}
		assert.Equal(r.t, code, uint16(payload[0])<<8|uint16(payload[1]), string(payload[2:]))
		assert.Equal(r.t, after, time.Since(r.started))
		<-r.ended
		return
	}
}

// repeat sends b again and again until the connection is closed.
func (r *pipeRig) repeat(b []byte, every time.Duration) {
	for {
		if _, err := r.Conn.Write(b); err != nil {
			return
		}
		time.Sleep(every)
	}
}

func TestSilenceAfterTheHandshakeEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireEnd(closePolicy, 30*time.Second)
		assert.Equal(t, int64(1), r.Stats().Rejected[ReasonFirstMessage])
		assert.Len(t, r.handler.closed, 1)
	})
}

// Control frames are no first message.
func TestPingsDoNotExtendTheFirstDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		var pings sync.WaitGroup
		pings.Go(func() { r.repeat(frame(true, opPing, nil), 7*time.Second) })
		r.requireEnd(closePolicy, 30*time.Second)
		pings.Wait()
		assert.Equal(t, int64(1), r.Stats().Rejected[ReasonFirstMessage])
	})
}

func TestSilentPeerIsPingedOnceAndThenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		op, _, err := r.readFrame()
		require.NoError(t, err)
		assert.Equal(t, opPing, op)
		assert.Equal(t, 45*time.Second, time.Since(r.started))
		r.requireEnd(closePolicy, 90*time.Second)
		assert.Equal(t, int64(1), r.Stats().Rejected[ReasonSilent])
	})
}

func TestPongsKeepAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		for range 20 {
			op, _, err := r.readFrame()
			require.NoError(t, err)
			require.Equal(t, opPing, op)
			r.send(frame(true, opPong, nil))
		}
		assert.Equal(t, 20*45*time.Second, time.Since(r.started))
		r.requireAlive()
		require.NoError(t, r.Conn.Close())
		<-r.ended
	})
}

func TestAgentThatKeepsItsHeartbeatIsNeverPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		for range 20 {
			r.requireAlive() // which fails on a ping
			time.Sleep(30 * time.Second)
		}
		require.NoError(t, r.Conn.Close())
		<-r.ended
	})
}

func TestMessageThatTricklesHasADeadlineFromItsFirstByte(t *testing.T) {
	whole := frame(true, opBinary, framed(t, message(1)))
	long := frame(true, opBinary, framed(t, sized(t, 5000)))
	tests := map[string][]byte{
		"header": whole[:1], "short": whole[:20], "long": long[:2000],
		"fragments": frame(false, opBinary, []byte{0}),
	}
	for name, first := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, Settings{})
				r.requireAlive()
				time.Sleep(10 * time.Second)
				r.send(first)
				var pongs sync.WaitGroup
				if name == "fragments" { // a sign of life is none of progress
					pongs.Go(func() { r.repeat(frame(true, opPong, nil), 5*time.Second) })
				}
				r.requireEnd(closePolicy, 70*time.Second)
				pongs.Wait()
				assert.Equal(t, int64(1), r.Stats().Rejected[ReasonSlowMessage])
				assert.Zero(t, r.budget.inUse())
			})
		})
	}
}

func TestPeerThatNeverReadsEndsAtTheWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.report(1) // a pipe buffers nothing: the reply has nowhere to go
		<-r.ended
		assert.Equal(t, 10*time.Second, time.Since(r.started))
		assert.Equal(t, int64(1), r.Stats().Rejected[ReasonWriteTimeout])
		_ = r.Conn.Close()
	})
}

func TestPeerThatIgnoresACloseFrameIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.send(frame(true, opText, []byte("{}")))
		op, _, err := r.readFrame()
		require.NoError(t, err)
		require.Equal(t, opClose, op)
		<-r.ended
		assert.Equal(t, 500*time.Millisecond, time.Since(r.started))
		_ = r.Conn.Close()
	})
}

func TestShutdownSaysGoingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.requireAlive()
		time.Sleep(time.Second)
		done := make(chan error)
		go func() { done <- r.Shutdown(context.Background()) }()
		r.requireEnd(closeGoingAway, time.Second)
		require.NoError(t, <-done)
		require.NoError(t, r.Shutdown(context.Background()), "twice is no event")
		assert.Len(t, r.handler.closed, 1)
		for reason, n := range r.Stats().Rejected {
			assert.Zero(t, n, reason)
		}
	})
}

// Shutdown finds a peer that has stopped reading while a reply is on its way.
func TestShutdownDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{})
		r.report(1)
		synctest.Wait()
		require.NoError(t, r.Shutdown(context.Background()))
		assert.Equal(t, 500*time.Millisecond, time.Since(r.started))
		<-r.ended
		_ = r.Conn.Close()
	})
}

func TestShutdownCutsWhatOutlastsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPipeRig(t, Settings{CloseTimeout: time.Hour})
		r.requireAlive()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := r.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "1 OpAMP connections")
		assert.Equal(t, time.Second, time.Since(r.started))
		<-r.ended
		assert.Len(t, r.handler.closed, 1)
		_ = r.Conn.Close()
	})
}

func TestOneLogLineAMinuteForEachReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		l := newLedger(zap.New(core))
		for range 120 { // two minutes, ten a second
			for range 10 {
				l.note(ReasonMalformed, "10.0.0.1:1", errFrame)
			}
			l.note(ReasonTextFrame, "10.0.0.1:1", errFrame)
			time.Sleep(time.Second)
		}
		lines := logs.FilterField(zap.String("reason", "malformed")).All()
		require.Len(t, lines, 2)
		assert.Equal(t, int64(1), lines[0].ContextMap()["since_last_line"])
		assert.Equal(t, int64(600), lines[1].ContextMap()["since_last_line"])
		assert.Len(t, logs.FilterField(zap.String("reason", "text_frame")).All(), 2)
		assert.Equal(t, int64(1200), l.counts()[ReasonMalformed])
	})
}

// A read that times out must leave TLS able to go on: that is how idle connections
// are pinged.
func TestPingsWorkOverTLS(t *testing.T) {
	config, pool := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		config.Time = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
		secured := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: "agents.test", Time: config.Time, MinVersion: tls.VersionTLS13})
		r := newPipeRigOver(t, Settings{}, secured, tls.Server(server, config))
		for range 5 {
			r.requireAlive()
			op, _, err := r.readFrame()
			require.NoError(t, err)
			require.Equal(t, opPing, op)
			r.send(frame(true, opPong, nil))
		}
		go func() { _ = r.Shutdown(context.Background()) }()
		r.requireEnd(closeGoingAway, 5*45*time.Second)
	})
}

func selfSigned(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"agents.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, pool
}
