// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.opentelemetry.io/collector/pipeline"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
)

const (
	// extendEvery is the part of the visibility timeout after which it is begun anew: one call may
	// fail, or take long, and the next still comes in time.
	extendEvery = 3
	// firstPause and lastPause are between two tries to reach a queue that fails.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// idlePause is between two looks at an empty queue that does not wait by itself.
	idlePause = time.Second
	// receiveSlack is how much longer than its wait a receive may take.
	receiveSlack = 30 * time.Second
	// attributesLimit is how long the queue may take to tell its terms.
	attributesLimit = 30 * time.Second
	// drainLimit is how long an object in hand may take to be finished at shutdown, releaseLimit how
	// long the queue may take to be told of it.
	drainLimit   = 2 * time.Second
	releaseLimit = 3 * time.Second
)

// Settings of a [Consumer].
type Settings struct {
	QueueURL string
	// MaxMessages is how many messages one call may give out, 1 to 10, and Wait for how many seconds
	// it waits for the first, 0 to 20.
	MaxMessages int32
	Wait        int32
	// Workers is how many messages are worked on at a time.
	Workers int
	// KeepUnclaimed leaves messages of objects that nobody here wants to the queue, for others.
	KeepUnclaimed bool
	Claim         Claim
	// Signals have a pipeline.
	Signals []pipeline.Signal
	// Read reads one object. It is called by several goroutines.
	Read     Read
	Observer Observer
	Logger   *zap.Logger
	// Failing and Recovered show that the queue fails, and that it does no longer. Neither may block.
	Failing   func(error)
	Recovered func()
	// Ended is called when the consumer asks the queue nothing any more.
	Ended func()
}

// Read reads one object and hands all that is in it to the pipeline of a signal. It tries again what
// may yet succeed, and returns when ctx ends.
type Read func(ctx context.Context, signal pipeline.Signal, o Object) Result

// Object names an object to read.
type Object struct {
	Bucket    string
	Key       string
	VersionID string // empty for the latest
	Size      int64  // 0 if it is not known
	// LastKey is whether no other key is tried if there is no such object, LastSignal whether no other
	// signal is if it is not of this one.
	LastKey, LastSignal bool
}

// Result is what became of an object.
type Result struct {
	Outcome Outcome
	// Reason says why it is not OutcomeDone, in a word of a closed set.
	Reason string
	Err    error // for people
}

// Outcome is what became of an object.
type Outcome int

// What can become of an object.
const (
	OutcomeDone       Outcome = iota // delivered, or passed over on purpose
	OutcomeMissing                   // there is no such object
	OutcomeUnreadable                // it is not of this signal, or of no form that is known
	OutcomeFailed                    // it is good for all that is known, but was not delivered
)

// Consumer reads what the messages of one queue tell of.
type Consumer struct {
	// Fixed at construction.
	api     API
	set     Settings
	lines   *lines
	done    *doneSet
	hands   *hands
	waiting chan *held // unbuffered: to a worker
	settled chan *held // done with, to be deleted
	// candidates are the signals that have a pipeline, in the order in which they are tried.
	candidates []pipeline.Signal

	life  context.Context // ends when Stop begins: nothing new is begun
	end   context.CancelFunc
	work  context.Context // ends what is still read
	abort context.CancelFunc
	calls context.Context // ends what is still told to the queue
	hush  context.CancelFunc
	over  chan struct{} // closed when nothing runs any more

	terms terms // written before the goroutines start that read it

	statusMu sync.Mutex
	failing  map[string]struct{} // guarded by statusMu: operations that failed when last tried
}

// NewConsumer makes a consumer, which does nothing yet.
func NewConsumer(api API, set Settings) *Consumer {
	c := &Consumer{
		api:     api,
		set:     set,
		lines:   newLines(set.Logger),
		done:    newDoneSet(maxRemembered),
		hands:   &hands{byID: make(map[string]*held)},
		waiting: make(chan *held),
		settled: make(chan *held, maxBatch),
		over:    make(chan struct{}),
		failing: make(map[string]struct{}),
	}
	for _, signal := range signals {
		if slices.Contains(set.Signals, signal) {
			c.candidates = append(c.candidates, signal)
		}
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.work, c.abort = context.WithCancel(context.Background())
	c.calls, c.hush = context.WithCancel(context.Background())
	return c
}

// Start begins to take messages and returns at once. It may be called once.
func (c *Consumer) Start() { go c.run() }

// Stop ends a consumer that was started, and waits for that. What is being read gets a moment to be
// finished; what is not finished then, or when ctx ends, is given back to the queue. Stopping again
// waits too.
func (c *Consumer) Stop(ctx context.Context) {
	c.end()
	drain := time.AfterFunc(drainLimit, c.abort)
	hush := time.AfterFunc(drainLimit+releaseLimit, c.hush)
	defer drain.Stop()
	defer hush.Stop()
	select {
	case <-c.over:
	case <-ctx.Done():
		c.abort()
		c.hush()
		<-c.over
	}
}

// InHand is how many messages are worked on or wait for it.
func (c *Consumer) InHand() int { return c.hands.len() }

func (c *Consumer) run() {
	defer close(c.over)
	defer c.set.Ended()
	defer c.end()
	defer c.abort()
	defer c.hush()
	if !c.learnTerms() {
		return
	}
	var workers, helpers sync.WaitGroup
	kept, letGo := context.WithCancel(c.calls)
	helpers.Go(func() { c.keepInHand(kept) })
	helpers.Go(c.deleteSettled)
	for range c.set.Workers {
		workers.Go(c.workOn)
	}
	c.receive()
	close(c.waiting)
	workers.Wait()
	close(c.settled)
	letGo()
	helpers.Wait()
	c.release()
}

// learnTerms asks the queue for its terms until it has told them or the consumer ends. Where it is
// not allowed to ask, the usual ones are taken.
func (c *Consumer) learnTerms() bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(c.life, attributesLimit)
		out, err := c.api.GetQueueAttributes(ctx, &awssqs.GetQueueAttributesInput{
			QueueUrl: &c.set.QueueURL,
			AttributeNames: []types.QueueAttributeName{
				types.QueueAttributeNameVisibilityTimeout,
				types.QueueAttributeNameRedrivePolicy,
			},
		})
		cancel()
		switch {
		case err == nil:
			c.terms = readTerms(out.Attributes)
			c.recovered(opAttributes)
			c.tellTerms()
			return true
		case c.life.Err() != nil:
			return false
		case word(err) == wordDenied:
			_ = c.tell(opAttributes, "The queue does not tell its visibility timeout; it is taken to be 30 seconds", err)
			c.terms = terms{Visibility: usualVisibility}
			return true
		}
		c.trouble(opAttributes, "The queue does not answer", err)
		if !c.pause(pause) {
			return false
		}
	}
}

