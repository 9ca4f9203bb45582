// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package list

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configretry"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// catalogue is a store that lists, a few keys a page.
type catalogue struct {
	store.API

	keys         []string
	page         int
	ignoresStart bool // as some stores do
	fail         func(request int) error

	mu       sync.Mutex
	requests int // guarded by mu
}

// ask counts a request, and tells how it fails.
func (c *catalogue) ask() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if c.fail == nil {
		return nil
	}
	return c.fail(c.requests)
}

func (c *catalogue) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	if err := c.ask(); err != nil {
		return nil, err
	}
	after := aws.ToString(in.StartAfter)
	if c.ignoresStart {
		after = ""
	}
	if in.ContinuationToken != nil {
		after = *in.ContinuationToken
	}
	begun, sorted := after == "", slices.IsSorted(c.keys)
	out := &s3.ListObjectsV2Output{IsTruncated: aws.Bool(false)}
	for _, key := range c.keys {
		if !begun && sorted && key <= after || !strings.HasPrefix(key, aws.ToString(in.Prefix)) {
			continue
		}
		if !begun && !sorted {
			begun = key == after
			continue
		}
		if len(out.Contents) == c.page {
			out.IsTruncated = aws.Bool(true)
			out.NextContinuationToken = out.Contents[len(out.Contents)-1].Key
			break
		}
		out.Contents = append(out.Contents, types.Object{Key: aws.String(key), Size: aws.Int64(1)})
	}
	return out, nil
}

type silent struct {
	mu      sync.Mutex
	retries int // guarded by mu
}

func (*silent) Listed(time.Duration) {}
func (s *silent) Retry(string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retries++
}
func (*silent) Recovered(string) {}

var noon = time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)

func planOf(t *testing.T, format string, length time.Duration) plan.Plan {
	t.Helper()
	f, err := plan.ParseFormat(format)
	require.NoError(t, err)
	return plan.Plan{Range: plan.Range{Start: noon, End: noon.Add(length), Format: f, Location: time.UTC}, Layout: plan.Layout{Signal: "logs"}}
}

func listerOf(api store.API) *Lister {
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval, retry.MaxInterval, retry.MaxElapsedTime = time.Millisecond, time.Millisecond, 0
	return &Lister{API: api, Bucket: "b", Retry: retry, Observer: &silent{}, Concurrency: 3}
}

func listed(t *testing.T, l *Lister, p plan.Plan, from Position) (keys []string, err error) {
	t.Helper()
	err = l.List(t.Context(), p, plan.Clean, from, func(item Item) error {
		keys = append(keys, item.Key)
		require.Contains(t, item.Key, item.Partition.Key)
		return nil
	})
	return keys, err
}

func at(minutes int) string {
	return noon.Add(time.Duration(minutes) * time.Minute).Format("2006/01/02/15/04")
}

// Gaps full of other things are gone over in one step.
func TestAGapCostsOneRequest(t *testing.T) {
	c := &catalogue{page: 10}
	var want []string
	for minute := range 60 {
		for i := range 100 {
			c.keys = append(c.keys, fmt.Sprintf("%s/metrics_%04d", at(minute), i))
		}
		if minute%20 == 0 {
			key := at(minute) + "/logs_1"
			c.keys = append(c.keys, key)
			want = append(want, key)
		}
	}
	slices.Sort(c.keys)
	keys, err := listed(t, listerOf(c), planOf(t, "%Y/%m/%d/%H/%M", time.Hour), Position{})
	require.NoError(t, err)
	require.Equal(t, want, keys)
	require.Less(t, c.requests, 130, "of 600 pages that the whole would be")
}

