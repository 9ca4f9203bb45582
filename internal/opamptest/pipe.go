// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opamptest

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Pipe is a network of one host: what is dialled through it is accepted from it. It uses
// no sockets, so goroutines that wait on it are durably blocked in a synctest bubble.
type Pipe struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

// NewPipe makes an empty network.
func NewPipe() *Pipe {
	return &Pipe{conns: make(chan net.Conn), ended: make(chan struct{})}
}

// Client is an HTTP client that dials through p, whatever the address.
func (p *Pipe) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: p.Dial}}
}

// Dial connects to whoever accepts. Nobody does after Close.
func (p *Pipe) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

// Addr implements net.Listener.
func (*Pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
