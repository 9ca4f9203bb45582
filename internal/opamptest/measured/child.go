// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package measured

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// roleEnv tells a copy of a test binary what it is.
const roleEnv = "FLEETVIEW_MEASURED_ROLE"

// Role is what this process was started as, empty for one that was not started by [Start].
func Role() string { return os.Getenv(roleEnv) }

// Words that a child understands whatever it is. Others are its own.
const (
	wordCount   = "count"   // tells the cost
	wordCollect = "collect" // frees what can be freed, and tells the cost
	wordProfile = "profile" // begins a profile of the processor, into the file that is named
	wordEnough  = "enough"  // ends it
)

// maxAnswer bounds what a child answers to a word, in bytes.
const maxAnswer = 64 << 20

// Child is another process, which serves and tells what that costs it. It is owned by one goroutine.
type Child struct {
	Addr string // what it told first: where it serves

	tb    testing.TB
	role  string
	ended bool
	cmd   *exec.Cmd
	words io.WriteCloser
	lines *bufio.Scanner
}

// Start starts a copy of this test binary in a role, with more of an environment. It ends with the test.
func Start(tb testing.TB, role string, env ...string) *Child {
	tb.Helper()
	c := &Child{tb: tb, role: role, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(append(os.Environ(), roleEnv+"="+role), env...)
	c.cmd.Stderr = os.Stderr
	var err error
	c.words, err = c.cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, c.cmd.Start())
	tb.Cleanup(c.Stop)
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, maxAnswer)
	require.True(tb, c.lines.Scan(), "the child ended before it served")
	c.Addr = c.lines.Text()
	return c
}

// Count asks for the cost as it is.
func (c *Child) Count() Cost {
	c.tb.Helper()
	return c.cost(wordCount)
}

// Collect asks for the cost after what can be freed was freed.
func (c *Child) Collect() Cost {
	c.tb.Helper()
	return c.cost(wordCollect)
}

func (c *Child) cost(word string) (cost Cost) {
	c.tb.Helper()
	require.NoError(c.tb, json.Unmarshal([]byte(c.Ask(word)), &cost))
	return cost
}

// Profile lets the child write a profile of its processor into a file until the returned function is called.
func (c *Child) Profile(path string) (end func()) {
	c.tb.Helper()
	c.Ask(wordProfile + " " + path)
	return func() { c.Ask(wordEnough) }
}

// Ask says a word and returns the answer.
func (c *Child) Ask(words ...string) string {
	c.tb.Helper()
	_, err := io.WriteString(c.words, strings.Join(words, " ")+"\n")
	require.NoError(c.tb, err)
	require.True(c.tb, c.lines.Scan(), "the child ended")
	return c.lines.Text()
}

// Kill ends the child without a word, as kill -9 does.
func (c *Child) Kill() {
	c.ended = true
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// Stop lets the child end by itself, and waits until it has. That it fails to is an error of the test. Stopping twice
// is no event.
func (c *Child) Stop() {
	if c.ended {
		return
	}
	c.ended = true
	if err := errors.Join(c.words.Close(), c.cmd.Wait()); err != nil {
		c.tb.Errorf("%s: %v", c.role, err)
	}
}