func TestFromAPosition(t *testing.T) {
	c := &catalogue{page: 2}
	for minute := range 5 {
		c.keys = append(c.keys, at(minute)+"/logs_1", at(minute)+"/logs_2")
	}
	for _, ignores := range []bool{false, true} {
		c.ignoresStart = ignores
		for i, key := range c.keys {
			keys, err := listed(t, listerOf(c), planOf(t, "%Y/%m/%d/%H/%M", 5*time.Minute), Position{Time: noon.Add(time.Duration(i/2) * time.Minute), Key: key})
			require.NoError(t, err)
			require.Len(t, keys, len(c.keys)-i-1)
			require.NotContains(t, keys, key)
		}
	}
}

// A store that begins at its first key whatever it is asked is read all the same, once.
func TestAStoreThatIgnoresStartAfter(t *testing.T) {
	c := &catalogue{page: 3, ignoresStart: true}
	var want []string
	for minute := range 30 {
		for i := range 4 {
			c.keys = append(c.keys, fmt.Sprintf("%s/aaa_%d", at(minute), i))
		}
		c.keys = append(c.keys, at(minute)+"/logs_1")
		want = append(want, at(minute)+"/logs_1")
	}
	keys, err := listed(t, listerOf(c), planOf(t, "%Y/%m/%d/%H/%M", 30*time.Minute), Position{})
	require.NoError(t, err)
	require.Equal(t, want, keys)
}

// A store that lists in another order is noticed, and read by partition if it is known.
func TestAStoreWithoutOrder(t *testing.T) {
	c := &catalogue{page: 2, ignoresStart: true, keys: []string{at(1) + "/logs_2", at(1) + "/logs_1", at(0) + "/logs_1", at(0) + "/logs_3", at(0) + "/logs_2"}}
	_, err := listed(t, listerOf(c), planOf(t, "%Y/%m/%d/%H/%M", 2*time.Minute), Position{})
	require.ErrorIs(t, err, ErrUnordered)
	require.ErrorContains(t, err, "s3downloader.list_by_partition")
	l := listerOf(c)
	l.ByPartition = true
	keys, err := listed(t, l, planOf(t, "%Y/%m/%d/%H/%M", 2*time.Minute), Position{})
	require.NoError(t, err)
	require.Equal(t, []string{at(0) + "/logs_1", at(0) + "/logs_2", at(0) + "/logs_3", at(1) + "/logs_1", at(1) + "/logs_2"}, keys)
	keys, err = listed(t, l, planOf(t, "%Y/%m/%d/%H/%M", 2*time.Minute), Position{Time: noon, Key: at(0) + "/logs_2"})
	require.NoError(t, err)
	require.Equal(t, []string{at(0) + "/logs_3", at(1) + "/logs_1", at(1) + "/logs_2"}, keys)
}

func TestErrors(t *testing.T) {
	p := planOf(t, "%Y/%m/%d/%H/%M", time.Minute)
	c := &catalogue{page: 1, keys: []string{at(0) + "/logs_1", at(0) + "/logs_2"}}
	c.fail = func(request int) error {
		if request < 4 {
			return errors.New("connection refused")
		}
		return nil
	}
	l := listerOf(c)
	keys, err := listed(t, l, p, Position{})
	require.NoError(t, err)
	require.Len(t, keys, 2)
	require.Equal(t, 3, l.Observer.(*silent).retries)

	enough := errors.New("enough")
	for _, concurrent := range []string{"%Y/%m/%d/%H/%M", "%M/%H"} {
		c := &catalogue{page: 1}
		for minute := range 60 {
			c.keys = append(c.keys, at(minute)+"/logs_1", noon.Add(time.Duration(minute)*time.Minute).Format("04/15")+"/logs_1")
		}
		slices.Sort(c.keys)
		err := listerOf(c).List(t.Context(), planOf(t, concurrent, time.Hour), plan.Clean, Position{}, func(Item) error { return enough })
		require.ErrorIs(t, err, enough)
	}
}

// answers is a store that says what a test has it say, and then that there is nothing.
type answers struct {
	store.API

	pages []*s3.ListObjectsV2Output
	asked []s3.ListObjectsV2Input
}

