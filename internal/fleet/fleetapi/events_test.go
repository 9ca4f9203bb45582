// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// client is a response writer in memory, so that the clock of a test is its own.
type client struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
	flushs int
	err    error
}

func newClient() *client { return &client{header: http.Header{}} }

func (c *client) Header() http.Header { return c.header }

func (c *client) WriteHeader(status int) { c.status = status }

func (c *client) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	return c.body.Write(b)
}

func (c *client) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushs++
}

// take returns what arrived since it was called last, one event a line, without the data of agents.
func (c *client) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for block := range strings.SplitSeq(strings.TrimSuffix(c.body.String(), "\n\n"), "\n\n") {
		out = append(out, brief(block))
	}
	c.body.Reset()
	return strings.Join(out, "\n")
}

func brief(block string) string {
	var words []string
	for line := range strings.SplitSeq(block, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "event":
			words = append(words, value)
		case "id":
			_, version, _ := strings.Cut(value, "-")
			words = append(words, "id="+version)
		case "data":
			words = append(words, briefData(value)...)
		default:
			words = append(words, line)
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

func briefData(raw string) (out []string) {
	var d struct {
		Agents []struct {
			Name     string `json:"service_name"`
			Liveness string `json:"liveness"`
		} `json:"agents"`
		Removed []string `json:"removed"`
		Version *int     `json:"version"`
	}
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		return []string{err.Error()}
	}
	for _, a := range d.Agents {
		out = append(out, a.Name+":"+a.Liveness)
	}
	for _, uid := range d.Removed {
		out = append(out, "-"+uid[len(uid)-1:])
	}
	if d.Version != nil {
		out = append(out, fmt.Sprint("version=", *d.Version))
	}
	return out
}

// follow opens a stream in a synctest bubble. What it returns closes it and waits.
func follow(t *testing.T, a *API, query string, header ...string) (*client, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequest(http.MethodGet, "/api/v1/events"+query, nil).WithContext(ctx)
	for _, id := range header {
		r.Header.Set("Last-Event-ID", id)
	}
	c := newClient()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.ServeHTTP(c, r)
	}()
	synctest.Wait()
	return c, func() { cancel(); <-done }
}

func report(f *fleet.Fleet, n byte, name string, seq uint64) {
	r := fullReport(n, name)
	r.SequenceNum = seq
	f.Report(apiConn, r, apiNow)
}

func heartbeat(f *fleet.Fleet, n byte, seq uint64) {
	uid := apiUID(n)
	f.Report(apiConn, &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: seq}, apiNow)
}

func TestAStreamTellsAllAndThenWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		report(f, 1, "alpha", 0)
		c, stop := follow(t, a, "")
		defer stop()
		assert.Equal(t, "text/event-stream", c.header.Get("Content-Type"))
		assert.Equal(t, "retry: 2000\nreset\nagents id=1 alpha:connected", c.take())

		// After a quiet time, news leave at once; more of them within a second wait for its end, and come together.
		time.Sleep(10 * time.Second)
		synctest.Wait()
		report(f, 2, "bravo", 0)
		synctest.Wait()
		assert.Equal(t, "agents id=2 bravo:connected", c.take())
		for i := range 5 {
			report(f, 3, fmt.Sprint("charlie", i), uint64(i))
			heartbeat(f, 1, uint64(i+1))
		}
		synctest.Wait()
		assert.Empty(t, c.take())
		time.Sleep(time.Second - 1)
		synctest.Wait()
		assert.Empty(t, c.take())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, "agents id=7 charlie4:connected", c.take())

		// Heartbeats are no news. The stream says that it is there.
		time.Sleep(4 * time.Second)
		heartbeat(f, 1, 6)
		synctest.Wait()
		assert.Equal(t, ": still here", c.take())
	})
}

func TestAStreamGoesOnFromAPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		report(f, 1, "alpha", 0)
		old := f.Position().String()
		report(f, 2, "bravo", 0)

		c, stop := follow(t, a, "?since="+old)
		stop()
		assert.Equal(t, "retry: 2000\nagents id=2 bravo:connected", c.take())

		c, stop = follow(t, a, "?since="+old, f.Position().String())
		stop()
		assert.Equal(t, "retry: 2000", c.take(), "Last-Event-ID is newer than the URL")

		for _, id := range []string{"elsewhere-1", f.Position().Epoch + "-99"} {
			c, stop = follow(t, a, "", id)
			stop()
			assert.Equal(t, "retry: 2000\nreset\nagents id=2 alpha:connected bravo:connected", c.take(), id)
		}
		c, stop = follow(t, a, "?since="+old, "nonsense")
		stop()
		assert.Equal(t, "retry: 2000\nagents id=2 bravo:connected", c.take())
	})
}

func TestAStreamOfOneAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{MaxAgents: 2})
		a := New(f, Settings{})
		report(f, 1, "alpha", 0)
		report(f, 2, "bravo", 0)
		c, stop := follow(t, a, "?instance_uid="+apiUID(1).String())
		defer stop()
		assert.Equal(t, "retry: 2000\nreset\nagents id=2 alpha:connected", c.take())
		time.Sleep(2 * time.Second)
		report(f, 2, "bravo2", 1)
		synctest.Wait()
		assert.Empty(t, c.take())
		f.Disconnected(apiConn, apiNow)
		synctest.Wait()
		assert.Contains(t, c.take(), "alpha:lost")
		time.Sleep(2 * time.Second)
		for n := range byte(2) { // the fleet forgets both
			f.Report(fleet.Conn{ID: 2, Transport: fleet.TransportWebSocket}, fullReport(7+n, "new"), apiNow)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		assert.Contains(t, c.take(), " -1")
	})
}

func TestAStreamOfVersionsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		report(f, 1, "alpha", 0)
		c, stop := follow(t, a, "?view=version&since="+f.Position().String())
		defer stop()
		assert.Equal(t, "retry: 2000", c.take())
		report(f, 2, "bravo", 0)
		synctest.Wait()
		assert.Equal(t, "changed id=2 version=2", c.take())
	})
}

// Who came at different times is told of what goes on at the same time, so that all ask for the same then.
func TestStreamsTellAtTheSameMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		var clients []*client
		var stops []func()
		for range 20 {
			time.Sleep(170 * time.Millisecond)
			c, stop := follow(t, a, "?view=version&since="+f.Position().String())
			stops, clients = append(stops, stop), append(clients, c)
		}
		defer func() {
			for _, stop := range stops {
				stop()
			}
		}()
		time.Sleep(time.Millisecond) // nothing changes in the very moment in which streams tell
		version := 0
		for second := range 10 {
			for range 200 { // changes
				version++
				report(f, 2, fmt.Sprint("bravo", version), uint64(version))
				time.Sleep(5 * time.Millisecond)
			}
			synctest.Wait()
			first := clients[0].take()
			for _, c := range clients[1:] {
				require.Equal(t, first, c.take())
			}
			if second > 0 {
				require.Equal(t, 1, strings.Count(first, "changed id="), "one a second: %s", first)
			}
		}
	})
}

func TestABigBatchIsCutIntoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		for i := range agentsPerEvent + 1 {
			r := fullReport(0, "n")
			r.InstanceUid[1], r.InstanceUid[2] = byte(i), byte(i>>8)
			f.Report(apiConn, r, apiNow)
		}
		c, stop := follow(t, a, "")
		stop()
		lines := strings.Split(c.take(), "\n")
		require.Len(t, lines, 4)
		assert.Equal(t, agentsPerEvent, strings.Count(lines[2], "n:connected"))
		assert.NotContains(t, lines[2], "id=")
		assert.Equal(t, fmt.Sprintf("agents id=%d n:connected", agentsPerEvent+1), lines[3])
	})
}

func TestStreamsAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{MaxStreams: 2})
		_, stop := follow(t, a, "")
		gone, stopGone := follow(t, a, "")
		w := get(a, "/api/v1/events")
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Equal(t, "5", w.Header().Get("Retry-After"))
		assert.Equal(t, "too_many_streams", decode(t, w)["error"].(map[string]any)["code"])

		// A client that can't be written to makes room with the next news.
		gone.mu.Lock()
		gone.err = errors.New("broken pipe")
		gone.mu.Unlock()
		report(f, 1, "alpha", 0)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, 1, a.streams.open)
		stopGone()

		stop()
		assert.Zero(t, a.streams.open)

		_, stop = follow(t, a, "")
		a.Close()
		a.Close()
		synctest.Wait()
		assert.Zero(t, a.streams.open, "closing the API ends its streams")
		stop()
	})
}

