// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package s3test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Fault is what is done to one request.
type Fault int

// Faults.
const (
	NoFault  Fault = iota
	SlowDown       // 503, as S3 says that there is too much at once
	Reset          // the connection is reset before an answer
	Cut            // the answer breaks off in its middle
)

// Server is an object store with one bucket.
type Server struct {
	// Bucket is its name, URL the endpoint.
	Bucket, URL string

	backend gofakes3.Backend
	s3      http.Handler
	delay   atomic.Int64
	counts  counters

	mu     sync.Mutex
	fault  func(*http.Request) Fault
	answer func(http.ResponseWriter, *http.Request) bool
	tags   map[string][]string // names and values of each object, in turn
}

type counters struct{ list, get, head, tag atomic.Int64 }

// New starts a store that ends with the test.
func New(tb testing.TB, bucket string) *Server {
	tb.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		tb.Fatal(err)
	}
	s := &Server{Bucket: bucket, backend: backend, tags: map[string][]string{}}
	s.s3 = gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.URL = "http://" + listener.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	}()
	tb.Cleanup(func() {
		server.Close()
		<-done
	})
	return s
}

// Credentials gives the process of the test the keys of the store by environment variables, and
// keeps the SDK from looking elsewhere.
func Credentials(tb testing.TB) {
	tb.Helper()
	for name, value := range map[string]string{ //nolint:gosec // of a store that takes any
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "",
	} {
		tb.Setenv(name, value)
	}
}

// Put stores an object.
func (s *Server) Put(tb testing.TB, key string, data []byte) {
	tb.Helper()
	_, err := s.backend.PutObject(s.Bucket, key, map[string]string{}, bytes.NewReader(data), int64(len(data)), nil)
	if err != nil {
		tb.Fatal(err)
	}
}

// Delete removes an object.
func (s *Server) Delete(tb testing.TB, key string) {
	tb.Helper()
	if _, err := s.backend.DeleteObject(s.Bucket, key); err != nil {
		tb.Fatal(err)
	}
}

// Delay makes each request take this much longer.
func (s *Server) Delay(d time.Duration) { s.delay.Store(int64(d)) }

// Fail has each request looked at for what is done to it; nil ends that.
func (s *Server) Fail(fault func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Answer has each request answered by f where f returns true; nil ends that.
func (s *Server) Answer(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Lists is how many listings were asked for, a page each.
func (s *Server) Lists() int { return int(s.counts.list.Load()) }

// Gets is how often objects, or parts of them, were asked for.
func (s *Server) Gets() int { return int(s.counts.get.Load()) }

// Tags is how many requests were about tags.
func (s *Server) Tags() int { return int(s.counts.tag.Load()) }

// IsList reports whether a request is for a page of a listing.
func IsList(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Query().Has("list-type")
}

// IsTag reports whether a request is about the tags of an object.
func IsTag(r *http.Request) bool { return r.URL.Query().Has("tagging") }

// IsGet reports whether a request is for the bytes of an object.
func IsGet(r *http.Request) bool {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return r.Method == http.MethodGet && !IsList(r) && !IsTag(r) && key != ""
}

func (s *Server) count(r *http.Request) {
	switch {
	case IsList(r):
		s.counts.list.Add(1)
	case IsTag(r):
		s.counts.tag.Add(1)
	case IsGet(r):
		s.counts.get.Add(1)
	default:
		s.counts.head.Add(1)
	}
}

// ServeHTTP is the way to the store.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count(r)
	if delay := time.Duration(s.delay.Load()); delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
	}
	s.mu.Lock()
	fault, answer := s.fault, s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	kind := NoFault
	if fault != nil {
		kind = fault(r)
	}
	switch kind {
	case SlowDown:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
	case Reset:
		reset(w)
	case Cut:
		whole := &recorded{header: http.Header{}, status: http.StatusOK}
		s.serve(whole, r)
		for name, values := range whole.header {
			w.Header()[name] = values
		}
		w.WriteHeader(whole.status)
		w.Write(whole.body.Bytes()[:whole.body.Len()/2])
		http.NewResponseController(w).Flush()
		reset(w)
	default:
		s.serve(w, r)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if IsTag(r) {
		s.serveTags(w, r)
		return
	}
	s.s3.ServeHTTP(w, r)
}

// reset ends a connection without a goodbye.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// recorded is an answer that nobody has been given yet.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }
