// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package statusexporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/pprof"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// statuses are those that a running component may report, by the name that an agent sends.
var statuses = byName(
	componentstatus.StatusOK,
	componentstatus.StatusRecoverableError,
	componentstatus.StatusPermanentError,
	componentstatus.StatusStopping,
	componentstatus.StatusStopped,
)

func byName(all ...componentstatus.Status) map[string]componentstatus.Status {
	named := make(map[string]componentstatus.Status, len(all))
	for _, s := range all {
		named[s.String()] = s
	}
	return named
}

type statusExporter struct {
	// Fixed at construction.
	config *Config

	// Fixed at start.
	host   component.Host
	server *http.Server
	served chan struct{} // closed when the server's goroutine has ended
}

func newExporter(config *Config) *statusExporter {
	return &statusExporter{config: config}
}

func (e *statusExporter) Start(ctx context.Context, host component.Host) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.config.Endpoint)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	e.host = host
	e.server = &http.Server{Handler: e.routes(), ReadTimeout: 5 * time.Second}
	e.served = make(chan struct{})
	go func() {
		defer close(e.served)
		_ = e.server.Serve(listener) // always an error, and after Shutdown the expected one
	}()
	return nil
}

func (e *statusExporter) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /status", e.order)
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) {
		_ = pprof.Lookup("goroutine").WriteTo(w, 1) // a client that has gone does not matter
	})
	return mux
}

// order reports the status that the request names. The service takes it in before this returns.
func (e *statusExporter) order(w http.ResponseWriter, r *http.Request) {
	status, ok := statuses[r.FormValue("status")]
	if !ok {
		http.Error(w, "no such status", http.StatusBadRequest)
		return
	}
	var opts []componentstatus.EventBuilderOption
	if text := r.FormValue("error"); text != "" {
		opts = append(opts, componentstatus.WithError(errors.New(text)))
	}
	componentstatus.ReportStatus(e.host, componentstatus.NewEvent(status, opts...))
	w.WriteHeader(http.StatusNoContent)
}

func (e *statusExporter) Shutdown(ctx context.Context) error {
	if e.server == nil {
		return nil // never started
	}
	err := e.server.Shutdown(ctx)
	<-e.served
	return err
}

func (*statusExporter) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (*statusExporter) ConsumeTraces(context.Context, ptrace.Traces) error { return nil }

func (*statusExporter) ConsumeMetrics(context.Context, pmetric.Metrics) error { return nil }

func (*statusExporter) ConsumeLogs(context.Context, plog.Logs) error { return nil }
