// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package loadtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// people look at the server while agents speak: one stream that tells all, and browsers with an overview.
type people struct {
	b      *testing.B
	web    string
	client *http.Client
	cancel context.CancelFunc
	all    sync.WaitGroup
	known  chan struct{} // closed when the stream has told what was there

	mu    sync.Mutex
	shown map[string]time.Time // guarded by mu: when a text was told as the error of an agent
	pages []time.Duration      // guarded by mu: how long overviews took
}

// browsers that have an overview open.
const browsers = 10

func look(b *testing.B, web string) *people {
	ctx, cancel := context.WithCancel(context.Background())
	p := &people{
		b: b, web: "http://" + web, cancel: cancel, known: make(chan struct{}), shown: map[string]time.Time{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * browsers}},
	}
	p.all.Go(func() { p.follow(ctx) })
	for range browsers {
		p.all.Go(func() { p.browse(ctx) })
	}
	<-p.known
	b.Cleanup(p.leave)
	return p
}

// leave ends all looking. Leaving twice is no event.
func (p *people) leave() {
	p.cancel()
	p.all.Wait()
	p.client.CloseIdleConnections()
}

// stream reads events until ctx ends.
func (p *people) stream(ctx context.Context, query string, each func(name string, data []byte)) {
	resp, err := p.ask(ctx, "/api/v1/events"+query)
	if err != nil {
		p.b.Error(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReaderSize(resp.Body, 1<<20)
	for name := ""; ; {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			if ctx.Err() == nil {
				p.b.Error(err)
			}
			return
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimSpace(line[len("event: "):])
		case strings.HasPrefix(line, "data: "):
			each(name, []byte(line[len("data: "):]))
		}
	}
}

func (p *people) ask(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.web+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
		_ = resp.Body.Close()
	}
	return resp, err
}

// follow notes when which error is told.
func (p *people) follow(ctx context.Context) {
	var position struct{ Position string }
	if err := p.read(ctx, "/api/v1/agents?limit=1", &position); err != nil {
		p.b.Error(err)
		close(p.known)
		return
	}
	close(p.known)
	p.stream(ctx, "?since="+position.Position, func(name string, data []byte) {
		now := time.Now()
		var told struct {
			Agents []struct {
				LastError string `json:"last_error"`
			}
		}
		if name != "agents" {
			return
		}
		if err := json.Unmarshal(data, &told); err != nil {
			p.b.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, a := range told.Agents {
			if _, again := p.shown[a.LastError]; !again {
				p.shown[a.LastError] = now
			}
		}
	})
}

// browse does what an overview does in a browser: fetch itself when something changed, and rest five times as long as
// that took.
func (p *people) browse(ctx context.Context) {
	var rested time.Time
	p.stream(ctx, "?view=version", func(string, []byte) {
		if time.Now().Before(rested) {
			return
		}
		began := time.Now()
		resp, err := p.ask(ctx, "/")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if err != nil {
			if ctx.Err() == nil {
				p.b.Error(err)
			}
			return
		}
		took := time.Since(began)
		rested = time.Now().Add(max(time.Second, 5*took))
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pages = append(p.pages, took)
	})
}

// read reads what the API answers.
func (p *people) read(ctx context.Context, path string, into any) error {
	resp, err := p.ask(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return err
}

// requireFailing asserts that as many agents are told to fail as do.
func requireFailing(b *testing.B, web string, n int) {
	b.Helper()
	p := &people{b: b, web: "http://" + web, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	var list struct{ Total int }
	require.NoError(b, p.read(context.Background(), "/api/v1/agents?q=status:unhealthy&limit=1", &list))
	require.Equal(b, n, list.Total, "agents that are unhealthy, by the API")
}

// awaitShown returns when all these texts were told, and how long each took since then.
func (p *people) awaitShown(since map[string]time.Time) []time.Duration {
	p.b.Helper()
	var took []time.Duration
	require.Eventually(p.b, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		took = took[:0]
		for text, at := range since {
			if shown, ok := p.shown[text]; ok {
				took = append(took, shown.Sub(at))
			}
		}
		return len(took) == len(since)
	}, answerWithin, 100*time.Millisecond, "not every change was told on the stream")
	return sorted(took)
}
