// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxHeaderBytes bounds the head of a request. Credentials are the largest thing in
// it; net/http's own bound of 1 MiB times the connections there can be is much.
const maxHeaderBytes = 64 << 10

// Front is an open listener and the http.Server behind it.
type Front struct {
	// Fixed by Open, save that Server.Handler may be replaced before Serve.
	Server *http.Server

	key string
	ln  net.Listener
	log *zap.Logger
}

// Settings is what stands behind a listener.
type Settings struct {
	Handler http.Handler
	Refuse  Refuser
	MaxBody int64 // bytes of a request's body as it travels; 0: bodies are not read
}

// Refuser answers a request that an authenticator of confighttp refused.
type Refuser func(w http.ResponseWriter, r *http.Request, text string, status int)

// Open opens l. Requests end when ctx does.
func Open(ctx context.Context, l Listener, host component.Host, set component.TelemetrySettings, fs Settings) (*Front, error) {
	if err := l.ValidateTLS(); err != nil {
		return nil, err // the listener would take it for a fault of the endpoint
	}
	sc := *l.Config // ToServer fills in defaults
	// Nobody but the handler decodes a body: confighttp would read the beginning of a
	// compressed one first, and wait for it as long as the peer likes. Its limit is
	// one byte beyond the handler's, which knows how to refuse.
	sc.CompressionAlgorithms = []string{}
	sc.MaxRequestBodySize = fs.MaxBody + 1
	server, err := sc.ToServer(ctx, host.GetExtensions(), set, fs.Handler, confighttp.WithErrorHandler(fs.Refuse))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Key, err)
	}
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	server.MaxHeaderBytes = maxHeaderBytes
	server.ErrorLog = quiet(set.Logger, l.Key)
	ln, err := sc.ToListener(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s.endpoint: cannot listen on %s: %w", l.Key, sc.NetAddr.Endpoint, err)
	}
	return &Front{key: l.Key, Server: server, ln: ln, log: set.Logger}, nil
}

// quiet is a log for what an http.Server has to say of its peers, such as a TLS
// handshake that failed: one line a minute.
func quiet(logger *zap.Logger, key string) *log.Logger {
	return log.New(complaints{log: OnceAMinute(logger), key: key}, "", 0)
}

// OnceAMinute is a logger that writes each text at most once a minute.
func OnceAMinute(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
	}))
}

type complaints struct {
	log *zap.Logger
	key string
}

func (c complaints) Write(line []byte) (int, error) {
	// The text of the line is the same each time: that is what the sampler goes by.
	c.log.Warn("HTTP server complains of a peer; more of this within a minute is not logged",
		zap.String("listener", c.key), zap.ByteString("complaint", line[:min(len(line), 500)]))
	return len(line), nil
}

// Addr is where it listens: the port too where the user left that open.
func (f *Front) Addr() net.Addr { return f.ln.Addr() }

// Serve accepts until shutdown. That it stopped otherwise is logged, once: an
// extension's host takes no status reports on this version of the Collector.
func (f *Front) Serve() {
	if err := f.Server.Serve(f.ln); !errors.Is(err, http.ErrServerClosed) {
		f.log.Error("listener failed, nobody can connect any more", zap.String("listener", f.key), zap.Error(err))
	}
}

// Shutdown stops accepting, waits for requests until ctx ends and cuts what is left.
// WebSockets are not its concern.
func (f *Front) Shutdown(ctx context.Context) error {
	if err := f.Server.Shutdown(ctx); err != nil {
		return f.Server.Close()
	}
	return nil
}
