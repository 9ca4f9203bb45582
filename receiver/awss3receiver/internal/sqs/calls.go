// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/zap"
)

const (
	// deleteLinger is how long a message that is done waits for others to be deleted with.
	deleteLinger = 100 * time.Millisecond
	// deleteTries is how often a message is tried to be deleted before it is left to come back.
	deleteTries = 4
	// callLimit is how long one call may take that changes messages.
	callLimit = 10 * time.Second
	// longestRest is how long a message whose object cannot be read rests at most where there is no
	// dead-letter queue.
	longestRest = 15 * time.Minute
)

// keepInHand begins the visibility timeout of what is in hand anew, again and again, until ctx ends.
func (c *Consumer) keepInHand(ctx context.Context) {
	every := c.terms.Visibility / extendEvery
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-ctx.Done():
			return
		}
		for _, batch := range batches(c.hands.kept(c.terms.Visibility)) {
			c.extend(ctx, batch, min(every, callLimit))
		}
	}
}

func (c *Consumer) extend(ctx context.Context, batch []receipt, limit time.Duration) {
	failed, err := c.change(ctx, batch, limit)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.trouble(opExtend, "Messages in hand could not be kept from others for longer", err)
	default:
		c.recovered(opExtend)
		c.set.Observer.Extended(len(batch) - len(failed))
	}
	for _, f := range failed {
		c.set.Observer.Failed(opExtend, failureWord(f.SenderFault))
		if !f.SenderFault {
			continue // the queue's own trouble: the next beat tries again
		}
		m := batch[index(f.Id)].held
		if !c.hands.leave(m) {
			continue // it is being deleted
		}
		c.lines.warn("A message in hand is no longer kept from others and may be read twice: its visibility timeout "+
			"has passed",
			append(c.who(m), zap.String("error", aws.ToString(f.Message)))...)
	}
}

// leave lets go of a message that comes back. Without a dead-letter queue it comes back for as long
// as the queue keeps messages, so it rests a little longer each time.
func (c *Consumer) leave(m *held) {
	c.hands.drop(m)
	c.set.Observer.Settled(SettledKept, m.age())
	if c.terms.MaxReceives > 0 {
		return
	}
	rest := c.terms.Visibility
	for n := 1; n < m.receives && rest < longestRest; n++ {
		rest *= 2
	}
	rest = min(rest, max(longestRest, c.terms.Visibility))
	if _, err := c.change(c.calls, c.hands.named([]*held{m}, rest), callLimit); err != nil && c.calls.Err() == nil {
		c.set.Observer.Failed(opExtend, word(err)) // it comes back somewhat earlier
	}
}

// release gives back what is in hand, so that others need not wait for it.
func (c *Consumer) release() {
	for _, batch := range batches(c.hands.kept(0)) {
		if _, err := c.change(c.calls, batch, releaseLimit); err != nil {
			c.set.Observer.Failed(opRelease, word(err))
			c.lines.warn("Messages in hand could not be given back: they come back when their visibility timeout has passed",
				zap.Int("messages", len(batch)), zap.Error(err))
		}
		for _, r := range batch {
			c.set.Observer.Settled(SettledReleased, r.age())
			c.hands.drop(r.held)
		}
	}
}

// change sets for how long the queue keeps messages from others from now on.
func (c *Consumer) change(ctx context.Context, batch []receipt, limit time.Duration) ([]types.BatchResultErrorEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(batch))
	for i := range batch {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id:                aws.String(strconv.Itoa(i)),
			ReceiptHandle:     &batch[i].handle,
			VisibilityTimeout: seconds(batch[i].rest),
		}
	}
	out, err := c.api.ChangeMessageVisibilityBatch(ctx, &awssqs.ChangeMessageVisibilityBatchInput{
		QueueUrl: &c.set.QueueURL,
		Entries:  entries,
	})
	if err != nil {
		return nil, err
	}
	return inBatch(out.Failed, len(batch)), nil
}

// deleteSettled deletes messages that are done with, several at a time, until there are no more.
func (c *Consumer) deleteSettled() {
	for m := range c.settled {
		batch := []*held{m}
		linger := time.NewTimer(deleteLinger)
		for more := true; more && len(batch) < maxBatch; {
			select {
			case m, ok := <-c.settled:
				if more = ok; ok {
					batch = append(batch, m)
				}
			case <-linger.C:
				more = false
			}
		}
		linger.Stop()
		c.delete(batch)
	}
}

// delete deletes messages, and leaves those to come back that it cannot: what they tell of is done,
// so they are deleted then.
func (c *Consumer) delete(messages []*held) {
	c.hands.leave(messages...)
	pause := firstPause / 4
	for try := 1; ; try++ {
		named := c.hands.named(messages, 0)
		failed, err := c.tryDelete(named)
		if err != nil {
			c.trouble(opDelete, "Messages that are done could not be deleted", err)
		} else {
			c.recovered(opDelete)
		}
		messages = messages[:0]
		for i := range named {
			if failed[i] == nil && err == nil {
				c.set.Observer.Settled(SettledDeleted, named[i].age())
				c.hands.drop(named[i].held)
				continue
			}
			messages = append(messages, named[i].held)
		}
		if len(messages) == 0 {
			return
		}
		if try == deleteTries || !c.pause(pause) {
			break
		}
		pause *= 2
	}
	for _, m := range messages {
		c.set.Observer.Settled(SettledKept, m.age())
		c.hands.drop(m)
	}
}

// tryDelete returns what failed, by its place in named.
func (c *Consumer) tryDelete(named []receipt) (map[int]*types.BatchResultErrorEntry, error) {
	ctx, cancel := context.WithTimeout(c.calls, callLimit)
	defer cancel()
	entries := make([]types.DeleteMessageBatchRequestEntry, len(named))
	for i := range named {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &named[i].handle}
	}
	out, err := c.api.DeleteMessageBatch(ctx, &awssqs.DeleteMessageBatchInput{QueueUrl: &c.set.QueueURL, Entries: entries})
	if err != nil {
		return nil, err
	}
	failed := make(map[int]*types.BatchResultErrorEntry)
	for _, f := range inBatch(out.Failed, len(named)) {
		c.set.Observer.Failed(opDelete, failureWord(f.SenderFault))
		c.lines.warn("A message that is done could not be deleted", append(c.who(named[index(f.Id)].held),
			zap.String("reason", aws.ToString(f.Code)), zap.String("error", aws.ToString(f.Message)))...)
		failed[index(f.Id)] = &f
	}
	return failed, nil
}

// inBatch leaves out what the queue says of messages that it was not asked about.
func inBatch(failed []types.BatchResultErrorEntry, n int) []types.BatchResultErrorEntry {
	known := failed[:0]
	for _, f := range failed {
		if i := index(f.Id); i >= 0 && i < n {
			known = append(known, f)
		}
	}
	return known
}

// index is the place in a batch that an id stands for, -1 for none.
func index(id *string) int {
	i, err := strconv.Atoi(aws.ToString(id))
	if err != nil {
		return -1
	}
	return i
}

func failureWord(senderFault bool) string {
	if senderFault {
		return "refused"
	}
	return wordOther
}