// Who may see a stream is decided when it is opened, so it does not last for ever; what happens meanwhile is told to
// whoever comes again.
func TestAStreamEndsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		report(f, 1, "alpha", 0)
		c, stop := follow(t, a, "")
		quiet, stopQuiet := follow(t, a, "?instance_uid="+apiUID(9).String(), f.Position().String())
		report(f, 2, "bravo", 0)
		time.Sleep(defaultMaxStreamLife*4/5 - time.Second)
		synctest.Wait()
		assert.Equal(t, 2, a.streams.open)
		c.take()
		quiet.take()

		time.Sleep(defaultMaxStreamLife/5 + time.Second)
		synctest.Wait()
		assert.Zero(t, a.streams.open)
		stop()
		stopQuiet()
		ids := map[string]string{}
		for name, c := range map[string]*client{"all": c, "one": quiet} {
			_, end, found := strings.Cut(c.body.String(), "retry: 1000\n\n")
			require.True(t, found, name)
			_, id, found := strings.Cut(end, "\nid: ")
			require.True(t, found, name)
			ids[name] = strings.TrimSpace(id)
			assert.Equal(t, f.Position().String(), ids[name])
		}

		report(f, 3, "charlie", 0) // while nobody looks
		c, stop = follow(t, a, "", ids["all"])
		stop()
		assert.Equal(t, "retry: 2000\nagents id=3 charlie:connected", c.take())
		c, stop = follow(t, a, "?instance_uid="+apiUID(9).String(), ids["one"])
		stop()
		assert.Equal(t, "retry: 2000", c.take())
	})
}

// Streams that were opened together do not end together, or all their clients would come again at once.
func TestStreamsDoNotEndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(fleet.New(fleet.Settings{}), Settings{MaxStreams: 200, MaxStreamsPerPeer: 200})
		const streams = 100
		stops := make([]context.CancelFunc, streams)
		for i := range stops {
			_, stops[i] = follow(t, a, "")
		}
		time.Sleep(defaultMaxStreamLife * 9 / 10)
		synctest.Wait()
		open, _ := a.Streams()
		assert.Greater(t, open, streams/4)
		assert.Less(t, open, streams*3/4)
		time.Sleep(defaultMaxStreamLife / 10)
		synctest.Wait()
		open, _ = a.Streams()
		assert.Zero(t, open)
		for _, stop := range stops {
			stop()
		}
	})
}

func TestAStreamOverARealConnection(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "alpha"))
	server := httptest.NewServer(a)
	defer server.Close()
	defer a.Close()
	res, err := server.Client().Get(server.URL + "/api/v1/events")
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, http.StatusOK, res.StatusCode)
	assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	readUntil(t, res, "alpha")
	report(f, 2, "bravo", 0)
	readUntil(t, res, "bravo")
}

// readUntil reads the stream as far as s. The test's own deadline ends a wait in vain.
func readUntil(t *testing.T, res *http.Response, s string) {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(s)) {
		n, err := res.Body.Read(buf)
		require.NoError(t, err)
		got = append(got, buf[:n]...)
	}
}

func TestNobodyTakesAllStreams(t *testing.T) {
	s := newStreams(6, 2)
	for _, addr := range []string{"192.0.2.1:1", "[2001:db8::1]:1"} {
		assert.True(t, s.enter(peerOf(addr)))
		assert.True(t, s.enter(peerOf(addr)))
		assert.False(t, s.enter(peerOf(addr)), addr)
		s.leave(peerOf(addr))
	}
	for _, addr := range []string{"127.0.0.1:1", "@"} { // a proxy may stand there
		for range 3 {
			assert.True(t, s.enter(peerOf(addr)))
		}
		assert.False(t, s.enter(peerOf(addr)), addr)
		for range 3 {
			s.leave(peerOf(addr))
		}
	}
	s.leave(peerOf("192.0.2.1:9"))
	s.leave(peerOf("[2001:db8::1]:9"))
	assert.Zero(t, s.open)
	assert.Empty(t, s.peers)
}
