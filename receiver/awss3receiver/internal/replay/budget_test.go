// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(2, 100)
		ctx, cancel := context.WithCancel(t.Context())
		require.True(t, b.acquire(ctx, 1000), "alone, however large")
		acquired := make(chan bool)
		go func() { acquired <- b.acquire(ctx, 1) }()
		synctest.Wait()
		select {
		case <-acquired:
			t.Fatal("beside one that takes all")
		default:
		}
		b.release(1000)
		require.True(t, <-acquired)
		require.True(t, b.acquire(ctx, 99))
		go func() { acquired <- b.acquire(ctx, 0) }()
		synctest.Wait()
		objects, bytes := b.use()
		require.Equal(t, 2, objects, "no third")
		require.EqualValues(t, 100, bytes)
		cancel()
		require.False(t, <-acquired)
	})
}