func (a *answers) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	a.asked = append(a.asked, *in)
	if len(a.pages) == 0 {
		return &s3.ListObjectsV2Output{IsTruncated: aws.Bool(false)}, nil
	}
	page := a.pages[0]
	a.pages = a.pages[1:]
	return page, nil
}

// What answers in the place of a store must not be taken for an empty bucket, and one that does not
// say how to go on must not be asked as fast as it answers.
func TestAnAnswerThatIsNoPage(t *testing.T) {
	one := []types.Object{{Key: aws.String(at(0) + "/logs_1"), Size: aws.Int64(1)}}
	for name, page := range map[string]*s3.ListObjectsV2Output{
		"no listing":       {},
		"more, no token":   {IsTruncated: aws.Bool(true), Contents: one},
		"more, same token": {IsTruncated: aws.Bool(true), NextContinuationToken: aws.String("t"), Contents: one},
	} {
		t.Run(name, func(t *testing.T) {
			api := &answers{pages: []*s3.ListObjectsV2Output{
				{IsTruncated: aws.Bool(true), NextContinuationToken: aws.String("t")},
				page,
				{IsTruncated: aws.Bool(false), Contents: one},
			}}
			l := listerOf(api)
			keys, err := listed(t, l, planOf(t, "%Y/%m/%d/%H/%M", time.Minute), Position{})
			require.NoError(t, err)
			require.Equal(t, []string{at(0) + "/logs_1"}, keys)
			require.Equal(t, 1, l.Observer.(*silent).retries)
		})
	}
}

// A page with the same keys again is a page of each once.
func TestAPageThatRepeats(t *testing.T) {
	two := []types.Object{{Key: aws.String(at(0) + "/logs_1")}, {Key: aws.String(at(0) + "/logs_1")}}
	l := listerOf(&answers{pages: []*s3.ListObjectsV2Output{{IsTruncated: aws.Bool(false), Contents: two}}})
	l.ByPartition = true
	keys, err := listed(t, l, planOf(t, "%Y/%m/%d/%H/%M", time.Minute), Position{})
	require.NoError(t, err)
	require.Equal(t, []string{at(0) + "/logs_1"}, keys)
}

// control is a store with a key that XML cannot hold.
type control struct{ answers }

func (c *control) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, opts ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	out, err := c.answers.ListObjectsV2(ctx, in, opts...)
	if in.EncodingType != types.EncodingTypeUrl {
		return nil, &smithy.OperationError{Err: &smithy.DeserializationError{Err: &xml.SyntaxError{Msg: "illegal character code U+0001"}}}
	}
	out.EncodingType = in.EncodingType
	return out, err
}

func TestAKeyThatXMLCannotHold(t *testing.T) {
	page := &s3.ListObjectsV2Output{IsTruncated: aws.Bool(false)}
	for _, key := range []string{"/logs_%01", "/logs_a+b", "/logs_c%2Bd"} {
		page.Contents = append(page.Contents, types.Object{Key: aws.String(strings.ReplaceAll(at(0), "/", "%2F") + key), Size: aws.Int64(1)})
	}
	api := &control{answers{pages: []*s3.ListObjectsV2Output{{}, page}}}
	l := listerOf(api)
	keys, err := listed(t, l, planOf(t, "%Y/%m/%d/%H/%M", time.Minute), Position{})
	require.NoError(t, err)
	require.Equal(t, []string{at(0) + "/logs_\x01", at(0) + "/logs_a b", at(0) + "/logs_c+d"}, keys)
	require.Zero(t, l.Observer.(*silent).retries)
	require.Len(t, api.asked, 2)
}

// Only what is known to be empty is.
func TestASizeThatIsNotSaid(t *testing.T) {
	require.Equal(t, store.SizeUnknown, sizeOf(types.Object{}))
	require.Equal(t, store.SizeUnknown, sizeOf(types.Object{Size: aws.Int64(-7)}))
	require.Zero(t, sizeOf(types.Object{Size: aws.Int64(0)}))
}
