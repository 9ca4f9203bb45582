// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package localaws

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func never(context.Context) bool { return false }

func TestStopEndsTheProcess(t *testing.T) {
	p, err := start(nil, "/bin/sleep", "600")
	require.NoError(t, err)

	require.NoError(t, p.stop())

	<-p.done
	assert.NoError(t, p.stop())
}

func TestFirstLineIsToldAndAllIsKept(t *testing.T) {
	first := make(chan string, 1)
	p, err := start(first, "/bin/sh", "-c", "echo one; echo two; echo three >&2")
	require.NoError(t, err)
	<-p.done

	assert.Equal(t, "one", <-first)
	for _, said := range []string{"one", "two", "three"} {
		assert.Contains(t, p.said.String(), said)
	}
	assert.NoError(t, p.stop())
}

func TestWhoEndsIsNotWaitedFor(t *testing.T) {
	p, err := start(nil, "/bin/sh", "-c", "echo the port is taken >&2")
	require.NoError(t, err)

	err = p.wait(t.Context(), never)

	assert.ErrorContains(t, err, "sh ended before it was ready: the port is taken")
	assert.NoError(t, p.stop())
}

func TestWaitEndsWithItsContext(t *testing.T) {
	p, err := start(nil, "/bin/sleep", "600")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	assert.ErrorIs(t, p.wait(ctx, never), context.Canceled)
	assert.NoError(t, p.stop())
}

func TestWhatIsNotInstalledIsNamed(t *testing.T) {
	for _, start := range []func() (*Server, error){
		func() (*Server, error) { return StartGateway(t.Context(), Gateway{Tools: t.TempDir()}) },
		func() (*Server, error) { return StartFauxQS(t.Context(), t.TempDir()) },
	} {
		_, err := start()
		assert.ErrorContains(t, err, "make localaws")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	tail := &tail{}
	for range 100 {
		_, _ = tail.Write([]byte(strings.Repeat("x", 1000)))
	}
	_, _ = tail.Write([]byte("the end\n"))

	assert.Len(t, tail.text, sayLimit)
	assert.True(t, strings.HasSuffix(tail.String(), "the end"))
}
