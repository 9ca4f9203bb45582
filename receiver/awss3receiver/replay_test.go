// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-fleetview/fleetview/internal/s3test"
)

// memory is a storage extension without a disk.
type memory struct {
	component.StartFunc
	component.ShutdownFunc

	mu     sync.Mutex
	values map[string][]byte
	fail   func() error
}

var memoryID = component.MustNewID("memory")

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) GetClient(_ context.Context, _ component.Kind, id component.ID, name string) (storage.Client, error) {
	return &memoryClient{memory: m, of: id.String() + "/" + name + "/"}, nil
}

type memoryClient struct {
	storage.Client // what is not used is not there

	memory *memory
	of     string
}

func (c *memoryClient) Get(_ context.Context, key string) ([]byte, error) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	return c.memory.values[c.of+key], nil
}

func (c *memoryClient) Set(_ context.Context, key string, value []byte) error {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	if c.memory.fail != nil {
		if err := c.memory.fail(); err != nil {
			return err
		}
	}
	c.memory.values[c.of+key] = value
	return nil
}

func (*memoryClient) Close(context.Context) error { return nil }

// withMemory has the bench's receivers keep how far they are.
func (b *bench) withMemory(cfg *Config) *memory {
	m := newMemory()
	b.host.extensions[memoryID] = m
	cfg.Storage = &memoryID
	return m
}

// dropped is what the metric counts, by reason.
func (b *bench) dropped(t *testing.T) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	metric, err := b.tel.GetMetric("otelcol_receiver_awss3_objects_dropped")
	if err != nil {
		return counts // there were none
	}
	for _, point := range metric.Data.(metricdata.Sum[int64]).DataPoints {
		reason, _ := point.Attributes.Value("reason")
		counts[reason.AsString()] += point.Value
	}
	return counts
}

// A bad object is named and counted, and does not keep the others from being read.
func TestBadObjectsArePassedOver(t *testing.T) {
	b := newBench(t)
	b.Put(t, key(noon, "1"), document("first"))
	b.Put(t, key(noon, "2"), []byte(`{"resourceSpans":[{}]}`))
	b.Put(t, key(noon, "3"), []byte(`{"resourceLogs":[{]}`))
	b.Put(t, key(noon, "4")+".gz", zipped(t, document("x"))[:30])
	b.Put(t, strings.TrimSuffix(key(noon, "5"), "json")+"parquet", []byte("PAR1"))
	b.Put(t, key(noon, "6"), document("last"))
	b.run(t, b.config())
	require.Equal(t, []string{"first", "last"}, b.taken())
	require.Equal(t, map[string]int64{"wrong_signal": 1, "decode_failed": 1, "decompress_failed": 1, "unsupported_format": 1}, b.dropped(t))
	lines := b.logs.FilterMessage("An object is not delivered, or not in whole").All()
	require.Len(t, lines, 4)
	require.Equal(t, key(noon, "2"), lines[0].ContextMap()["key"])
	require.Equal(t, "wrong_signal", lines[0].ContextMap()["reason"])
	summary := b.logs.FilterMessage("Reading is complete").All()[0].ContextMap()
	require.EqualValues(t, 2, summary["delivered_objects"])
	require.EqualValues(t, 3, summary["failed_objects"])
	require.EqualValues(t, 1, summary["skipped_objects"])
}

// Each time it begins anew it stops at the same object, until that is mended, and loses nothing.
func TestOnErrorFail(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	cfg.OnError = "fail"
	b.withMemory(cfg)
	b.Put(t, key(noon, "1"), document("first"))
	b.Put(t, key(noon, "2"), []byte(`{"resourceLogs":7}`))
	b.Put(t, key(noon, "3"), document("last"))
	for range 2 {
		b.run(t, cfg)
		require.Equal(t, []string{"first"}, b.taken())
		require.Equal(t, componentstatus.StatusPermanentError, b.host.statuses()[len(b.host.statuses())-1])
	}
	b.host.mu.Lock()
	err := b.host.events[0].Err()
	b.host.mu.Unlock()
	require.ErrorContains(t, err, key(noon, "2"))
	require.ErrorContains(t, err, "on_error is fail")
	b.Put(t, key(noon, "2"), document("mended"))
	b.run(t, cfg)
	require.Equal(t, []string{"first", "mended", "last"}, b.taken())
}

