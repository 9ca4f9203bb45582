// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"go.uber.org/zap"
)

const (
	// parentLookups is how many looks in a row have to fail, or to find another
	// process, before the parent counts as gone. One may be a passing fault.
	parentLookups = 3
	// ageTolerance covers the whole seconds in which Linux tells when it was booted.
	ageTolerance = 5 * time.Second
	// exitGrace is how long the Collector has to end by itself once the parent is
	// gone. A supervisor started anew needs its ports.
	exitGrace = 10 * time.Second
)

// processInfo is what one look at a process finds.
type processInfo struct {
	running bool
	// age is how much later the process was started than this one: negative for a
	// parent. It is a difference of two start times because either alone moves when
	// the system's clock is set. Meaningful only if ageKnown.
	age      time.Duration
	ageKnown bool
}

// parentWatch ends the Collector when the process that started it is gone. A
// component of the service would report a fatal error; the host that extensions
// get does not take one (opentelemetry-collector-contrib issue 48758), so the
// process ends itself by the signal that a service manager would send.
type parentWatch struct {
	// Fixed at construction.
	pid       int32
	interval  time.Duration
	logger    *zap.Logger
	look      func(ctx context.Context, pid int32) (processInfo, error)
	terminate func() error   // asks this process to end
	exit      func(code int) // ends it
}

func newParentWatch(cfg *Config, logger *zap.Logger) parentWatch {
	return parentWatch{
		pid:       int32(cfg.PPID), //nolint:gosec // validated to fit
		interval:  cfg.PPIDPollInterval,
		logger:    logger,
		look:      lookAtProcess,
		terminate: terminateSelf,
		exit:      os.Exit,
	}
}

// run looks at once and then at each interval, until the parent is gone or ctx ends.
func (w *parentWatch) run(ctx context.Context) {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	var v parentVerdict
	for {
		info, err := w.look(ctx, w.pid)
		if ctx.Err() != nil {
			return
		}
		if why := v.gone(info, err); why != nil {
			w.endProcess(why)
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// endProcess asks the process to end and sees to it that it does. The timer is
// not stopped by Shutdown: it covers whatever else hangs on the way down.
func (w *parentWatch) endProcess(why error) {
	w.logger.Error("The parent process is gone, ending this collector",
		zap.Int32("ppid", w.pid), zap.Error(why), zap.Duration("grace", exitGrace))
	if err := w.terminate(); err != nil {
		w.logger.Error("Cannot ask this process to end, so it ends now", zap.Error(err))
		w.exit(1)
		return
	}
	time.AfterFunc(exitGrace, func() { w.exit(1) })
}

var (
	errNotRunning = errors.New("no such process")
	errPIDReused  = errors.New("another process has its id")
)

// parentVerdict remembers earlier looks.
type parentVerdict struct {
	seen   bool          // age holds
	age    time.Duration // at the first look that knew it
	doubts int           // looks in a row that failed or found another process
}

// gone is why the parent counts as gone, or nil. That no process has the id is
// certain at once. A process that is younger than this one did not start it, so that
// an id which was given away before the first look shows too.
func (v *parentVerdict) gone(info processInfo, err error) error {
	switch {
	case err != nil:
		return v.doubt(fmt.Errorf("cannot be looked up: %w", err))
	case !info.running:
		return errNotRunning
	case info.ageKnown && info.age > ageTolerance:
		return v.doubt(errPIDReused)
	case info.ageKnown && !v.seen:
		v.seen, v.age = true, info.age
	case info.ageKnown && (info.age-v.age).Abs() > ageTolerance:
		return v.doubt(errPIDReused)
	}
	v.doubts = 0
	return nil
}

func (v *parentVerdict) doubt(why error) error {
	v.doubts++
	if v.doubts < parentLookups {
		return nil
	}
	return why
}

// lookAtProcess asks the operating system. A process that has ended and waits for
// its own parent to notice (a zombie) does not run.
func lookAtProcess(ctx context.Context, pid int32) (processInfo, error) {
	exists, err := process.PidExistsWithContext(ctx, pid)
	if err != nil || !exists {
		return processInfo{}, err
	}
	p := &process.Process{Pid: pid}
	if states, err := p.StatusWithContext(ctx); err == nil && slices.Contains(states, process.Zombie) {
		return processInfo{}, nil
	}
	info := processInfo{running: true}
	info.age, info.ageKnown = ageAgainstSelf(ctx, p)
	return info, nil
}

// ageAgainstSelf is unknown where the system hides another user's processes.
func ageAgainstSelf(ctx context.Context, p *process.Process) (time.Duration, bool) {
	self := &process.Process{Pid: int32(os.Getpid())}
	theirs, err := p.CreateTimeWithContext(ctx)
	if err != nil {
		return 0, false
	}
	ours, err := self.CreateTimeWithContext(ctx)
	if err != nil {
		return 0, false
	}
	return time.Duration(theirs-ours) * time.Millisecond, true
}

func terminateSelf() error {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	return self.Signal(syscall.SIGTERM)
}
