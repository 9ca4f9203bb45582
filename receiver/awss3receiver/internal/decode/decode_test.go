// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

var roomy = Limits{ObjectBytes: 1 << 30, DocumentBytes: 1 << 20}

// logsOf are resources with a record each.
func logsOf(bodies ...string) plog.Logs {
	logs := plog.NewLogs()
	for _, body := range bodies {
		logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr(body)
	}
	return logs
}

func asJSON(t testing.TB, logs plog.Logs) []byte {
	t.Helper()
	data, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return data
}

func asProto(t testing.TB, logs plog.Logs) []byte {
	t.Helper()
	data, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return data
}

func bodiesOf(logs plog.Logs) (bodies []string) {
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				bodies = append(bodies, record.Body().AsString())
			}
		}
	}
	return bodies
}

// read decodes logs as the key says.
func read(r io.Reader, key string, limits Limits, extensions ...any) (bodies []string, batches int, err error) {
	codecs := NewCodecs(Logs())
	for _, extension := range extensions {
		codecs.Add(".log", false, extension)
	}
	codec, raw, ok := codecs.For(key)
	if !ok {
		return nil, 0, errors.New("unsupported")
	}
	err = Read(context.Background(), r, key, codec, raw, limits, func(logs plog.Logs) error {
		batches++
		bodies = append(bodies, bodiesOf(logs)...)
		return nil
	})
	return bodies, batches, err
}

func compressed(t testing.TB, suffix string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if suffix == zstdSuffix {
		var err error
		w, err = zstd.NewWriter(&b)
		require.NoError(t, err)
	}
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestEveryFormatAndCompression(t *testing.T) {
	logs := logsOf("a", "b", `c"}]{[\`)
	for format, data := range map[string][]byte{".json": asJSON(t, logs), ".binpb": asProto(t, logs)} {
		for _, suffix := range []string{"", gzipSuffix, zstdSuffix} {
			stored := data
			if suffix != "" {
				stored = compressed(t, suffix, data)
			}
			for _, named := range []string{"", gzipSuffix, zstdSuffix} { // what it is counts, not what it is called
				bodies, batches, err := read(iotest.OneByteReader(bytes.NewReader(stored)), "logs_1"+format+named, roomy)
				require.NoError(t, err, "%s %s %s", format, suffix, named)
				require.Equal(t, []string{"a", "b", `c"}]{[\`}, bodies)
				require.Equal(t, 1, batches)
			}
		}
	}
}

func TestTracesAndMetrics(t *testing.T) {
	traces := ptrace.NewTraces()
	traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("x")
	data, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
	require.NoError(t, err)
	codec, _, _ := NewCodecs(Traces()).For("x.json")
	spans := 0
	require.NoError(t, Read(t.Context(), bytes.NewReader(append(data, data...)), "x.json", codec, false, roomy, func(td ptrace.Traces) error {
		spans += Traces().Count(Traces().Clone(td))
		return nil
	}))
	require.Equal(t, 2, spans)

	metrics := pmetric.NewMetrics()
	metric := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("requests")
	metric.SetEmptyGauge().DataPoints().AppendEmpty()
	data, err = (&pmetric.ProtoMarshaler{}).MarshalMetrics(metrics)
	require.NoError(t, err)
	metricCodec, _, _ := NewCodecs(Metrics()).For("x.binpb")
	points := 0
	require.NoError(t, Read(t.Context(), bytes.NewReader(append(data, data...)), "x.binpb", metricCodec, false, roomy, func(md pmetric.Metrics) error {
		points += Metrics().Count(Metrics().Clone(md))
		return nil
	}))
	require.Equal(t, 2, points)
	require.Equal(t, 1, Logs().Count(Logs().Clone(logsOf("a"))))

	for key, data := range map[string][]byte{"x.binpb": data, "x.json": []byte(`{"resource_metrics":[{}]}`)} {
		_, _, err := read(bytes.NewReader(data), key, roomy)
		require.ErrorIs(t, err, ErrWrongSignal)
		require.ErrorContains(t, err, "metrics")
	}
}