func TestAPermanentRefusalIsCounted(t *testing.T) {
	b := newBench(t)
	b.fill(t, noon, 3, 1)
	n := 0
	b.refuse = func() error {
		if n++; n == 2 {
			return consumererror.NewPermanent(fmt.Errorf("too large"))
		}
		return nil
	}
	b.run(t, b.config())
	require.Equal(t, []string{"0000/0", "0002/0"}, b.taken())
	require.Equal(t, map[string]int64{"refused": 1}, b.dropped(t))
}

// What cannot mend itself is shown with the key to look at, and the Collector runs on.
func TestTheBucketIsLookedAt(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   string
	}{
		"not there":     {http.StatusNotFound, nil, "NoSuchBucket", `bucket "bucket" does not exist at http://127.0.0.1`},
		"not allowed":   {http.StatusForbidden, nil, "AccessDenied", `these credentials need s3:ListBucket`},
		"other region":  {http.StatusMovedPermanently, map[string]string{"X-Amz-Bucket-Region": "eu-west-1"}, "PermanentRedirect", `is in region eu-west-1, not in us-east-1: set s3downloader.region`},
		"wrong service": {http.StatusBadRequest, nil, "InvalidRequest", `check s3downloader.region, s3downloader.endpoint and s3downloader.s3_force_path_style`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.fill(t, noon, 1, 1)
			b.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
				for name, value := range tc.header {
					w.Header().Set(name, value)
				}
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(tc.status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", tc.body)
				return true
			})
			b.run(t, b.config())
			require.Equal(t, []componentstatus.Status{componentstatus.StatusPermanentError}, b.host.statuses())
			require.ErrorContains(t, b.host.events[0].Err(), tc.want)
			require.Equal(t, 1, b.logs.FilterMessage("Nothing more is read").Len())
		})
	}
}

// A store that is away when the Collector starts is waited for.
func TestTheStoreMayComeLater(t *testing.T) {
	b := newBench(t)
	want := b.fill(t, noon, 2, 1)
	left := 5
	b.Fail(func(*http.Request) s3test.Fault {
		if left--; left >= 0 {
			return s3test.Reset
		}
		return s3test.NoFault
	})
	b.run(t, b.config())
	require.Equal(t, want, b.taken())
	require.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}, b.host.statuses())
}

// A permission that is missing for all objects passes none of them over.
func TestObjectsThatMayNotBeRead(t *testing.T) {
	b := newBench(t)
	want := b.fill(t, noon, 30, 1)
	denied := func(w http.ResponseWriter, r *http.Request) bool {
		if !s3test.IsGet(r) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>AccessDenied</Code></Error>")
		return true
	}
	b.Answer(denied)
	cfg := b.config()
	b.withMemory(cfg)
	b.run(t, cfg)
	require.Equal(t, []componentstatus.Status{componentstatus.StatusPermanentError}, b.host.statuses())
	require.ErrorContains(t, b.host.events[0].Err(), "these credentials need s3:GetObject")
	b.Answer(nil)
	b.run(t, cfg)
	require.Equal(t, want, b.taken())
}

func TestAFilterChoosesKeys(t *testing.T) {
	b := newBench(t)
	b.fill(t, noon, 3, 3)
	cfg := b.config()
	cfg.S3Downloader.Include, cfg.S3Downloader.Exclude = []string{"**/minute=0[12]/**"}, []string{"**2.json"}
	b.run(t, cfg)
	require.Equal(t, []string{"0001/0", "0001/1", "0002/0", "0002/1"}, b.taken())
}

