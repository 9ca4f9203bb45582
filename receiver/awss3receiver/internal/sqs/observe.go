// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// Observer counts. Its methods are called by several goroutines and must not block.
type Observer interface {
	// Received is told of messages that were given out, and of how many of these not for the first
	// time.
	Received(messages, again int)
	// Settled is told what became of a message, and how long after it was sent.
	Settled(settlement Settlement, age time.Duration)
	// Record is told what became of a record of a message: see the constants that begin with Record,
	// or the reason of a [Result] that failed.
	Record(outcome string)
	// Extended is told of messages that were kept in hand for longer.
	Extended(messages int)
	// Failed is told of a call that failed, or of one message of a call.
	Failed(operation, reason string)
}

// Settlement is what became of a message.
type Settlement string

// What can become of a message.
const (
	SettledDeleted  Settlement = "deleted"  // all of it was done
	SettledKept     Settlement = "kept"     // a record could not be done: it comes back
	SettledReleased Settlement = "released" // given back at shutdown
)

// What can become of a record, besides the reasons for which an object cannot be read.
const (
	RecordDone        = "done"
	RecordRepeated    = "repeated"     // it had been done before
	RecordOtherEvent  = "other_event"  // nothing was stored
	RecordOtherBucket = "other_bucket" // not s3downloader.s3_bucket
	RecordOtherPrefix = "other_prefix" // not below s3downloader.s3_prefix
	RecordExcluded    = "excluded"     // by s3downloader.include or s3downloader.exclude
	RecordOtherSignal = "other_signal" // no pipeline for what the key says is in it
	RecordMissing     = "missing"      // the object is gone
)

// Log lines of one kind that are written in one interval. The others are counted.
const (
	linesPerInterval = 5
	lineInterval     = time.Minute
)

// lines is a logger for what may happen with every message.
type lines struct {
	log *zap.Logger // fixed at construction

	mu    sync.Mutex
	kinds map[string]*lineCount // guarded by mu: by message, which are constants
}

type lineCount struct {
	began      time.Time
	written    int
	suppressed int
}

func newLines(log *zap.Logger) *lines {
	return &lines{log: log, kinds: make(map[string]*lineCount)}
}

// warn writes a line, or counts it.
func (l *lines) warn(text string, fields ...zap.Field) {
	suppressed, ok := l.pass(text)
	if !ok {
		return
	}
	if suppressed > 0 {
		fields = append(fields, zap.Int("suppressed", suppressed))
	}
	l.log.Warn(text, fields...)
}

func (l *lines) pass(kind string) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	k := l.kinds[kind]
	if k == nil {
		k = &lineCount{began: now}
		l.kinds[kind] = k
	}
	if now.Sub(k.began) >= lineInterval {
		suppressed = k.suppressed
		*k = lineCount{began: now}
	}
	if k.written >= linesPerInterval {
		k.suppressed++
		return 0, false
	}
	k.written++
	return suppressed, true
}
