// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// post sends body with pairs of header names and values.
func (r *rig) post(body []byte, header ...string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+r.addr+"/", bytes.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Content-Type", mediaType)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.do(req)
}

func (r *rig) do(req *http.Request) *http.Response {
	r.t.Helper()
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(r.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	require.NoError(r.t, resp.Body.Close())
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func answer(t *testing.T, resp *http.Response) *protobufs.ServerToAgent {
	t.Helper()
	require.Equal(t, mediaType, resp.Header.Get("Content-Type"))
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	msg := new(protobufs.ServerToAgent)
	require.NoError(t, proto.Unmarshal(body, msg))
	return msg
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, err := zw.Write(data)
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	return b.Bytes()
}

func TestExchange(t *testing.T) {
	plain := encoded(t, message(3))
	tests := map[string]struct {
		body   []byte
		header []string
	}{
		"plain":            {plain, nil},
		"media type":       {plain, []string{"Content-Type", "Application/X-Protobuf; charset=utf-8; proto=opamp"}},
		"gzip":             {zipped(t, plain), []string{"Content-Encoding", "gzip"}},
		"GZIP":             {zipped(t, plain), []string{"Content-Encoding", " GZIP "}},
		"identity":         {plain, []string{"Content-Encoding", "Identity"}},
		"foreign uid head": {plain, []string{"OpAMP-Instance-UID", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
		"expect":           {plain, []string{"Expect", "100-continue"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newEcho()
			r := newRig(t, Settings{}, h)
			resp := r.post(tt.body, tt.header...)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, agentUID.Bytes(), answer(t, resp).GetInstanceUid())
			require.Len(t, h.messages(), 1)
			assert.True(t, proto.Equal(message(3), h.messages()[0]))
			assert.Equal(t, TransportHTTP, h.peers()[0].Transport)
			assert.NotZero(t, h.peers()[0].ID)
			assert.Equal(t, int64(1), r.Stats().HTTPReceived.Messages)
			assert.Equal(t, int64(1), r.Stats().HTTPSent.Messages)
			assert.Zero(t, r.budget.inUse())
			assert.Empty(t, h.closed, "an exchange is no connection")
		})
	}
}

func TestExchangesThatAreRefused(t *testing.T) {
	plain := encoded(t, message(3))
	members := bytes.Repeat(zipped(t, nil), 1000)
	tests := map[string]struct {
		body   []byte
		header []string
		status int
		reason Reason
	}{
		"no content type":     {plain, []string{"Content-Type", ""}, http.StatusUnsupportedMediaType, ReasonMediaType},
		"json":                {plain, []string{"Content-Type", "application/json"}, http.StatusUnsupportedMediaType, ReasonMediaType},
		"unparsable type":     {plain, []string{"Content-Type", "a/b; ="}, http.StatusUnsupportedMediaType, ReasonMediaType},
		"brotli":              {plain, []string{"Content-Encoding", "br"}, http.StatusUnsupportedMediaType, ReasonContentEncoding},
		"deflate":             {plain, []string{"Content-Encoding", "deflate"}, http.StatusUnsupportedMediaType, ReasonContentEncoding},
		"gzip twice":          {plain, []string{"Content-Encoding", "gzip, gzip"}, http.StatusUnsupportedMediaType, ReasonContentEncoding},
		"over the limit":      {make([]byte, 5001), nil, http.StatusRequestEntityTooLarge, ReasonTooLarge},
		"gzip bomb":           {zipped(t, make([]byte, 2<<20)), []string{"Content-Encoding", "gzip"}, http.StatusRequestEntityTooLarge, ReasonTooLarge},
		"empty gzip members":  {members[:4000], []string{"Content-Encoding", "gzip"}, http.StatusBadRequest, ReasonMalformed},
		"truncated gzip":      {zipped(t, plain)[:20], []string{"Content-Encoding", "gzip"}, http.StatusBadRequest, ReasonMalformed},
		"not gzip":            {plain, []string{"Content-Encoding", "gzip"}, http.StatusBadRequest, ReasonMalformed},
		"garbage":             {[]byte("hello"), nil, http.StatusBadRequest, ReasonMalformed},
		"empty":               {nil, nil, http.StatusBadRequest, ReasonBadInstanceUID},
		"websocket framing":   {framed(t, message(1)), nil, http.StatusBadRequest, ReasonMalformed},
		"uid of 15 bytes":     {encoded(t, &protobufs.AgentToServer{InstanceUid: make([]byte, 15)}), nil, http.StatusBadRequest, ReasonBadInstanceUID},
		"page of other host":  {plain, []string{"Origin", "http://evil.test"}, http.StatusForbidden, ReasonOrigin},
		"exactly at limit ok": {encoded(t, sized(t, 5000)), nil, http.StatusOK, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newEcho()
			r := newRig(t, Settings{MaxMessageSize: 5000}, h)
			resp := r.post(tt.body, tt.header...)
			require.Equal(t, tt.status, resp.StatusCode)
			assert.Zero(t, r.budget.inUse())
			if tt.reason == "" {
				assert.Len(t, h.messages(), 1)
				return
			}
			assert.Equal(t, int64(1), r.Stats().Rejected[tt.reason])
			assert.Empty(t, h.messages())
			if tt.status == http.StatusBadRequest {
				reply := answer(t, resp)
				assert.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest, reply.GetErrorResponse().GetType())
				assert.NotEmpty(t, reply.GetErrorResponse().GetErrorMessage())
			}
			if tt.status == http.StatusUnsupportedMediaType {
				assert.Equal(t, "gzip", resp.Header.Get("Accept-Encoding"))
			}
		})
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions, http.MethodPatch, "BREW"} {
		req, err := http.NewRequest(method, "http://"+r.addr+"/", nil)
		require.NoError(t, err)
		resp := r.do(req)
		assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, method)
		assert.Equal(t, "GET, POST", resp.Header.Get("Allow"))
	}
	assert.Equal(t, int64(6), r.Stats().Rejected[ReasonMethod])
}