// Keys whose order is not that of time take several listings, and come in the order of time.
func TestAnyPartitionFormat(t *testing.T) {
	for _, byPartition := range []bool{false, true} {
		for _, format := range []string{"%d/%m/%Y/%H/%M", "%M/%H/%d-%m", "%F/%H/%M", "%H%M"} {
			t.Run(fmt.Sprint(format, byPartition), func(t *testing.T) {
				b := newBench(t)
				cfg := b.config()
				cfg.S3Downloader.S3PartitionFormat = format
				cfg.S3Downloader.S3Prefix = "raw"
				cfg.S3Downloader.ListByPartition = byPartition
				cfg.EndTime = noon.Add(26 * time.Hour).Format(time.RFC3339)
				layout := cfg.S3Downloader
				f, err := parse(layout.S3PartitionFormat)
				require.NoError(t, err)
				var want []string
				for m := 0; m < 26*60; m += 7 {
					at := noon.Add(time.Duration(m) * time.Minute)
					body := fmt.Sprintf("%04d", m)
					b.Put(t, "raw/"+f(at)+"/logs_"+body+".json", document(body))
					if format != "%H%M" || m < 24*60 {
						want = append(want, body)
						continue
					}
					// The format does not tell the days apart: the object of the second is read with the
					// partition of the first.
					first := slices.Index(want, fmt.Sprintf("%04d", m-24*60))
					if first >= 0 {
						want = slices.Insert(want, first+1, body)
					} else {
						earlier, _ := slices.BinarySearchFunc(want, m-24*60, func(body string, m int) int {
							var of int
							fmt.Sscanf(body, "%d", &of)
							return of%(24*60) - m
						})
						want = slices.Insert(want, earlier, body)
					}
				}
				b.run(t, cfg)
				require.Equal(t, want, b.taken())
			})
		}
	}
}

func parse(layout string) (func(time.Time) string, error) {
	cfg := S3DownloaderConfig{S3PartitionFormat: layout}
	f, err := cfg.format()
	return func(at time.Time) string { return f.At(at.UTC()) }, err
}

// What the exporter writes is read whatever slashes the prefix has, and what was written with them as
// they are is read too.
func TestSlashesOfThePrefix(t *testing.T) {
	for prefix, clean := range map[string]string{"": "", "raw": "raw/", "raw/": "raw/", "a//b": "a/b/"} {
		t.Run(prefix, func(t *testing.T) {
			b := newBench(t)
			cfg := b.config()
			cfg.S3Downloader.S3Prefix = prefix
			b.Put(t, clean+key(noon, "1"), document("clean"))
			want := []string{"clean"}
			if strings.HasSuffix(prefix, "/") {
				b.Put(t, prefix+"/"+key(noon, "1"), document("literal"))
				want = append(want, "literal")
			}
			b.run(t, cfg)
			require.Equal(t, want, b.taken())
			require.Equal(t, len(want)-1, b.logs.FilterMessageSnippet("have the slashes of s3downloader.s3_prefix").Len())
		})
	}
}

// Tags that an object has stay, and what is not delivered gets none.
func TestTags(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	cfg.S3Downloader.TagObjectAfterIngestion = true
	cfg.S3Downloader.SkipIngestingTaggedObjects = true
	b.Put(t, key(noon, "1"), document("a"))
	b.Put(t, key(noon, "2"), []byte("not JSON"))
	b.Put(t, strings.TrimSuffix(key(noon, "3"), "json")+"txt", []byte("text"))
	b.SetTags(key(noon, "1"), "team", "shop")
	b.run(t, cfg)
	require.Equal(t, map[string]string{"team": "shop", "otel-collector:status": "ingested"}, b.TagsOf(key(noon, "1")))
	require.Empty(t, b.TagsOf(key(noon, "2")))
	require.Empty(t, b.TagsOf(strings.TrimSuffix(key(noon, "3"), "json")+"txt"))

	b.run(t, cfg)
	require.Equal(t, []string{"a"}, b.taken(), "it is not read a second time")
	require.EqualValues(t, 1, b.dropped(t)["tagged"])
}

