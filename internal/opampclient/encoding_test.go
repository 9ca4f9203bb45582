// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func zipped(t testing.TB, body []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func TestCompressed(t *testing.T) {
	noise := make([]byte, 10_000)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	assert.Nil(t, compressed(bytes.Repeat([]byte("x"), compressFrom-1)), "too small to gain")
	assert.Nil(t, compressed(noise), "would grow")
	text := []byte(strings.Repeat("receivers: {otlp: {}}\n", 100))
	packed := compressed(text)
	assert.Less(t, len(packed), len(text)/5)
	body, err := opampwire.Gunzip(bytes.NewReader(packed), 1<<20)
	require.NoError(t, err)
	assert.Equal(t, text, body)
}

// encodings are how each message was encoded.
func encodings(heard []opamptest.Heard) []string {
	var all []string
	for _, h := range heard {
		all = append(all, h.Header.Get("Content-Encoding"))
	}
	return all
}

func largeConfig() *protobufs.EffectiveConfig {
	return config(strings.Repeat("receivers: {otlp: {}}\n", 1000))
}

func TestLargeReportsAreCompressedOverHTTP(t *testing.T) {
	inBubble(t, "http", func(b *bubble) {
		s := b.serve(opamptest.Script{})
		synctest.Wait()
		b.client.SetEffectiveConfig(largeConfig())
		synctest.Wait()
		b.client.SetHealth(health("StatusStopping"))
		synctest.Wait()
		heard := s.Rest()
		require.Equal(t, []string{"", "gzip", ""}, encodings(heard))
		assert.True(t, proto.Equal(largeConfig(), heard[1].EffectiveConfig))
		t.Logf("a configuration of %d bytes took %d on the wire", proto.Size(largeConfig()), heard[1].Bytes)
	})
}

func TestNothingIsCompressedWhereItMayNot(t *testing.T) {
	for scheme, uncompressed := range map[string]bool{"http": true, "ws": false} {
		inBubble(t, scheme, func(b *bubble) {
			b.client.set.Uncompressed = uncompressed
			b.client.SetEffectiveConfig(largeConfig())
			s := b.serve(opamptest.Script{})
			synctest.Wait()
			heard := s.Rest()
			require.Equal(t, []string{""}, encodings(heard))
			assert.Greater(t, heard[0].Bytes, proto.Size(largeConfig()))
		})
	}
}

func TestServerThatRefusesCompressionGetsNone(t *testing.T) {
	for _, code := range []int{http.StatusUnsupportedMediaType, http.StatusBadRequest} {
		inBubble(t, "http", func(b *bubble) {
			refused := 0
			s := b.serve(opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Content-Encoding") == "" {
					return false
				}
				refused++
				w.WriteHeader(code)
				return true
			}})
			for range 3 {
				synctest.Wait()
				b.client.SetEffectiveConfig(largeConfig())
				synctest.Wait()
				b.client.SetEffectiveConfig(config("receivers: {}"))
			}
			synctest.Wait()
			assert.Equal(t, 1, refused, "it is remembered")
			assert.Len(t, s.Rest(), 7, "and no message is lost by it")
			assert.Equal(t, map[string]int{"ok": 1}, b.seen.now().attempts)
			assert.Empty(t, b.seen.now().ends)
		})
	}
}

func TestReplyIsBoundedWhateverItsEncoding(t *testing.T) {
	ack, err := proto.Marshal(opamptest.Ack(&protobufs.AgentToServer{}))
	require.NoError(t, err)
	size := 256 << 20
	if testing.Short() {
		size = 4 * DefaultMaxReceive
	}
	bomb := zipped(t, make([]byte, size))
	tests := map[string]struct {
		encoding string
		body     []byte
		want     string
	}{
		"plain":                {"", ack, "ok"},
		"identity":             {"identity", ack, "ok"},
		"gzip":                 {"gzip", zipped(t, ack), "ok"},
		"GZIP":                 {"GZIP", zipped(t, ack), "ok"},
		"plain, too large":     {"", make([]byte, DefaultMaxReceive+1), "too_large"},
		"a bomb":               {"gzip", bomb, "too_large"},
		"many small bombs":     {"gzip", bytes.Repeat(zipped(t, make([]byte, 1<<20)), 15), "too_large"},
		"empty members":        {"gzip", bytes.Repeat(zipped(t, nil), 100_000), "malformed"},
		"cut off":              {"gzip", zipped(t, ack)[:12], "malformed"},
		"no gzip at all":       {"gzip", ack, "malformed"},
		"what nobody asked of": {"br", ack, "malformed"},
		"twice":                {"gzip, gzip", zipped(t, zipped(t, ack)), "malformed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, r *http.Request) bool {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", contentType)
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				_, _ = w.Write(tt.body)
				return true
			}})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			results, _ := startOn(t, s.URL("http"), &http.Transport{})
			assert.Equal(t, tt.want, first(t, results))
			runtime.ReadMemStats(&after)
			t.Logf("%d bytes on the wire: %d KiB allocated", len(tt.body), (after.TotalAlloc-before.TotalAlloc)>>10)
		})
	}
}
