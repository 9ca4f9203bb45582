// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-fleetview/fleetview/internal/s3test"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
)

// Variables by which a test tells the process that it kills what to do.
const (
	killedStore   = "FLEETVIEW_TEST_KILLED_STORE"
	killedStorage = "FLEETVIEW_TEST_KILLED_STORAGE"
	// allRead is the line that the process ends with if nobody kills it.
	allRead = "all read"
)

// TestKilled is the process: a receiver, a file_storage, and a pipeline that writes each record to
// standard output before it takes it. Run by itself it has nothing to do.
func TestKilled(t *testing.T) {
	url := os.Getenv(killedStore)
	if url == "" {
		return
	}
	h := newHost()
	id := component.MustNewID("file_storage")
	h.extensions[id] = newFileStorage(t, os.Getenv(killedStorage))
	b := &bench{Server: &s3test.Server{Bucket: "bucket", URL: url}}
	cfg := b.config()
	cfg.Storage = &id
	next, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
		var lines strings.Builder
		for _, resource := range logs.ResourceLogs().All() {
			for _, record := range resource.ScopeLogs().At(0).LogRecords().All() {
				fmt.Fprintln(&lines, record.Body().AsString())
			}
		}
		_, err := os.Stdout.WriteString(lines.String())
		return err
	})
	require.NoError(t, err)
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	made, err := NewFactory().CreateLogs(t.Context(), set, cfg, next)
	require.NoError(t, err)
	require.NoError(t, made.Start(t.Context(), h))
	made.(*s3Receiver).running.Wait()
	require.NoError(t, made.Shutdown(t.Context()))
	fmt.Println(allRead)
}

func newFileStorage(t *testing.T, directory string) extension.Extension {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory = directory
	made, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, made.Start(t.Context(), newHost()))
	t.Cleanup(func() { _ = made.Shutdown(context.Background()) })
	return made
}

// A Collector that is killed fifty times, wherever it happens to be, loses no record, and delivers
// one object again at most each time.
func TestKilledFiftyTimes(t *testing.T) {
	const kills, objects, records = 50, 1200, 3
	s3test.Credentials(t)
	server := s3test.New(t, "bucket")
	for i := range objects {
		var bodies []string
		for r := range records {
			bodies = append(bodies, fmt.Sprintf("%04d/%d", i, r))
		}
		at := noon.Add(time.Duration(i/20) * time.Minute)
		server.Put(t, key(at, fmt.Sprintf("%09d", i)), document(bodies...))
	}
	random := rand.New(rand.NewPCG(5, 6))
	storage := t.TempDir()
	taken := map[string]int{}
	repeated, done := 0, false
	for kill := 0; !done; kill++ {
		after := -1
		if kill < kills {
			after = random.IntN(objects * records / kills / 2)
		}
		lines := runKilled(t, server.URL, storage, after, time.Duration(random.IntN(2000))*time.Microsecond)
		again := map[string]bool{}
		for _, line := range lines {
			if line == allRead {
				done = true
				continue
			}
			if taken[line]++; taken[line] > 1 {
				again[line[:4]] = true
			}
		}
		require.LessOrEqual(t, len(again), 1, "objects that came again after kill %d", kill)
		repeated += len(again)
	}
	require.Len(t, taken, objects*records, "no record is lost")
	t.Logf("%d kills: 0 of %d records lost, %d objects delivered a second time", kills, objects*records, repeated)
}

// runKilled runs the process and kills it a moment after it has written so many records, or not at
// all. It gives what was written.
func runKilled(t *testing.T, url, storage string, after int, moment time.Duration) (lines []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), killedStore+"="+url, killedStorage+"="+storage)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	in := bufio.NewScanner(out)
	for in.Scan() {
		line := in.Text()
		if line != allRead && !strings.Contains(line, "/") {
			continue // of the testing package
		}
		lines = append(lines, line)
		if len(lines) == after+1 && after >= 0 {
			time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // it was killed
	return lines
}