// Documents stand in a row with anything between them that is space, and each is read.
func TestDocuments(t *testing.T) {
	for name, tc := range map[string]struct {
		data string
		want []string
	}{
		"lines":           {`{"resourceLogs":[R1]}` + "\r\n" + `{"resourceLogs":[R2]}` + "\n", []string{"1", "2"}},
		"no space":        {`{"resourceLogs":[R1]}{"resourceLogs":[R2]}`, []string{"1", "2"}},
		"a sequence":      {"\x1e" + `{"resourceLogs":[R1]}` + "\n\x1e" + `{"resourceLogs":[R2]}`, []string{"1", "2"}},
		"a mark":          {"\xef\xbb\xbf" + `{"resourceLogs":[R1]}`, []string{"1"}},
		"pretty":          {"{\n  \"resourceLogs\" : [\n R1 ,\n R2 ]\n}", []string{"1", "2"}},
		"nothing":         {" \n", nil},
		"empty":           {`{}{"resourceLogs":[]}{"resourceLogs":null}`, nil},
		"other members":   {`{"x":{"resourceLogs":[R1]},"y":[1,"]"],"z":-1.5e3,"resourceLogs":[R2],"t":true}`, []string{"2"}},
		"snake case":      {`{"resource_logs":[R1]}`, []string{"1"}},
		"an escaped name": {`{"resource\u004cogs":[R1]}`, []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			data := tc.data
			for _, n := range []string{"1", "2"} {
				data = strings.ReplaceAll(data, "R"+n, `{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"`+n+`"}}]}]}`)
			}
			for _, r := range []io.Reader{strings.NewReader(data), iotest.OneByteReader(strings.NewReader(data)), iotest.DataErrReader(strings.NewReader(data))} {
				bodies, _, err := read(r, "x.json", roomy)
				require.NoError(t, err)
				require.Equal(t, tc.want, bodies)
			}
		})
	}
}

// What is good before something bad is delivered, and what is bad is an error of a known kind.
func TestBadObjects(t *testing.T) {
	good := string(asJSON(t, logsOf("good")))
	proto := string(asProto(t, logsOf("good")))
	deep := strings.Repeat(`{"arrayValue":{"values":[`, 100_000)
	for name, tc := range map[string]struct {
		key, data string
		want      error
		records   int
	}{
		"text":              {"x.json", "hello", ErrUndecodable, 0},
		"after a document":  {"x.json", good + "x", ErrUndecodable, 1},
		"cut":               {"x.json", good + good[:len(good)-3], ErrUndecodable, 1},
		"cut within":        {"x.json", good + good[:20], ErrUndecodable, 1},
		"a list":            {"x.json", `[` + good + `]`, ErrUndecodable, 0},
		"not a list":        {"x.json", good + `{"resourceLogs":{}}`, ErrUndecodable, 1},
		"no comma":          {"x.json", `{"resourceLogs":[{} {}]}`, ErrUndecodable, 0},
		"a number":          {"x.json", `{"resourceLogs":[7]}`, ErrUndecodable, 0},
		"a bad resource":    {"x.json", `{"resourceLogs":[` + good[len(`{"resourceLogs":[`):len(good)-2] + `,{"scopeLogs":"x"}]}`, ErrUndecodable, 1},
		"other JSON":        {"x.json", `{"Records":[]}`, ErrUndecodable, 0},
		"deep":              {"x.json", `{"resourceLogs":[{"resource":{"attributes":[{"key":"k","value":` + deep, ErrTooLarge, 0},
		"a large document":  {"x.json", good + `{"resourceLogs":[{"schemaUrl":"` + strings.Repeat("x", 1<<20), ErrTooLarge, 1},
		"a large name":      {"x.json", `{"` + strings.Repeat("x", 1<<20), ErrTooLarge, 0},
		"bad gzip":          {"x.json", string(compressed(t, gzipSuffix, []byte(good))[:20]), ErrCompression, 0},
		"bad zstd":          {"x.json", string(compressed(t, zstdSuffix, []byte(good))[:10]) + "x", ErrCompression, 0},
		"text as protobuf":  {"x.binpb", "hello world, this is no protobuf", ErrUndecodable, 0},
		"cut protobuf":      {"x.binpb", proto + proto[:len(proto)-2], ErrUndecodable, 1},
		"a length":          {"x.binpb", proto + "\x0a\xff\xff\xff\xff\x0f", ErrTooLarge, 1},
		"a bad message":     {"x.binpb", proto + "\x0a\x02\x0a\xff", ErrUndecodable, 1},
		"many fields":       {"x.binpb", proto + string(wrap(1, wrap(2, bytes.Repeat([]byte("\x12\x00"), 3_000_000)))), ErrTooLarge, 1},
		"many objects":      {"x.json", good + `{"resourceLogs":[{"scopeLogs":[` + strings.Repeat("{},", 2_000_000), ErrTooLarge, 1},
		"only other fields": {"x.binpb", "\x10\x01", ErrUndecodable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			limits := roomy
			if strings.HasPrefix(name, "many") {
				limits.DocumentBytes = 32 << 20
			}
			bodies, _, err := read(strings.NewReader(tc.data), tc.key, limits)
			require.ErrorIs(t, err, tc.want)
			require.Len(t, bodies, tc.records)
		})
	}
}

