// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"errors"
	"slices"

	"go.opentelemetry.io/collector/pipeline"
	"go.uber.org/zap"
)

// workOn works on messages one after the other, until there are no more or the consumer ends.
func (c *Consumer) workOn() {
	for m := range c.waiting {
		if c.life.Err() != nil {
			return // it is given back
		}
		switch c.process(m) {
		case verdictDelete:
			c.settled <- m
		case verdictKeep:
			c.leave(m)
		case verdictRelease:
		}
	}
}

// verdict is what shall become of a message.
type verdict int

const (
	verdictDelete  verdict = iota
	verdictKeep            // it comes back, and goes to the dead-letter queue in the end
	verdictRelease         // there was no time for it
)

// process reads what a message tells of, except what was done before.
func (c *Consumer) process(m *held) verdict {
	events, err := Parse(m.body)
	if err != nil {
		var unreadable *MessageError
		if errors.As(err, &unreadable) {
			c.set.Observer.Record(string(unreadable.Reason))
		}
		c.lines.warn("A message cannot be read and is left to the queue", append(c.who(m), zap.Error(err))...)
		return verdictKeep
	}
	v := verdictDelete
	for i := range events {
		if c.done.has(m.id, i) {
			c.set.Observer.Record(RecordRepeated)
			continue
		}
		if c.life.Err() != nil {
			return verdictRelease
		}
		outcome, ok := c.record(m, &events[i])
		if !ok && c.work.Err() != nil {
			return verdictRelease // it was interrupted, which is no outcome
		}
		c.set.Observer.Record(outcome)
		if !ok {
			v = verdictKeep
			continue
		}
		c.done.add(m.id, i)
	}
	return v
}

// record does one record. It returns what became of it and whether that is all that there is to do.
func (c *Consumer) record(m *held, e *Event) (outcome string, ok bool) {
	switch {
	case !e.Created:
		return RecordOtherEvent, true
	case e.Bucket != c.set.Claim.Bucket:
		return c.unclaimed(m, e, RecordOtherBucket, "s3downloader.s3_bucket")
	}
	keys := chosen(e.Keys, c.set.Claim.holds)
	if len(keys) == 0 {
		return c.unclaimed(m, e, RecordOtherPrefix, "s3downloader.s3_prefix")
	}
	if keys = chosen(keys, c.set.Claim.Takes); len(keys) == 0 {
		return c.unclaimed(m, e, RecordExcluded, "s3downloader.include, s3downloader.exclude")
	}
	for i, key := range keys {
		outcome, ok = c.object(m, e, key, i == len(keys)-1)
		if outcome != RecordMissing {
			return outcome, ok
		}
	}
	c.lines.warn("An object that a message tells of is not there; passed over", append(c.who(m), what(e)...)...)
	return RecordMissing, true
}

func chosen(keys []string, ok func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !ok(key) })
}

// object reads an object by one of its keys, into the pipeline of the signal that the key says, or
// into the first that takes it where the key says none.
func (c *Consumer) object(m *held, e *Event, key string, lastKey bool) (outcome string, ok bool) {
	candidates := c.candidates
	if signal, ok := c.set.Claim.signal(key); ok {
		if !slices.Contains(candidates, signal) {
			return c.unclaimed(m, e, RecordOtherSignal, "pipelines of "+signal.String())
		}
		candidates = []pipeline.Signal{signal}
	}
	o := Object{Bucket: e.Bucket, Key: key, VersionID: e.VersionID, Size: e.Size, LastKey: lastKey}
	var unreadable Result
	for i, signal := range candidates {
		o.LastSignal = i == len(candidates)-1
		switch r := c.set.Read(c.work, signal, o); r.Outcome {
		case OutcomeDone:
			return RecordDone, true
		case OutcomeMissing:
			return RecordMissing, false
		case OutcomeUnreadable:
			unreadable = r // another signal may be in it
		default:
			return c.fail(m, e, r)
		}
	}
	return c.fail(m, e, unreadable)
}

// fail tells of an object that was not read.
func (c *Consumer) fail(m *held, e *Event, r Result) (outcome string, ok bool) {
	if c.work.Err() == nil {
		c.lines.warn("An object was not read and its message is left to the queue",
			append(append(c.who(m), what(e)...), zap.String("reason", r.Reason), zap.Error(r.Err))...)
	}
	return r.Reason, false
}

// unclaimed tells of an object that nobody here wants. key is what says so.
func (c *Consumer) unclaimed(m *held, e *Event, outcome, key string) (string, bool) {
	becomes := "deleted, since sqs.unclaimed is delete"
	if c.set.KeepUnclaimed {
		becomes = "left to the queue, since sqs.unclaimed is keep"
	}
	c.lines.warn("A message tells of an object that is not for this receiver; it is "+becomes,
		append(append(c.who(m), what(e)...), zap.String("reason", outcome), zap.String("decided_by", key))...)
	return outcome, !c.set.KeepUnclaimed
}

// who names a message in a log line.
func (c *Consumer) who(m *held) []zap.Field {
	return []zap.Field{
		zap.String("message_id", m.id),
		zap.Int("receive_count", m.receives),
		zap.Int("max_receive_count", c.terms.MaxReceives),
	}
}

// what names an object in a log line.
func what(e *Event) []zap.Field {
	return []zap.Field{zap.String("bucket", e.Bucket), zap.String("key", e.Keys[0])}
}