// It begins anew after the last object that was taken, with two listings.
func TestItGoesOnWhereItWas(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	b.withMemory(cfg)
	want := b.fill(t, noon, 60, 2)
	stop := make(chan struct{})
	b.refuse = func() error {
		if len(b.bodies) == 57 {
			select {
			case stop <- struct{}{}:
			default:
			}
			return fmt.Errorf("not now")
		}
		return nil
	}
	r := b.start(t, cfg)
	<-stop
	require.NoError(t, r.Shutdown(t.Context()))
	require.Equal(t, want[:57], b.taken())

	b.refuse = nil
	lists := b.Lists()
	b.run(t, cfg)
	require.Equal(t, want, b.taken())
	require.Equal(t, 2, b.Lists()-lists)

	b.run(t, cfg)
	require.Len(t, b.taken(), len(want), "a range that is read is not read again")
	cfg.EndTime = noon.Add(2 * time.Hour).Format(time.RFC3339)
	more := b.fill(t, noon.Add(time.Hour), 60, 1)
	b.run(t, cfg)
	require.Equal(t, append(want, more...), b.taken(), "one that is made longer goes on")
	cfg.StartTime = noon.Add(119 * time.Minute).Format(time.RFC3339)
	b.run(t, cfg)
	require.Len(t, b.taken(), len(want)+len(more)+1, "one that starts elsewhere is another")
}

// A storage that fails is shown, and nothing waits for it.
func TestAStorageThatFails(t *testing.T) {
	b := newBench(t)
	cfg := b.config()
	m := b.withMemory(cfg)
	want := b.fill(t, noon, 10, 1)
	m.fail = func() error {
		if len(b.taken()) < len(want) { // a count of tries would depend on how fast they are: who fails is left alone for a while
			return fmt.Errorf("disk is full")
		}
		return nil
	}
	b.run(t, cfg)
	require.Equal(t, want, b.taken())
	require.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}, b.host.statuses())

	for name := range m.values {
		m.values[name] = []byte("garbage")
	}
	b.run(t, cfg)
	require.Equal(t, componentstatus.StatusPermanentError, b.host.statuses()[2])
}

func TestExtensionsThatAreNotThere(t *testing.T) {
	b := newBench(t)
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"storage":       {func(c *Config) { c.Storage = &memoryID }, `storage: extension "memory" does not exist`},
		"notifications": {func(c *Config) { c.Notifications.OpAMPExtension = &memoryID }, `extension "memory" does not exist`},
		"encodings":     {func(c *Config) { c.Encodings = []Encoding{{Extension: memoryID, Suffix: "x"}} }, `extension "memory" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := b.config()
			tc.change(cfg)
			made, err := NewFactory().CreateLogs(t.Context(), b.settings(), cfg, consumertest.NewNop())
			require.NoError(t, err)
			require.ErrorContains(t, made.Start(t.Context(), b.host), tc.want)
		})
	}
	b.host.extensions[memoryID] = newMemory()
	cfg := b.config()
	cfg.Notifications.OpAMPExtension = &memoryID
	made, err := NewFactory().CreateLogs(t.Context(), b.settings(), cfg, consumertest.NewNop())
	require.NoError(t, err)
	require.ErrorContains(t, made.Start(t.Context(), b.host), `extension "memory" is not a custom message registry`)
}

// What is stored later is read later, and none of it twice; a checkpoint goes on.
func TestFollow(t *testing.T) {
	b := newBench(t)
	now := time.Now().UTC().Truncate(time.Second)
	cfg := b.config()
	cfg.EndTime = ""
	cfg.Follow, cfg.SettleDelay, cfg.PollInterval = true, 0, time.Second
	cfg.S3Downloader.S3PartitionFormat = "%Y/%m/%d/%H/%M/%S"
	cfg.StartTime = now.Add(-time.Minute).Format(time.RFC3339)
	b.withMemory(cfg)
	second := func(at time.Time) string { return at.UTC().Format("2006/01/02/15/04/05") + "/logs_1.json" }
	b.Put(t, second(now.Add(-40*time.Second)), document("before"))
	r := b.start(t, cfg)
	b.wait(t, 1)
	b.Put(t, second(time.Now().Add(4*time.Second)), document("later")) // there before its second is read
	b.wait(t, 2)
	require.NoError(t, r.Shutdown(t.Context()))
	b.Put(t, second(time.Now().Add(time.Second)), document("after a restart"))
	b.start(t, cfg)
	b.wait(t, 3)
	require.Equal(t, []string{"before", "later", "after a restart"}, b.taken())
	lag, err := b.tel.GetMetric("otelcol_receiver_awss3_lag")
	require.NoError(t, err)
	require.Len(t, lag.Data.(metricdata.Gauge[float64]).DataPoints, 1)
}
