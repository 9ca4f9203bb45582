// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/otel-fleetview/fleetview/internal/s3test"
)

func TestARangeIsReadInOrder(t *testing.T) {
	b := newBench(t)
	b.fill(t, noon.Add(-10*time.Minute), 10, 2) // before the range
	want := b.fill(t, noon, 60, 3)
	b.Put(t, key(noon.Add(time.Hour), "1"), document("after the range"))
	b.Put(t, strings.Replace(key(noon, "1"), "logs_", "metrics_", 1), []byte(`{"resourceMetrics":[]}`))
	b.run(t, b.config())
	require.Equal(t, want, b.taken())
	require.Equal(t, 2, b.Lists(), "one to see whether the bucket is there, one for all")
	require.Equal(t, 1, b.logs.FilterMessage("Reading is complete").Len())
	require.Empty(t, b.host.statuses(), "nothing to say of a component that is well")
}

// 10 % of requests refused, reset or cut, and a pipeline that refuses for a minute, of which a test
// need not last: each refusal is one attempt.
func TestNothingIsLostOnABadDay(t *testing.T) {
	b := newBench(t)
	want := b.fill(t, noon, 60, 5)
	random, mu := rand.New(rand.NewPCG(3, 4)), sync.Mutex{}
	b.Fail(func(*http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(10) == 0 {
			return s3test.SlowDown + s3test.Fault(random.IntN(3))
		}
		return s3test.NoFault
	})
	refusals := 60
	b.refuse = func() error {
		if len(b.bodies) > 100 && refusals > 0 {
			refusals--
			return errors.New("sending queue is full")
		}
		return nil
	}
	b.run(t, b.config())
	require.Equal(t, want, b.taken())
	statuses := b.host.statuses()
	require.Contains(t, statuses, componentstatus.StatusRecoverableError)
	require.Equal(t, componentstatus.StatusOK, statuses[len(statuses)-1])
}
