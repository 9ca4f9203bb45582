// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// names is the DNS of this package's tests. It takes the place of the real one for good,
// because lookups that nobody waits for any more still look at it.
var names = &nameServer{conns: make(map[net.Conn]struct{})}

func init() { net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: names.dial} }

// nameServer answers as a test says. It is reached without a network.
type nameServer struct {
	mu      sync.Mutex
	resolve func(name string) net.IP // guarded by mu; nil is silence, as is a nil address
	conns   map[net.Conn]struct{}    // guarded by mu: those of lookups under way
}

// withResolver makes names resolve as the test says.
func withResolver(t *testing.T, resolve func(name string) net.IP) {
	t.Helper()
	names.set(resolve)
	t.Cleanup(func() { names.set(nil) })
}

// set ends the lookups under way.
func (s *nameServer) set(resolve func(name string) net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolve = resolve
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *nameServer) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[far] = struct{}{}
	go s.serve(far)
	return near, nil
}

// serve answers the queries on one connection until its other end is closed.
func (s *nameServer) serve(c net.Conn) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		_ = c.Close()
	}()
	for {
		query, err := readDNS(c)
		if err != nil {
			return
		}
		s.mu.Lock()
		resolve := s.resolve
		s.mu.Unlock()
		if answer := dnsAnswer(query, resolve); answer != nil {
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		}
	}
}

// readDNS reads a message as it is framed on a stream.
func readDNS(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// dnsAnswer answers one query; nil is silence.
func dnsAnswer(query []byte, resolve func(name string) net.IP) []byte {
	var m dnsmessage.Message
	if resolve == nil || m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	ip := resolve(strings.TrimSuffix(q.Name.String(), "."))
	if ip == nil {
		return nil
	}
	m.Response, m.Additionals = true, nil
	if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 3600},
			Body:   &dnsmessage.AResource{A: [4]byte(ip.To4())},
		}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}