const exchangeHead = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"

// The head alone decides: not a byte of these bodies is ever sent.
func TestBodiesThatAreRefusedAreNotWaitedFor(t *testing.T) {
	tests := map[string]struct {
		head   string
		status int
	}{
		"too long":       {exchangeHead + "Content-Length: 1000000000\r\n", http.StatusRequestEntityTooLarge},
		"expects leave":  {exchangeHead + "Expect: 100-continue\r\nContent-Length: 1000000000\r\n", http.StatusRequestEntityTooLarge},
		"bad encoding":   {exchangeHead + "Content-Encoding: br\r\nTransfer-Encoding: chunked\r\n", http.StatusUnsupportedMediaType},
		"PUT":            {"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n", http.StatusMethodNotAllowed},
		"GET with body":  {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n", http.StatusUpgradeRequired},
		"foreign origin": {exchangeHead + "Origin: http://evil.test\r\nContent-Length: 100\r\n", http.StatusForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Settings{MessageTimeout: time.Hour}, newEcho())
			resp := r.dial().request(tt.head + "\r\n")
			assert.Equal(t, tt.status, resp.StatusCode)
			assert.True(t, resp.Close)
		})
	}
}

func TestChunkedBodyWithoutEndStopsAtTheLimit(t *testing.T) {
	r := newRig(t, Settings{MaxMessageSize: 50_000}, newEcho())
	p := r.dial()
	p.send([]byte(exchangeHead + "Transfer-Encoding: chunked\r\n\r\n"))
	go func() {
		chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", 10_000, make([]byte, 10_000))
		for {
			if _, err := p.Write(chunk); err != nil {
				return
			}
		}
	}()
	assert.Equal(t, http.StatusRequestEntityTooLarge, p.response().StatusCode)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonTooLarge])
}

func TestBodyThatTricklesHasADeadline(t *testing.T) {
	r := newRig(t, Settings{MessageTimeout: 50 * time.Millisecond}, newEcho())
	p := r.dial()
	resp := p.request(exchangeHead + "Content-Length: 100\r\n\r\nx")
	assert.Equal(t, http.StatusRequestTimeout, resp.StatusCode)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonSlowMessage])
}

func TestBodyThatEndsEarly(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	for _, body := range []string{"Content-Length: 100\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"} {
		p := r.dial()
		p.send([]byte(exchangeHead + body))
		require.NoError(t, p.Conn.(interface{ CloseWrite() error }).CloseWrite())
		assert.Equal(t, http.StatusBadRequest, p.response().StatusCode)
	}
	assert.Equal(t, int64(2), r.Stats().Rejected[ReasonIncomplete])
}

