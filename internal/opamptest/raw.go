// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opamptest

import (
	"crypto/sha1" //nolint:gosec // the WebSocket handshake's own (RFC 6455 section 1.3)
	"encoding/base64"
	"net"
	"sync"
	"testing"
)

// EachConn accepts connections on ln and gives each to f, which may run more beside it in
// work. A connection is closed when f returns. With the test ln is closed, and everything
// waited for: f has to end when its peer does.
func EachConn(t testing.TB, ln net.Listener, f func(c net.Conn, work *sync.WaitGroup)) {
	t.Helper()
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer func() { _ = c.Close() }() // it may be closed already
				f(c, &work)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		work.Wait()
	})
}

// AcceptKey answers the key of a WebSocket handshake.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}
