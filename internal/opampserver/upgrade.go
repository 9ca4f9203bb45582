// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 names it; it protects nothing
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// handshakeGUID is what a server proves to have read the key with (RFC 6455 section 1.3).
const handshakeGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// handshakeTimeout bounds the writing of the answer to a handshake.
const handshakeTimeout = 5 * time.Second

var (
	errHandshake = errors.New("not a WebSocket handshake")
	errEarlyData = errors.New("frames before the handshake was answered")
)

// serveUpgrade makes a WebSocket of a GET. Whether there is room is decided before
// the upgrade, where a refusal has a status and a Retry-After.
func (s *Server) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	status, reason, err := checkHandshake(r)
	if err != nil {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Version", "13")
		s.Deny(w, r, status, reason, err)
		return
	}
	slot := s.connections()
	if reason, err := s.arrive(slot); err != nil {
		s.Deny(w, r, http.StatusServiceUnavailable, reason, err)
		return
	}
	c, err := s.upgrade(w, r)
	if err != nil {
		s.leave(slot)
		return
	}
	// A goroutine of its own, so that the request, its buffers and the stack that
	// parsed it can go. No defer: see run.
	go func() {
		c.run()
		s.leave(s.connections())
	}()
}

// checkHandshake holds a request against RFC 6455 section 4.2.1.
func checkHandshake(r *http.Request) (int, Reason, error) {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	switch {
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return http.StatusUpgradeRequired, ReasonUpgradeRequired, fmt.Errorf("%w: OpAMP is spoken here over WebSocket, or by POST", errHandshake)
	case r.ProtoMajor != 1:
		return http.StatusBadRequest, ReasonHandshake, fmt.Errorf("%w: HTTP/1.1 is needed", errHandshake)
	case r.Header.Get("Sec-Websocket-Version") != "13":
		return http.StatusUpgradeRequired, ReasonHandshake, fmt.Errorf("%w: version 13 is spoken here", errHandshake)
	case err != nil || len(key) != 16:
		return http.StatusBadRequest, ReasonHandshake, fmt.Errorf("%w: Sec-WebSocket-Key is not 16 bytes in base64", errHandshake)
	case r.ContentLength != 0:
		return http.StatusBadRequest, ReasonHandshake, fmt.Errorf("%w: it has a body", errHandshake)
	default:
		return 0, "", nil
	}
}

// hasToken says whether a comma-separated header holds token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// upgrade takes the connection from the http.Server and answers the handshake. On an
// error the peer has been told or is gone.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) (*conn, error) {
	// Written by hand once the connection is ours, so headers that a middleware
	// has set are carried over.
	head := handshakeAnswer(w.Header(), r.Header.Get("Sec-Websocket-Key"))
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.Deny(w, r, http.StatusInternalServerError, ReasonHandshake, fmt.Errorf("%w: %w", errHandshake, err))
		return nil, err
	}
	if rw.Reader.Buffered() > 0 {
		s.ledger.note(ReasonEarlyData, r.RemoteAddr, errEarlyData)
		return nil, errors.Join(errEarlyData, nc.Close())
	}
	c := s.newConn(nc, r.RemoteAddr)
	if s.relay != nil {
		c.hear()
		c.session = s.relay.Open(c, r)
	}
	if err := writeWithin(nc, head, handshakeTimeout); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

func (s *Server) newConn(nc net.Conn, peer string) *conn {
	return &conn{
		server:  s,
		info:    s.connInfo(TransportWebSocket, peer),
		net:     nc,
		firstBy: time.Now().Add(s.settings.FirstMessageTimeout),
	}
}

func (s *Server) connInfo(transport, peer string) ConnInfo {
	return ConnInfo{ID: s.lastID.Add(1), Transport: transport, RemoteAddr: strings.Clone(peer)}
}

func handshakeAnswer(extra http.Header, key string) []byte {
	proof := sha1.Sum([]byte(key + handshakeGUID)) //nolint:gosec // see the import
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(base64.StdEncoding.EncodeToString(proof[:]))
	b.WriteString("\r\n")
	_ = extra.Write(&b) // a strings.Builder does not fail
	b.WriteString("\r\n")
	return []byte(b.String())
}

func writeWithin(nc net.Conn, b []byte, timeout time.Duration) error {
	if err := nc.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := nc.Write(b)
	return err
}
