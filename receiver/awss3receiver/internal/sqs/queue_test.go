// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
)

// fakeQueue is a queue in memory whose time a test can hold, and whose calls a test can make fail. The
// end-to-end tests have a real one.
type fakeQueue struct {
	visibility  time.Duration
	maxReceives int // 0: no dead-letter queue

	mu       sync.Mutex
	messages []*queued        // guarded by mu
	dead     []string         // guarded by mu: bodies in the dead-letter queue
	calls    map[string]int   // guarded by mu
	fail     map[string]error // guarded by mu: by operation
	refuse   map[string]bool  // guarded by mu: each message of a batch, by operation
	more     chan struct{}    // guarded by mu: closed and replaced when a message is sent
}

type queued struct {
	id, body string
	sent     time.Time
	receives int
	receipt  string
	visible  time.Time
	deleted  bool
}

func newFakeQueue(visibility time.Duration, maxReceives int) *fakeQueue {
	return &fakeQueue{
		visibility: visibility, maxReceives: maxReceives,
		calls: make(map[string]int), fail: make(map[string]error), refuse: make(map[string]bool), more: make(chan struct{}),
	}
}

func (q *fakeQueue) send(body string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, &queued{id: fmt.Sprintf("m%d", len(q.messages)), body: body, sent: time.Now(), visible: time.Now()})
	close(q.more)
	q.more = make(chan struct{})
}

// breakDown makes an operation fail, or no longer with nil.
func (q *fakeQueue) breakDown(operation string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail[operation] = err
}

func (q *fakeQueue) refuseEach(operation string, refuse bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refuse[operation] = refuse
}

func (q *fakeQueue) count(operation string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls[operation]
}

// left is how often each message was given out that is in the queue yet.
func (q *fakeQueue) left() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := map[string]int{}
	for _, m := range q.messages {
		if !m.deleted {
			left[m.id] = m.receives
		}
	}
	return left
}

// visibleNow is how many messages anybody could be given now.
func (q *fakeQueue) visibleNow() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, m := range q.messages {
		if !m.deleted && !m.visible.After(time.Now()) {
			n++
		}
	}
	return n
}

func (q *fakeQueue) deadLetters() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string(nil), q.dead...)
}

func (q *fakeQueue) beginLocked(operation string) error {
	q.calls[operation]++
	return q.fail[operation]
}

func (q *fakeQueue) GetQueueAttributes(context.Context, *awssqs.GetQueueAttributesInput, ...func(*awssqs.Options)) (*awssqs.GetQueueAttributesOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.beginLocked(opAttributes); err != nil {
		return nil, err
	}
	attributes := map[string]string{"VisibilityTimeout": strconv.Itoa(int(q.visibility / time.Second))}
	if q.maxReceives > 0 {
		attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":"arn","maxReceiveCount":%d}`, q.maxReceives)
	}
	return &awssqs.GetQueueAttributesOutput{Attributes: attributes}, nil
}

func (q *fakeQueue) ReceiveMessage(ctx context.Context, in *awssqs.ReceiveMessageInput, _ ...func(*awssqs.Options)) (*awssqs.ReceiveMessageOutput, error) {
	wait := time.NewTimer(time.Duration(in.WaitTimeSeconds) * time.Second)
	defer wait.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	q.mu.Lock()
	err := q.beginLocked(opReceive)
	q.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for {
		given, more := q.give(in)
		if len(given) > 0 {
			return &awssqs.ReceiveMessageOutput{Messages: given}, nil
		}
		select {
		case <-more:
		case <-again.C:
		case <-wait.C:
			return &awssqs.ReceiveMessageOutput{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *fakeQueue) give(in *awssqs.ReceiveMessageInput) (given []types.Message, more <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if m.deleted || m.visible.After(time.Now()) || len(given) == int(in.MaxNumberOfMessages) {
			continue
		}
		if q.maxReceives > 0 && m.receives >= q.maxReceives {
			m.deleted = true
			q.dead = append(q.dead, m.body)
			continue
		}
		m.receives++
		m.receipt = fmt.Sprintf("%p-%d", m, m.receives)
		visibility := q.visibility
		if in.VisibilityTimeout > 0 {
			visibility = time.Duration(in.VisibilityTimeout) * time.Second
		}
		m.visible = time.Now().Add(visibility)
		given = append(given, types.Message{
			MessageId: &m.id, Body: &m.body, ReceiptHandle: aws.String(m.receipt),
			Attributes: map[string]string{
				"ApproximateReceiveCount": strconv.Itoa(m.receives),
				"SentTimestamp":           strconv.FormatInt(m.sent.UnixMilli(), 10),
			},
		})
	}
	return given, q.more
}

func (q *fakeQueue) ChangeMessageVisibilityBatch(_ context.Context, in *awssqs.ChangeMessageVisibilityBatchInput, _ ...func(*awssqs.Options)) (*awssqs.ChangeMessageVisibilityBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.beginLocked(opExtend); err != nil {
		return nil, err
	}
	out := &awssqs.ChangeMessageVisibilityBatchOutput{}
	for _, e := range in.Entries {
		m := q.findLocked(*e.ReceiptHandle)
		if m == nil || q.refuse[opExtend] {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, SenderFault: true, Code: aws.String("ReceiptHandleIsInvalid")})
			continue
		}
		m.visible = time.Now().Add(time.Duration(e.VisibilityTimeout) * time.Second)
	}
	return out, nil
}

