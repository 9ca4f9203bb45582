// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/decode"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
)

// transport is what the Collector's own telemetry calls the way in.
const transport = "s3"

// output is the pipeline of one signal.
type output struct {
	signal string
	// open makes what takes objects there.
	open func(opening) (ingest.Ingester, error)
}

// opening is what an output needs of the receiver once it starts.
type opening struct {
	cfg        *Config
	set        receiver.Settings
	extensions map[component.ID]component.Component
	fetcher    *fetch.Fetcher
	observer   ingest.Observer
}

// pipeline is the output of a kind of telemetry.
func pipeline[T any](kind decode.Kind[T], consume func(context.Context, T) error, capabilities consumer.Capabilities) output {
	return output{signal: kind.Signal, open: func(o opening) (ingest.Ingester, error) {
		codecs, err := codecsOf(kind, o)
		if err != nil {
			return nil, err
		}
		began, ended, err := reports(kind.Signal, o.set)
		if err != nil {
			return nil, err
		}
		return ingest.New(ingest.Settings[T]{
			Kind:       kind,
			Codecs:     codecs,
			Fetcher:    o.fetcher,
			Limits:     decode.Limits{ObjectBytes: o.cfg.Limits.ObjectBytes, DocumentBytes: o.cfg.Limits.DocumentBytes},
			Retry:      o.cfg.RetryOnFailure,
			Consume:    consume,
			Mutates:    capabilities.MutatesData,
			Began:      began,
			Ended:      ended,
			SkipTagged: o.cfg.S3Downloader.SkipIngestingTaggedObjects,
			GoOn:       o.cfg.OnError == onErrorSkip,
			Observer:   o.observer,
		}), nil
	}}
}

// codecsOf finds the encoding extensions. One that does not know the signal is left out, as another
// pipeline of the same receiver may be the one that it is for.
func codecsOf[T any](kind decode.Kind[T], o opening) (*decode.Codecs[T], error) {
	codecs := decode.NewCodecs(kind)
	for _, encoding := range o.cfg.Encodings {
		extension, found := o.extensions[encoding.Extension]
		if !found {
			return nil, fmt.Errorf("extension %q not found", encoding.Extension)
		}
		if !codecs.Add(encoding.Suffix, encoding.Raw, extension) {
			o.set.Logger.Warn("An encoding extension does not read this signal; files of its suffix are read as what else their name says, or not at all",
				zap.Stringer("extension", encoding.Extension), zap.String("suffix", encoding.Suffix), zap.String("signal", kind.Signal))
		}
	}
	return codecs, nil
}

// reports are the Collector's own telemetry of a receiver: one operation each time records are
// offered.
func reports(signal string, set receiver.Settings) (
	began func(context.Context) context.Context, ended func(context.Context, string, int, error), err error,
) {
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: transport, LongLivedCtx: true, ReceiverCreateSettings: set,
	})
	switch {
	case err != nil:
		return nil, nil, err
	case signal == "traces":
		return report.StartTracesOp, report.EndTracesOp, nil
	case signal == "metrics":
		return report.StartMetricsOp, report.EndMetricsOp, nil
	}
	return report.StartLogsOp, report.EndLogsOp, nil
}
