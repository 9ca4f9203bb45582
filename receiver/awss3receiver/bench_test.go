// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-fleetview/fleetview/internal/s3test"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// A day of minute partitions at 25 ms a request, with few objects and with many: this receiver beside
// one that asks for one thing after the other.
func BenchmarkReplay(b *testing.B) {
	for _, day := range []struct {
		name    string
		objects int
	}{{"sparse", 288}, {"dense", 4320}} {
		b.Run(day.name, func(b *testing.B) {
			for range b.N {
				benchmarkDay(b, day.objects)
			}
		})
	}
}

func benchmarkDay(b *testing.B, objects int) {
	b.Helper()
	day := 24 * time.Hour
	if testing.Short() { // only so much that the benchmark is run
		day, objects = day/24, objects/24
	}
	rig := newBench(b)
	random := rand.New(rand.NewPCG(7, 8))
	for i := range objects {
		at := noon.Add(day * time.Duration(i) / time.Duration(objects))
		rig.Put(b, key(at, fmt.Sprintf("%09d", i))+".gz", zippedRecords(b, random, i, 50))
	}
	rig.Delay(25 * time.Millisecond)
	cfg := rig.config()
	cfg.EndTime = noon.Add(day).Format(time.RFC3339)

	began, lists := time.Now(), rig.Lists()
	rig.run(b, cfg)
	ours, ourLists := time.Since(began), rig.Lists()-lists
	got := rig.taken()

	began, lists = time.Now(), rig.Lists()
	rig.mu.Lock()
	rig.bodies = nil
	rig.mu.Unlock()
	oneAtATime(b, rig, int(day.Minutes()))
	theirs, theirLists := time.Since(began), rig.Lists()-lists
	require.Equal(b, rig.taken(), got, "the same records in the same order")

	b.ReportMetric(ours.Seconds(), "s")
	b.ReportMetric(float64(ourLists), "LISTs")
	b.ReportMetric(theirs.Seconds(), "one-at-a-time-s")
	b.ReportMetric(float64(theirLists), "one-at-a-time-LISTs")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-as-fast")
	b.ReportMetric(0, "ns/op")
}

// zippedRecords is an object of about 25 KB, as stored.
func zippedRecords(tb testing.TB, random *rand.Rand, object, records int) []byte {
	tb.Helper()
	bodies := make([]string, records)
	raw := make([]byte, 400)
	for i := range bodies {
		for j := range raw {
			raw[j] = byte(random.Uint32())
		}
		bodies[i] = fmt.Sprintf("%d/%d/%s", object, i, hex.EncodeToString(raw))
	}
	return zipped(tb, document(bodies...))
}

// oneAtATime lists each minute, and reads one object after the other in whole: what such a receiver
// does without anything ahead.
func oneAtATime(b *testing.B, rig *bench, minutes int) {
	b.Helper()
	api, err := store.NewS3(b.Context(), store.Settings{Region: "us-east-1", Endpoint: rig.URL, PathStyle: true, RetryMaxAttempts: 3, RetryMaxBackoff: time.Second})
	require.NoError(b, err)
	defer api.Close()
	for minute := range minutes {
		prefix := strings.TrimSuffix(key(noon.Add(time.Duration(minute)*time.Minute), ""), ".json")
		page, err := api.ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: &rig.Bucket, Prefix: &prefix})
		require.NoError(b, err)
		for _, object := range page.Contents {
			out, err := api.GetObject(b.Context(), &s3.GetObjectInput{Bucket: &rig.Bucket, Key: object.Key})
			require.NoError(b, err)
			stored, err := io.ReadAll(out.Body)
			require.NoError(b, err)
			require.NoError(b, out.Body.Close())
			z, err := gzip.NewReader(bytes.NewReader(stored))
			require.NoError(b, err)
			plain, err := io.ReadAll(z)
			require.NoError(b, err)
			logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(plain)
			require.NoError(b, err, aws.ToString(object.Key))
			require.NoError(b, rig.take(b.Context(), logs))
		}
	}
}

const (
	measuredStore  = "FLEETVIEW_TEST_MEASURED_STORE"
	measuredSignal = "peak"
)

// TestMeasured is a process of its own whose memory a benchmark looks at: a receiver and a pipeline
// that keeps nothing. Run by itself it has nothing to do.
func TestMeasured(t *testing.T) {
	url := os.Getenv(measuredStore)
	if url == "" {
		return
	}
	b := &bench{Server: &s3test.Server{Bucket: "bucket", URL: url}}
	cfg := b.config()
	records := 0
	next, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
		records += logs.LogRecordCount()
		return nil
	})
	require.NoError(t, err)
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	made, err := NewFactory().CreateLogs(t.Context(), set, cfg, next)
	require.NoError(t, err)
	require.NoError(t, made.Start(t.Context(), newHost()))
	made.(*s3Receiver).running.Wait()
	require.NoError(t, made.Shutdown(t.Context()))
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, peak)
	fmt.Println(measuredSignal, records, string(peak[1]))
}

// The memory of a process that reads an object of 1 GiB, and what it holds when it is stored.
func BenchmarkLargeObject(b *testing.B) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		b.Fatal("this measures with /proc, which Linux has: ", err)
	}
	for name, make := range map[string]func(io.Writer, int) (documents int){"NDJSON": manyDocuments, "one document": oneDocument} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				s3test.Credentials(b)
				server := s3test.New(b, "bucket")
				var stored bytes.Buffer
				z, err := gzip.NewWriterLevel(&stored, gzip.BestSpeed)
				require.NoError(b, err)
				mib := 1 << 10
				if testing.Short() {
					mib = 1 << 5
				}
				want := make(z, mib<<20)
				require.NoError(b, z.Close())
				server.Put(b, key(noon, "1")+".gz", stored.Bytes())
				size := stored.Len()
				stored = bytes.Buffer{}

				began := time.Now()
				cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestMeasured$")
				cmd.Env = append(os.Environ(), measuredStore+"="+server.URL)
				out, err := cmd.Output()
				require.NoError(b, err, string(out))
				line := regexp.MustCompile(measuredSignal + ` (\d+) (\d+)`).FindSubmatch(out)
				require.NotNil(b, line, string(out))
				records, err := strconv.Atoi(string(line[1]))
				require.NoError(b, err)
				peak, err := strconv.Atoi(string(line[2]))
				require.NoError(b, err)
				require.Equal(b, want, records)
				b.ReportMetric(float64(peak)/1024, "MiB-peak-RSS")
				b.ReportMetric(float64(size)/(1<<20), "MiB-stored")
				b.ReportMetric(float64(mib)/time.Since(began).Seconds(), "MiB/s")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// resource is a record in a resource of its own, about a kilobyte.
func resource(i int) string {
	return fmt.Sprintf(`{"scopeLogs":[{"logRecords":[{"timeUnixNano":"170670240%d","body":{"stringValue":"%08d %s"}}]}]}`,
		1_000_000_000+i, i, strings.Repeat(strconv.FormatInt(int64(i)*2654435761, 36)+" ", 80))
}

func manyDocuments(w io.Writer, size int) (documents int) {
	for size > 0 {
		n, _ := io.WriteString(w, `{"resourceLogs":[`+resource(documents)+"]}\n")
		size -= n
		documents++
	}
	return documents
}

func oneDocument(w io.Writer, size int) (records int) {
	io.WriteString(w, `{"resourceLogs":[`)
	for ; size > 0; records++ {
		if records > 0 {
			io.WriteString(w, ",")
		}
		n, _ := io.WriteString(w, resource(records))
		size -= n
	}
	io.WriteString(w, `]}`)
	return records
}