func (c *Consumer) tellTerms() {
	c.set.Logger.Info("Reading what a queue tells of",
		zap.String("queue_url", c.set.QueueURL),
		zap.Duration("visibility_timeout", c.terms.Visibility),
		zap.Int("max_receive_count", c.terms.MaxReceives))
	if c.terms.MaxReceives == 0 {
		c.set.Logger.Warn("The queue has no dead-letter queue: a message whose object cannot be read comes back until it " +
			"expires. Give the queue a redrive policy")
	}
}

// receive takes messages until the consumer ends. It asks for more when the last one has found a
// worker, so that what waits is never more than one call gives out.
func (c *Consumer) receive() {
	for pause := firstPause; c.life.Err() == nil; {
		messages, err := c.ask()
		switch {
		case c.life.Err() != nil && err != nil:
			return
		case err != nil:
			c.trouble(opReceive, "The queue gives out no messages", err)
			if !c.pause(pause) {
				return
			}
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		c.recovered(opReceive)
		if len(messages) == 0 && c.set.Wait == 0 && !c.pause(idlePause) {
			return
		}
		for _, m := range c.take(messages) {
			select {
			case c.waiting <- m:
			case <-c.life.Done():
				return
			}
		}
	}
}

func (c *Consumer) ask() ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(c.life, time.Duration(c.set.Wait)*time.Second+receiveSlack)
	defer cancel()
	in := &awssqs.ReceiveMessageInput{
		QueueUrl:            &c.set.QueueURL,
		MaxNumberOfMessages: c.set.MaxMessages,
		WaitTimeSeconds:     c.set.Wait,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount,
			types.MessageSystemAttributeNameSentTimestamp,
		},
	}
	if c.terms.Explicit {
		in.VisibilityTimeout = seconds(c.terms.Visibility)
	}
	out, err := c.api.ReceiveMessage(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// take holds messages and returns those that were not held before.
func (c *Consumer) take(messages []types.Message) []*held {
	fresh := make([]*held, 0, len(messages))
	again := 0
	for i := range messages {
		m := hold(&messages[i])
		if m.receives > 1 {
			again++
		}
		if c.hands.take(m) {
			fresh = append(fresh, m)
		}
	}
	c.set.Observer.Received(len(messages), again)
	return fresh
}

// pause waits, somewhat unevenly, and returns false if the consumer ends meanwhile.
func (c *Consumer) pause(d time.Duration) bool {
	d = d/2 + rand.N(d/2+1) //nolint:gosec // jitter, not a secret
	return backoff.Sleep(c.life, d) == nil
}

// trouble counts, logs and shows a call that failed.
func (c *Consumer) trouble(operation, text string, err error) {
	err = c.tell(operation, text, err)
	c.statusMu.Lock()
	defer c.statusMu.Unlock()
	if len(c.failing) == 0 {
		c.set.Failing(err)
	}
	c.failing[operation] = struct{}{}
}

// tell counts and logs a call that failed. It returns the error with what can be done about it.
func (c *Consumer) tell(operation, text string, err error) error {
	w := word(err)
	c.set.Observer.Failed(operation, w)
	fields := []zap.Field{zap.String("reason", w), zap.String("queue_url", c.set.QueueURL), zap.Error(err)}
	if help := advice(operation, w); help != "" {
		fields = append(fields, zap.String("advice", help))
		err = fmt.Errorf("%s: %w", help, err)
	}
	c.lines.warn(text, fields...)
	return err
}

// recovered shows that an operation goes well, if it failed before and no other does.
func (c *Consumer) recovered(operation string) {
	c.statusMu.Lock()
	defer c.statusMu.Unlock()
	_, failed := c.failing[operation]
	delete(c.failing, operation)
	if failed && len(c.failing) == 0 {
		c.set.Recovered()
	}
}

func seconds(d time.Duration) int32 { return int32(d / time.Second) }