// A protobuf message may be as deep as its size allows, and the unmarshaler calls itself for each
// level: a stack that overflows ends the process.
func TestDeepProtobuf(t *testing.T) {
	// Backwards, so that each level is written once: an AnyValue in a list in an AnyValue, and so on.
	var back []byte
	for levels := 0; len(back) < 30<<20; levels++ {
		for _, number := range []byte{1, 5} {
			n := len(back)
			var length []byte
			for ; n >= 0x80; n >>= 7 {
				length = append(length, byte(n)|0x80)
			}
			length = append(length, byte(n))
			slices.Reverse(length)
			back = append(append(back, length...), number<<3|wireBytes)
		}
	}
	slices.Reverse(back)
	message := wrap(1, wrap(2, wrap(2, wrap(5, back))))
	_, _, err := read(bytes.NewReader(message), "x.binpb", Limits{ObjectBytes: 1 << 30, DocumentBytes: 32 << 20})
	require.ErrorIs(t, err, ErrTooLarge)
}

// wrap is a field of bytes.
func wrap(number byte, data []byte) []byte {
	out := []byte{number<<3 | wireBytes}
	n := len(data)
	for n >= 0x80 {
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
	return append(append(out, byte(n)), data...)
}

func TestExpansionIsLimited(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 64 {
		z.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	require.NoError(t, z.Close())
	_, _, err := read(bytes.NewReader(b.Bytes()), "x.json", Limits{ObjectBytes: 8 << 20, DocumentBytes: 1 << 20})
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "limits.object_bytes")
	_, _, err = read(bytes.NewReader(b.Bytes()), "x.json", Limits{ObjectBytes: 64 << 20, DocumentBytes: 1 << 20})
	require.NoError(t, err, "exactly as large as may be")
}

// An error of the way to the object stays one, wherever it strikes.
func TestErrorsOfTheReader(t *testing.T) {
	gone := errors.New("gone")
	for format, data := range map[string][]byte{".json": asJSON(t, logsOf("a")), ".binpb": asProto(t, logsOf("a")), ".log": []byte("text")} {
		for _, stored := range [][]byte{data, compressed(t, gzipSuffix, data), compressed(t, zstdSuffix, data)} {
			for _, at := range []int{0, 1, len(stored) / 2} {
				r := io.MultiReader(bytes.NewReader(stored[:at]), iotest.ErrReader(gone))
				_, _, err := read(r, "x"+format, roomy, streaming{})
				require.ErrorIs(t, err, gone, "%s at %d", format, at)
			}
		}
	}
}

// A large object is many batches, all of its records in order.
func TestBatches(t *testing.T) {
	var want []string
	var data, proto bytes.Buffer
	for i := range 3000 {
		body := fmt.Sprint(i, strings.Repeat("x", 1000))
		want = append(want, body)
		data.Write(asJSON(t, logsOf(body)))
		proto.Write(asProto(t, logsOf(body)))
	}
	for key, data := range map[string][]byte{"x.json": data.Bytes(), "x.binpb": proto.Bytes()} {
		bodies, batches, err := read(bytes.NewReader(data), key, roomy)
		require.NoError(t, err)
		require.Equal(t, want, bodies)
		require.Equal(t, len(data)/batchBytes+1, batches)
	}
}

func TestYieldEndsIt(t *testing.T) {
	enough := errors.New("enough")
	codec, _, _ := NewCodecs(Logs()).For("x.json")
	err := Read(t.Context(), bytes.NewReader(asJSON(t, logsOf("a"))), "x.json", codec, false, roomy, func(plog.Logs) error { return enough })
	require.ErrorIs(t, err, enough)
}

// lines is an extension as contrib's are: the types of its options and of its decoder are its own.
type (
	streaming struct{}
	option    func(*int)
	decoder   interface {
		DecodeLogs() (plog.Logs, error)
		Offset() int64
	}
	lineDecoder struct {
		r   io.Reader
		err error
	}
)

func (streaming) NewLogsDecoder(r io.Reader, _ ...option) (decoder, error) {
	return &lineDecoder{r: r}, nil
}

func (*lineDecoder) Offset() int64 { return 0 }

func (d *lineDecoder) DecodeLogs() (plog.Logs, error) {
	if d.err != nil {
		return plog.Logs{}, errors.New("in its own words: " + d.err.Error())
	}
	var line []byte
	one := make([]byte, 1)
	for {
		n, err := d.r.Read(one)
		if n > 0 && one[0] != '\n' {
			line = append(line, one[0])
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return plog.Logs{}, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return plog.Logs{}, errors.New("in its own words: " + err.Error())
		case string(line) == "bad":
			return plog.Logs{}, errors.New("bad line")
		case err != nil || one[0] == '\n':
			return logsOf(string(line)), nil
		}
	}
}

// whole is an extension that wants an object in one piece.
type whole struct{}

func (whole) UnmarshalLogs(data []byte) (plog.Logs, error) {
	if string(data) == "bad" {
		return plog.Logs{}, errors.New("bad text")
	}
	return logsOf(string(data)), nil
}

func TestExtensions(t *testing.T) {
	for _, key := range []string{"a.log", "a.log.gz"} {
		data := []byte("one\ntwo")
		if strings.HasSuffix(key, gzipSuffix) {
			data = compressed(t, gzipSuffix, data)
		}
		bodies, batches, err := read(bytes.NewReader(data), key, roomy, streaming{}, whole{})
		require.NoError(t, err)
		require.Equal(t, []string{"one", "two"}, bodies, "the first that was added")
		require.Equal(t, 2, batches)
		bodies, _, err = read(bytes.NewReader(data), key, roomy, whole{})
		require.NoError(t, err)
		require.Equal(t, []string{"one\ntwo"}, bodies)
	}
	bodies, _, err := read(strings.NewReader("one\nbad\n"), "a.log", roomy, streaming{})
	require.ErrorIs(t, err, ErrUndecodable)
	require.Equal(t, []string{"one"}, bodies)
	_, _, err = read(strings.NewReader("bad"), "a.log", roomy, whole{})
	require.ErrorIs(t, err, ErrUndecodable)
	_, _, err = read(strings.NewReader(strings.Repeat("x", 1<<20+1)), "a.log", roomy, whole{})
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "limits.document_bytes")
}