func (q *fakeQueue) DeleteMessageBatch(_ context.Context, in *awssqs.DeleteMessageBatchInput, _ ...func(*awssqs.Options)) (*awssqs.DeleteMessageBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.beginLocked(opDelete); err != nil {
		return nil, err
	}
	out := &awssqs.DeleteMessageBatchOutput{}
	for _, e := range in.Entries {
		m := q.findLocked(*e.ReceiptHandle)
		if m == nil || q.refuse[opDelete] {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, SenderFault: true, Code: aws.String("ReceiptHandleIsInvalid")})
			continue
		}
		m.deleted = true
	}
	return out, nil
}

// findLocked is the message with that receipt, as long as it is the newest and still holds.
func (q *fakeQueue) findLocked(receipt string) *queued {
	for _, m := range q.messages {
		if m.receipt == receipt && !m.deleted {
			return m
		}
	}
	return nil
}

func TestReadTerms(t *testing.T) {
	tests := []struct {
		name       string
		attributes map[string]string
		want       terms
	}{
		{"nothing told", nil, terms{Visibility: 30 * time.Second}},
		{
			"all told",
			map[string]string{"VisibilityTimeout": "60", "RedrivePolicy": `{"maxReceiveCount":3}`},
			terms{Visibility: time.Minute, MaxReceives: 3},
		},
		{
			"a number in quotes",
			map[string]string{"VisibilityTimeout": "60", "RedrivePolicy": `{"maxReceiveCount":"3"}`},
			terms{Visibility: time.Minute, MaxReceives: 3},
		},
		{"given out again at once", map[string]string{"VisibilityTimeout": "0"}, terms{Visibility: 30 * time.Second, Explicit: true}},
		{"no sense", map[string]string{"VisibilityTimeout": "-x", "RedrivePolicy": "{"}, terms{Visibility: 30 * time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, readTerms(tt.attributes)) })
	}
}

func TestWordOfAnError(t *testing.T) {
	api := func(code string) error { return fmt.Errorf("operation: %w", &smithy.GenericAPIError{Code: code}) }
	assert.Equal(t, wordDenied, word(api("AccessDenied")))
	assert.Equal(t, wordCredentials, word(api("ExpiredToken")))
	assert.Equal(t, wordThrottled, word(api("RequestThrottled")))
	assert.Equal(t, wordNoQueue, word(&types.QueueDoesNotExist{}))
	assert.Equal(t, wordNoQueue, word(api("AWS.SimpleQueueService.NonExistentQueue")))
	assert.Equal(t, wordTimeout, word(fmt.Errorf("call: %w", context.DeadlineExceeded)))
	assert.Equal(t, wordOther, word(api("InternalError")))
	assert.Contains(t, advice(opReceive, wordDenied), "sqs:ReceiveMessage")
	assert.Contains(t, advice(opExtend, wordDenied), "sqs:ChangeMessageVisibility")
	assert.Contains(t, advice(opReceive, wordNoQueue), "sqs.queue_url")
	assert.Empty(t, advice(opReceive, wordOther))
}
