// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	mediaType = "application/x-protobuf"
	// leastGzip is the smallest reply that is compressed: most are a few dozen
	// bytes and would grow.
	leastGzip = 1 << 10
)

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

// unzipSlots is how many bodies are decompressed at a time. A body expands up to a
// thousandfold, on the processor alone: more at a time would take memory, not save time.
func unzipSlots() int { return 2 * runtime.GOMAXPROCS(0) }

// serveExchange answers one POST (Plain HTTP Transport). The OpAMP-Instance-UID header
// is for load balancers; only the message's own instance_uid counts.
func (s *Server) serveExchange(w http.ResponseWriter, r *http.Request) {
	if status, reason, err := s.checkExchange(r); err != nil {
		if status == http.StatusUnsupportedMediaType {
			w.Header().Set("Accept-Encoding", "gzip")
		}
		s.Deny(w, r, status, reason, err)
		return
	}
	slot := s.concurrentExchanges()
	if reason, err := s.arrive(slot); err != nil {
		s.Deny(w, r, http.StatusServiceUnavailable, reason, err)
		return
	}
	defer s.leave(slot)
	if err := s.exchange(w, r, s.connInfo(TransportHTTP, r.RemoteAddr)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// checkExchange decides on what the head of a request tells, before any of the body
// is read.
func (s *Server) checkExchange(r *http.Request) (int, Reason, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")) // in lower case
	switch {
	case err != nil || media != mediaType:
		return http.StatusUnsupportedMediaType, ReasonMediaType,
			fmt.Errorf("Content-Type %.100q is not %s", r.Header.Get("Content-Type"), mediaType) //nolint:staticcheck // a header's name
	case contentEncoding(r) == encodingUnknown:
		return http.StatusUnsupportedMediaType, ReasonContentEncoding,
			fmt.Errorf("Content-Encoding %.100q is neither gzip nor identity", allOf(r.Header, "Content-Encoding")) //nolint:staticcheck // a header's name
	case r.ContentLength > s.settings.MaxMessageSize:
		return http.StatusRequestEntityTooLarge, ReasonTooLarge,
			fmt.Errorf("%w: %d bytes, limit %d", opampwire.ErrTooLarge, r.ContentLength, s.settings.MaxMessageSize)
	default:
		return 0, "", nil
	}
}

type encoding int

const (
	encodingIdentity encoding = iota
	encodingGzip
	encodingUnknown
)

// allOf is a header that may stand there more than once, as one.
func allOf(h http.Header, name string) string { return strings.Join(h.Values(name), ",") }

func contentEncoding(r *http.Request) encoding {
	switch strings.ToLower(strings.TrimSpace(allOf(r.Header, "Content-Encoding"))) {
	case "", "identity":
		return encodingIdentity
	case "gzip":
		return encodingGzip
	default:
		return encodingUnknown
	}
}

// exchange reads the message and writes the answer. Its error is a panic that was
// contained.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request, info ConnInfo) (fault error) {
	defer s.contain(info.RemoteAddr, &fault)
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Now().Add(s.settings.MessageTimeout)) // where it is supported
	msg := new(protobufs.AgentToServer)
	reason, err := s.readExchange(r, msg)
	_ = deadlines.SetWriteDeadline(time.Now().Add(s.settings.WriteTimeout))
	switch {
	case err == nil:
		s.respond(w, r, http.StatusOK, s.reply(info, msg))
	case reason == ReasonMalformed || reason == ReasonBadInstanceUID:
		s.ledger.note(reason, info.RemoteAddr, err)
		s.respond(w, r, http.StatusBadRequest, badRequest(err))
	default:
		s.Deny(w, r, statusOf(reason), reason, err)
	}
	return nil
}

func statusOf(reason Reason) int {
	switch reason {
	case ReasonTooLarge:
		return http.StatusRequestEntityTooLarge
	case ReasonSlowMessage:
		return http.StatusRequestTimeout
	case ReasonMemory:
		return http.StatusServiceUnavailable
	default: // ReasonIncomplete
		return http.StatusBadRequest
	}
}

// readExchange reads and decodes the body.
func (s *Server) readExchange(r *http.Request, msg *protobufs.AgentToServer) (Reason, error) {
	body := &chargedReader{budget: s.budget, src: r.Body}
	defer body.release()
	data, err := opampwire.ReadLimited(body, s.settings.MaxMessageSize)
	if err != nil {
		return bodyReason(err), err
	}
	s.httpReceived.add(len(data))
	if contentEncoding(r) == encodingIdentity {
		return decode(data, opampwire.ParseMessage, msg)
	}
	// The body is all here, so whoever holds a slot waits for nobody.
	select {
	case s.unzip <- struct{}{}:
		defer func() { <-s.unzip }()
	case <-r.Context().Done():
		return ReasonIncomplete, context.Cause(r.Context())
	}
	if data, err = opampwire.Gunzip(bytes.NewReader(data), s.settings.MaxMessageSize); err != nil {
		return bodyReason(err), err
	}
	if err := body.charge(len(data)); err != nil {
		return ReasonMemory, err
	}
	return decode(data, opampwire.ParseMessage, msg)
}

func bodyReason(err error) Reason {
	var bounded *http.MaxBytesError // of a middleware
	switch {
	case errors.Is(err, opampwire.ErrTooLarge) || errors.As(err, &bounded):
		return ReasonTooLarge
	case errors.Is(err, opampwire.ErrMalformed):
		return ReasonMalformed
	case errors.Is(err, errNoMemory):
		return ReasonMemory
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonSlowMessage
	default:
		return ReasonIncomplete
	}
}

// respond writes a reply, compressed where that is welcome and worth it.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, status int, reply *protobufs.ServerToAgent) {
	data, err := proto.Marshal(reply)
	if err == nil {
		err = s.sendable(len(data))
	}
	if err != nil {
		s.Deny(w, r, http.StatusInternalServerError, ReasonReply, err)
		return
	}
	head := w.Header()
	head.Set("Content-Type", mediaType)
	if len(data) >= leastGzip {
		head.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header) {
			head.Set("Content-Encoding", "gzip")
			data = zip(data)
		}
	}
	s.httpSent.add(len(data))
	head.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // a peer that is gone needs no answer
}

func zip(data []byte) []byte {
	zw := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(zw)
	var out bytes.Buffer
	zw.Reset(&out)
	_, _ = zw.Write(data) // a bytes.Buffer does not fail
	_ = zw.Close()
	return out.Bytes()
}

// acceptsGzip says whether a client wants gzip: it names it, or anything, with a
// weight that is not 0 (RFC 9110 section 12.5.3).
func acceptsGzip(h http.Header) bool {
	anything := false
	for _, line := range h.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				return weighs(params)
			case "*":
				anything = weighs(params)
			}
		}
	}
	return anything
}

// weighs says whether the parameters of an item leave it a weight above 0.
func weighs(params string) bool {
	name, value, found := strings.Cut(params, "=")
	if !found || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return true
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	return err == nil && q > 0
}