func TestChoosingACodec(t *testing.T) {
	codecs := NewCodecs(Logs())
	require.False(t, codecs.Add(".x", false, struct{}{}), "of nothing")
	require.False(t, codecs.Add(".x", false, nil))
	require.False(t, NewCodecs(Metrics()).Add(".x", false, whole{}), "of another signal")
	require.True(t, codecs.Add(".log.gz", true, whole{}))
	for key, want := range map[string]string{
		"a.log.gz": ".log.gz", "a.json": "otlp_json", "a.json.zst": "otlp_json", "a.binpb.gz": "otlp_proto", "a.log": "", "a.gz": "", "a/": "",
	} {
		codec, raw, ok := codecs.For(key)
		require.Equal(t, want != "", ok, key)
		if ok {
			require.Equal(t, want, codec.Format())
			require.Equal(t, want == ".log.gz", raw)
		}
	}
	require.True(t, codecs.Add("", false, whole{}))
	_, _, ok := codecs.For("anything")
	require.True(t, ok, "an empty suffix is all")

	stored := compressed(t, gzipSuffix, []byte("text"))
	codec, raw, _ := codecs.For("a.log.gz")
	var got string
	require.NoError(t, Read(t.Context(), bytes.NewReader(stored), "a.log.gz", codec, raw, roomy, func(logs plog.Logs) error {
		got = bodiesOf(logs)[0]
		return nil
	}))
	require.Equal(t, string(stored), got, "as it is stored")
}

func FuzzDecode(f *testing.F) {
	f.Add("x.json", []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}`))
	f.Add("x.binpb", []byte("\x0a\x02\x0a\x00"))
	f.Add("x.json.gz", compressed(f, gzipSuffix, []byte(`{}`)))
	f.Add("x.json.zst", compressed(f, zstdSuffix, []byte(`{}`)))
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		small := Limits{ObjectBytes: 1 << 20, DocumentBytes: 1 << 16}
		whole, _, wholeErr := read(bytes.NewReader(data), key, small)
		// However the bytes come, the same is read.
		random := rand.New(rand.NewPCG(1, uint64(len(data))))
		pieces, _, piecesErr := read(readerFunc(func(p []byte) (int, error) {
			n := min(len(p), len(data), 1+random.IntN(16))
			copy(p, data[:n])
			data = data[n:]
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		}), key, small)
		require.Equal(t, whole, pieces)
		require.Equal(t, wholeErr == nil, piecesErr == nil, "%v %v", wholeErr, piecesErr)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A little that grows to much must not hold a shutdown up.
func TestWhoIsStoppedReadsNoMore(t *testing.T) {
	var stored bytes.Buffer
	z, err := zstd.NewWriter(&stored)
	require.NoError(t, err)
	_, err = z.Write(bytes.Repeat([]byte(" "), 16<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	codec, raw, _ := NewCodecs(Logs()).For("x.json.zst")
	err = Read(ctx, &stored, "x.json.zst", codec, raw, roomy, func(plog.Logs) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
}
