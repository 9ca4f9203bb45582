// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configretry"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// shelf is a store with one object, and a say in each answer.
type shelf struct {
	store.API

	mu       sync.Mutex
	data     []byte
	etag     string
	requests []s3.GetObjectInput
	answer   func(request int, out *s3.GetObjectOutput) error
}

func (s *shelf) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, *in)
	data := s.data
	out := &s3.GetObjectOutput{ETag: aws.String(s.etag)}
	if in.Range != nil {
		var from, to int
		if _, err := fmt.Sscanf(*in.Range, "bytes=%d-%d", &from, &to); err != nil {
			return nil, err
		}
		to = min(to+1, len(data))
		out.ContentRange = aws.String(fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)))
		data = data[from:to]
	}
	out.ContentLength = aws.Int64(int64(len(data)))
	out.Body = io.NopCloser(bytes.NewReader(data))
	if s.answer != nil {
		if err := s.answer(len(s.requests), out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type silent struct{}

func (silent) Got(int64, time.Duration) {}
func (silent) Retry(string, error)      {}
func (silent) Recovered(string)         {}

func fetcherOf(s *shelf) *Fetcher {
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval, retry.MaxInterval, retry.MaxElapsedTime = time.Millisecond, time.Millisecond, 0
	return &Fetcher{API: s, Retry: retry, Observer: silent{}, PartBytes: 10}
}

func readAll(t *testing.T, f *Fetcher, size int64) ([]byte, error) {
	t.Helper()
	b, err := f.Open(t.Context(), store.Object{Bucket: "b", Key: "k", Size: size})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

// Objects of any size, of which much, nothing or something wrong is known before.
func TestSizes(t *testing.T) {
	for _, size := range []int{0, 1, 9, 10, 11, 20, 25, 101} {
		want := []byte(strings.Repeat("x", size))
		for i := range want {
			want[i] = byte('a' + i%26)
		}
		for _, told := range []int64{int64(size), store.SizeUnknown, 7, 55} {
			if told != int64(size) && size == 0 && told > 10 {
				continue // there is no range of an empty object, which then has changed
			}
			got, err := readAll(t, fetcherOf(&shelf{data: want, etag: "1"}), told)
			require.NoError(t, err, "%d told as %d", size, told)
			require.Equal(t, string(want), string(got), "%d told as %d", size, told)
		}
	}
}

// Where an answer breaks off the next one goes on.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	s := &shelf{data: []byte("0123456789abcdefghijKLMNO"), etag: "1"}
	s.answer = func(request int, out *s3.GetObjectOutput) error {
		if request%2 == 1 {
			out.Body = io.NopCloser(io.MultiReader(io.LimitReader(out.Body, 3), iotest.ErrReader(errors.New("reset"))))
		}
		return nil
	}
	got, err := readAll(t, fetcherOf(s), 25)
	require.NoError(t, err)
	require.Equal(t, string(s.data), string(got))
	require.Equal(t, "bytes=3-9", aws.ToString(s.requests[1].Range))
	require.Equal(t, "1", aws.ToString(s.requests[1].IfMatch), "of the same object")
}

func TestAnObjectThatIsReplaced(t *testing.T) {
	s := &shelf{data: []byte(strings.Repeat("x", 25)), etag: "1"}
	s.answer = func(request int, _ *s3.GetObjectOutput) error {
		if request == 1 {
			s.etag = "2"
		}
		return nil
	}
	_, err := readAll(t, fetcherOf(s), 25)
	var failed *Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, store.Changed, failed.Kind)
	require.ErrorIs(t, err, ErrChanged)
}

// An attempt that says nothing for a while is made anew, and a caller that goes away is let go.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{data: []byte("0123456789"), etag: "1"}
		s.answer = func(request int, out *s3.GetObjectOutput) error {
			if request == 1 {
				out.Body = io.NopCloser(iotest.ErrReader(context.Canceled)) // what a connection says that is given up
			}
			return nil
		}
		got, err := readAll(t, fetcherOf(s), 10)
		require.NoError(t, err)
		require.Len(t, got, 10)

		s.answer = func(int, *s3.GetObjectOutput) error { return errors.New("busy") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = fetcherOf(s).Open(ctx, store.Object{Key: "k", Size: 5})
		var failed *Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, store.Stopped, failed.Kind)

		f := fetcherOf(s)
		f.Retry.MaxElapsedTime = time.Second
		_, err = f.Open(t.Context(), store.Object{Key: "k", Size: 5})
		require.ErrorIs(t, err, backoff.ErrGivenUp)
		require.ErrorContains(t, err, "busy")
		f.Retry.Enabled = false
		_, err = f.Open(t.Context(), store.Object{Key: "k", Size: 5})
		require.ErrorIs(t, err, backoff.ErrGivenUp)
	})
}

// A body that is closed early leaves nothing behind, which the goroutines at the end of the tests show.
func TestCloseEarly(t *testing.T) {
	b, err := fetcherOf(&shelf{data: make([]byte, 100), etag: "1"}).Open(t.Context(), store.Object{Key: "k", Size: 100})
	require.NoError(t, err)
	_, err = b.Read(make([]byte, 5))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = b.Read(make([]byte, 5))
	require.Error(t, err)
}

func TestCost(t *testing.T) {
	f := &Fetcher{}
	require.EqualValues(t, 5, f.Cost(5))
	require.EqualValues(t, 2*DefaultPartBytes, f.Cost(1<<40))
	require.EqualValues(t, 2*DefaultPartBytes, f.Cost(store.SizeUnknown))
}

// A part that is not the one that was asked for must not be taken for it.
func TestAnotherRange(t *testing.T) {
	s := &shelf{data: []byte("0123456789abcdefghijKLMNO"), etag: "1"}
	s.answer = func(request int, out *s3.GetObjectOutput) error {
		if request == 2 {
			out.ContentRange = aws.String("bytes 0-9/25")
			out.Body = io.NopCloser(strings.NewReader("0123456789"))
		}
		return nil
	}
	got, err := readAll(t, fetcherOf(s), 25)
	require.NoError(t, err)
	require.Equal(t, string(s.data), string(got))
}

// An answer may leave out its length. The listing said it, and if not or if it was wrong nothing is read.
func TestAnAnswerWithoutLength(t *testing.T) {
	s := &shelf{data: []byte("01234567"), etag: "1"}
	s.answer = func(_ int, out *s3.GetObjectOutput) error {
		out.ContentLength = nil
		return nil
	}
	got, err := readAll(t, fetcherOf(s), 8)
	require.NoError(t, err)
	require.Equal(t, string(s.data), string(got))
	for _, told := range []int64{store.SizeUnknown, 5} {
		_, err = readAll(t, fetcherOf(s), told)
		var failed *Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, store.Invalid, failed.Kind)
	}
}
