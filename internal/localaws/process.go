// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package localaws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

const (
	// endLimit is how long a server may take to end once it is told to.
	endLimit = 10 * time.Second
	// sayLimit is how much of a server's output is kept for an error.
	sayLimit = 16 << 10
)

// leash runs a command that gets SIGTERM when the standard input of this shell is closed: by stop,
// or by the kernel when the process that holds the other end is gone.
const leash = `exec 3<&0 </dev/null
(read -r _ <&3; kill "$$") >/dev/null 2>&1 &
exec 3<&-
exec "$0" "$@"`

// process is a server that runs as a child of this process.
type process struct {
	// Fixed at construction.
	name string
	cmd  *exec.Cmd
	hold io.Closer     // the leash
	said *tail         // what it printed
	done chan struct{} // closed when it has ended

	once sync.Once // of stop
}

// start runs a command. What it prints on its first line of standard output is sent to first, if
// that is not nil.
func start(first chan<- string, command string, args ...string) (*process, error) {
	//nolint:noctx // it ends with stop, not with a context
	cmd := exec.Command("/bin/sh", append([]string{"-c", leash, command}, args...)...)
	p := &process{name: filepath.Base(command), cmd: cmd, said: &tail{}, done: make(chan struct{})}
	apart(cmd)
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.hold = hold
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, p.said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	var reader sync.WaitGroup
	reader.Go(func() { p.read(out, first) })
	go func() {
		_ = cmd.Wait() // what it said is told instead
		_ = in.Close()
		reader.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) read(out io.Reader, first chan<- string) {
	lines := bufio.NewReader(out)
	line, _ := lines.ReadBytes('\n') // an empty line is no address
	if first != nil {
		first <- string(bytes.TrimSpace(line))
	}
	_, _ = p.said.Write(line)
	_, _ = io.Copy(p.said, lines)
}

// wait asks ready until it says yes, the server has ended or ctx has.
func (p *process) wait(ctx context.Context, ready func(context.Context) bool) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ready(ctx) {
		select {
		case <-again.C:
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %s", p.name, p.said)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", p.name, ctx.Err(), p.said)
		}
	}
	return nil
}

// stop ends the server and waits for that. Stopping twice is harmless.
func (p *process) stop() error {
	var err error
	p.once.Do(func() {
		_ = p.hold.Close()
		select {
		case <-p.done:
		case <-time.After(endLimit):
			err = errors.Join(fmt.Errorf("%s does not end", p.name), p.cmd.Process.Kill())
			<-p.done
		}
	})
	return err
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - sayLimit; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}
