// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampdial

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.1 names it; it protects nothing
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ErrHandshake says that a server did not agree to a WebSocket.
var ErrHandshake = errors.New("no WebSocket")

// StatusError is the answer of a server that does not agree, by its status.
type StatusError struct {
	Code   int
	Header http.Header
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("server answered %d %s", e.Code, http.StatusText(e.Code))
}

func (e *StatusError) Unwrap() error { return ErrHandshake }

// Upgrade asks endpoint, of scheme ws or wss, for a WebSocket and returns the connection
// under it, and the header of the answer. Frames are the caller's, extensions are not asked for. No redirect is
// followed. A refusal is a [StatusError]. The context bounds the handshake, not the connection.
func Upgrade(ctx context.Context, client *http.Client, endpoint *url.URL, header http.Header) (io.ReadWriteCloser, http.Header, error) {
	u := *endpoint
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	key := base64.StdEncoding.EncodeToString(randomBytes(16))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", key)
	c := NoRedirects(client)
	c.Timeout = 0 // of the whole connection, were it set
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, WithoutURL(err)
	}
	conn, err := upgraded(resp, key)
	if err != nil {
		_ = resp.Body.Close() // of no use any more
		return nil, nil, err
	}
	return conn, resp.Header, nil
}

// upgraded checks the answer to a handshake (RFC 6455 section 4.1).
func upgraded(resp *http.Response, key string) (io.ReadWriteCloser, error) {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, &StatusError{Code: resp.StatusCode, Header: resp.Header}
	case !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket"),
		resp.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return nil, fmt.Errorf("%w: the answer to the handshake is not one of a WebSocket server", ErrHandshake)
	case resp.Header.Get("Sec-WebSocket-Extensions") != "":
		return nil, fmt.Errorf("%w: server wants an extension that was not asked for", ErrHandshake)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return nil, fmt.Errorf("%w: the connection cannot be written to", ErrHandshake)
	}
	return conn, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// WithoutURL drops the address that net/http puts in front of an error: its query may
// hold a token, and the endpoint is logged beside it anyway.
func WithoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
