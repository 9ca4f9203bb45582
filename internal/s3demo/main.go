// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Command s3demo shows a replay: it fills a bucket of a real object store on this machine with a day
// of telemetry, moves the bucket some distance away, and runs a collector that reads it back. It ends
// with the collector, and ends it on Ctrl-C.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-fleetview/fleetview/internal/localaws"
	"github.com/otel-fleetview/fleetview/internal/s3sample"
)

const (
	// The bucket and the folder of testdata/demo-s3.yaml.
	bucketName = "telemetry"
	folder     = "shop"
	// endpointVariable is where the configuration takes the store's address from.
	endpointVariable = "DEMO_S3_ENDPOINT"
	// recordsPerObject is what one minute of one signal holds.
	recordsPerObject = 10
	// writers fill the bucket side by side.
	writers = 16
	// endLimit is how long the collector may take to end.
	endLimit = 20 * time.Second
)

// day is the one that testdata/demo-s3.yaml replays.
var day = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

type options struct {
	tools, collector, config string
	minutes                  int
	distance                 time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.tools, "tools", ".tools", "folder that make localaws installs into")
	flag.StringVar(&o.collector, "collector", "bin/otelcol-fleetview", "the collector")
	flag.StringVar(&o.config, "config", "testdata/demo-s3.yaml", "its configuration")
	flag.IntVar(&o.minutes, "minutes", 24*60, "how much of the day the bucket holds")
	flag.DurationVar(&o.distance, "distance", 200*time.Millisecond, "how long a request to the bucket takes")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "demo-s3:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // cancel has been called
	}
}

func run(ctx context.Context, o options) (err error) {
	gateway, err := localaws.StartGateway(ctx, localaws.Gateway{Tools: o.tools})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gateway.Stop()) }()
	if err := fill(ctx, gateway.S3(), o.minutes); err != nil {
		return err
	}
	endpoint, closeWay, err := moveAway(ctx, gateway.URL(), o.distance)
	if err != nil {
		return err
	}
	defer closeWay()
	return replay(ctx, o, endpoint)
}

// fill stores the first minutes of the day.
func fill(ctx context.Context, store *s3.Client, minutes int) error {
	fmt.Printf("Storing %d minutes of traces, metrics and logs in a bucket of this machine...\n", minutes)
	began := time.Now()
	if _, err := store.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucketName)}); err != nil {
		return fmt.Errorf("create the bucket: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, stored atomic.Int64
	var work sync.WaitGroup
	for range writers {
		work.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= minutes*len(s3sample.Signals) {
					return
				}
				n, err := put(ctx, store, s3sample.Signals[i%len(s3sample.Signals)], day.Add(time.Duration(i/len(s3sample.Signals))*time.Minute))
				if err != nil {
					cancel(err)
				}
				stored.Add(int64(n))
			}
		})
	}
	work.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	fmt.Printf("Stored %d objects, %d KiB, in %v.\n", minutes*len(s3sample.Signals), stored.Load()>>10, time.Since(began).Round(time.Second/10))
	return nil
}

func put(ctx context.Context, store *s3.Client, of pipeline.Signal, minute time.Time) (int, error) {
	o, err := s3sample.Make(of, folder, minute, recordsPerObject)
	if err != nil {
		return 0, err
	}
	_, err = store.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucketName),
		Key:    &o.Key,
		Body:   bytes.NewReader(o.Body),
	})
	if err != nil {
		return 0, fmt.Errorf("store %s: %w", o.Key, err)
	}
	return len(o.Body), nil
}

// moveAway makes a way to the store on which each request takes a while, as to a bucket elsewhere.
func moveAway(ctx context.Context, store string, distance time.Duration) (endpoint string, closeWay func(), err error) {
	target, err := url.Parse(store)
	if err != nil {
		return "", nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: writers}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
		r.Out.Host = r.In.Host // it is signed
	}}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(distance):
				proxy.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(ln) }) // ends with Close
	return "http://" + ln.Addr().String(), func() {
		_ = server.Close()
		serving.Wait()
		transport.CloseIdleConnections() // the gateway waits for them when it ends
	}, nil
}

// replay runs the collector until it ends or ctx does.
func replay(ctx context.Context, o options, endpoint string) error {
	fmt.Printf("Replaying it from %v away. Open http://127.0.0.1:4321 and choose the collector to see how far it is. Ctrl-C ends.\n", o.distance)
	cmd := exec.CommandContext(ctx, o.collector, "--config="+o.config)
	cmd.Env = append(append(os.Environ(), localaws.Environment()...), endpointVariable+"="+endpoint)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A Ctrl-C reaches the collector by itself, and a second time does no harm.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endLimit
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", o.collector, err)
	}
	return nil
}
