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

// costlySlots is how many bodies are decompressed at a time, and how many large
// messages are decoded. A body expands up to a thousandfold, and again when it is
// decoded, on the processor alone: more at a time would take memory, not save time.
func costlySlots() int { return 2 * runtime.GOMAXPROCS(0) }

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
	if s.relay != nil {
		// net/http sets the deadline for writing when a request comes, and this answer
		// may have to come from afar.
		_ = deadlines.SetWriteDeadline(time.Time{})
	}
	reply, reason, err := s.readExchange(deadlines, r, info)
	_ = deadlines.SetWriteDeadline(time.Now().Add(s.settings.WriteTimeout))
	switch {
	case err == nil:
		s.respond(w, r, http.StatusOK, reply)
	case reason == ReasonMalformed || reason == ReasonBadInstanceUID:
		s.ledger.note(reason, info.RemoteAddr, err)
		refusal, _, _ := marshalled(badRequest(err)) // texts of ours
		s.respond(w, r, http.StatusBadRequest, refusal)
	case reason == "":
		s.turnAway(w, r, err)
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
	case ReasonMemory, ReasonShutdown:
		return http.StatusServiceUnavailable
	case ReasonReply:
		return http.StatusInternalServerError
	default: // ReasonIncomplete
		return http.StatusBadRequest
	}
}

// readExchange reads the body and asks the Handler, or the Relay. The answer is encoded.
func (s *Server) readExchange(deadlines *http.ResponseController, r *http.Request, info ConnInfo,
) ([]byte, Reason, error) {
	body := &chargedReader{
		budget: s.budget, src: r.Body, claim: newClaim(r.RemoteAddr), progress: s.keepPace(deadlines),
	}
	defer body.release()
	body.progress(0)
	data, err := opampwire.ReadLimited(body, s.settings.MaxMessageSize)
	if err != nil {
		return nil, bodyReason(err), err
	}
	s.httpReceived.add(len(data))
	if contentEncoding(r) == encodingGzip {
		if data, err = s.unzipped(r, body, data); err != nil {
			return nil, bodyReason(err), err
		}
	}
	if s.relay != nil {
		return s.passExchange(r, info, data)
	}
	reply, reason, err := s.heed(info, data, opampwire.ParseMessage, body.release)
	if err != nil {
		return nil, reason, err
	}
	return marshalled(reply)
}

func marshalled(reply *protobufs.ServerToAgent) ([]byte, Reason, error) {
	data, err := proto.Marshal(reply)
	if err != nil {
		return nil, ReasonReply, err
	}
	return data, "", nil
}

// keepPace moves the deadline for reading with what has come.
func (s *Server) keepPace(deadlines *http.ResponseController) func(n int64) {
	var p pace
	return func(n int64) {
		if was := p.by; p.due(n, s.settings.MessageTimeout) != was {
			_ = deadlines.SetReadDeadline(p.by) // where it is supported
		}
	}
}

// unzipped decompresses a body, and charges what it becomes.
func (s *Server) unzipped(r *http.Request, body *chargedReader, data []byte) ([]byte, error) {
	// The body is all here, so whoever holds a slot waits for nobody.
	select {
	case s.unzip <- struct{}{}:
		defer func() { <-s.unzip }()
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	data, err := opampwire.Gunzip(bytes.NewReader(data), s.settings.MaxMessageSize)
	if err != nil {
		return nil, err
	}
	return data, body.charge(len(data))
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
func (s *Server) respond(w http.ResponseWriter, r *http.Request, status int, data []byte) {
	if err := s.sendable(len(data)); err != nil {
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