func TestPipelinedExchangesAreAnsweredInOrder(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.dial()
	body := encoded(t, message(1))
	p.send(bytes.Repeat(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", exchangeHead, len(body), body), 20))
	for range 20 {
		resp := p.response()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, agentUID.Bytes(), answer(t, resp).GetInstanceUid())
	}
}

func TestExchangesAreBounded(t *testing.T) {
	h := newEcho()
	inside, leave := make(chan struct{}), make(chan struct{})
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		inside <- struct{}{}
		<-leave
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{MaxExchanges: 2}, h)
	body := encoded(t, message(1))
	peers := []*peer{r.dial(), r.dial()}
	for _, p := range peers {
		p.send(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", exchangeHead, len(body), body))
		<-inside
	}
	resp := r.post(body)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.NotEmpty(t, resp.Header.Get("Retry-After"))
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonMaxExchanges])
	close(leave)
	for _, p := range peers {
		assert.Equal(t, http.StatusOK, p.response().StatusCode)
	}
}

func TestBodiesAreChargedToTheBudget(t *testing.T) {
	r := newRig(t, Settings{MaxMessageSize: 1_000_000, MaxBufferedBytes: 1_600_000}, newEcho())
	p := r.dial()
	p.send([]byte(exchangeHead + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 900_000)))
	r.eventually(func() bool { return r.budget.inUse() >= 900_000 }, "the first is buffered")
	resp := r.post(encoded(t, sized(t, 600_000)))
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	resp = r.post(zipped(t, encoded(t, sized(t, 600_000))), "Content-Encoding", "gzip")
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "what it expands to counts")
	assert.Equal(t, int64(2), r.Stats().Rejected[ReasonMemory])
	require.NoError(t, p.Close())
	r.eventually(func() bool { return r.budget.inUse() == 0 }, "released")
	assert.Equal(t, http.StatusOK, r.post(encoded(t, sized(t, 600_000))).StatusCode)
}

func TestReplyIsCompressedWhereThatIsWelcomeAndWorthIt(t *testing.T) {
	large := strings.Repeat("text ", 1000)
	h := newEcho()
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		reply := acknowledgement(msg)
		if msg.GetSequenceNum() == 1 {
			reply.ErrorResponse = &protobufs.ServerErrorResponse{ErrorMessage: large}
		}
		return reply
	}
	r := newRig(t, Settings{}, h)
	tests := map[string]struct {
		seq    uint64
		accept string
		want   bool
	}{
		"large and welcome": {1, "gzip", true},
		"small and welcome": {0, "gzip", false},
		"not welcome":       {1, "", false},
		"weight 0":          {1, "gzip;q=0, br", false},
		"weight 0.0":        {1, "gzip; Q=0.0", false},
		"weighted":          {1, "br, GZIP;q=0.5", true},
		"anything":          {1, "*", true},
		"anything but":      {1, "*, gzip;q=0", false},
		"nothing":           {1, "identity, *;q=0", false},
		"other":             {1, "br", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			resp := r.post(encoded(t, message(tt.seq)), "Accept-Encoding", tt.accept)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, tt.want, resp.Header.Get("Content-Encoding") == "gzip")
			if tt.want {
				zr, err := gzip.NewReader(resp.Body)
				require.NoError(t, err)
				resp.Body = zr
			}
			if tt.seq == 1 {
				assert.Equal(t, "Accept-Encoding", resp.Header.Get("Vary"))
				assert.Equal(t, large, answer(t, resp).GetErrorResponse().GetErrorMessage())
			}
		})
	}
}

func TestPanicCostsOneExchangeOnly(t *testing.T) {
	h := newEcho()
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		if msg.GetSequenceNum() == 13 {
			panic("unforeseen")
		}
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{}, h)
	assert.Equal(t, http.StatusInternalServerError, r.post(encoded(t, message(13))).StatusCode)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonPanic])
	assert.Equal(t, http.StatusOK, r.post(encoded(t, message(1))).StatusCode)
}

func TestUnsendableReplyIsAServerError(t *testing.T) {
	h := newEcho()
	h.reply = func(*protobufs.AgentToServer) *protobufs.ServerToAgent {
		return &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Data: make([]byte, 2000)}}
	}
	r := newRig(t, Settings{MaxMessageSize: 1000}, h)
	assert.Equal(t, http.StatusInternalServerError, r.post(encoded(t, message(1))).StatusCode)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonReply])
}
