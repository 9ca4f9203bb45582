// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pipeline"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errBroken = errors.New("broken")
	errDenied = &smithy.GenericAPIError{Code: "AccessDenied"}
)

func takesAll(string) bool { return true }

// counts is an Observer that remembers.
type counts struct {
	mu  sync.Mutex
	got map[string]int // guarded by mu
}

func (c *counts) add(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[name] += n
}

func (c *counts) Received(messages, again int) {
	c.add("received", messages)
	c.add("again", again)
}
func (c *counts) Settled(settlement Settlement, _ time.Duration) { c.add(string(settlement), 1) }
func (c *counts) Record(outcome string)                          { c.add("record "+outcome, 1) }
func (c *counts) Extended(messages int)                          { c.add("extended", messages) }
func (c *counts) Failed(operation, reason string)                { c.add(operation+" "+reason, 1) }

func (c *counts) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[name]
}

// bench is a consumer of a fakeQueue, in a bubble of time.
type bench struct {
	*counts
	queue    *fakeQueue
	consumer *Consumer
	log      *observer.ObservedLogs

	mu     sync.Mutex
	read   []string                  // guarded by mu: signal and key
	last   [][2]bool                 // guarded by mu: LastKey, LastSignal of each
	status []error                   // guarded by mu: nil when it had recovered
	answer func(key string) Result   // guarded by mu
	wait   func(ctx context.Context) // fixed before the consumer starts
}

// newBench starts a consumer. change may adjust its settings.
func newBench(t *testing.T, q *fakeQueue, change func(*bench, *Settings)) *bench {
	t.Helper()
	core, log := observer.New(zap.InfoLevel)
	b := &bench{
		counts: &counts{got: make(map[string]int)},
		queue:  q,
		log:    log,
		answer: func(string) Result { return Result{} },
		wait:   func(context.Context) {},
	}
	set := Settings{
		QueueURL:    "http://127.0.0.1/queue",
		MaxMessages: 10,
		Wait:        20,
		Workers:     2,
		Claim:       Claim{Bucket: "telemetry", Prefix: "p", NamesSignal: true, Takes: takesAll},
		Signals:     []pipeline.Signal{pipeline.SignalTraces, pipeline.SignalMetrics, pipeline.SignalLogs},
		Read:        b.readObject,
		Observer:    b.counts,
		Logger:      zap.New(core),
		Failing:     b.report,
		Recovered:   func() { b.report(nil) },
		Ended:       func() { b.add("ended", 1) },
	}
	if change != nil {
		change(b, &set)
	}
	b.consumer = NewConsumer(q, set)
	b.consumer.Start()
	return b
}

func (b *bench) readObject(ctx context.Context, signal pipeline.Signal, o Object) Result {
	b.mu.Lock()
	b.read = append(b.read, signal.String()+" "+o.Key)
	b.last = append(b.last, [2]bool{o.LastKey, o.LastSignal})
	answer := b.answer
	b.mu.Unlock()
	b.wait(ctx)
	if ctx.Err() != nil {
		return Result{Outcome: OutcomeFailed, Reason: "canceled", Err: ctx.Err()}
	}
	return answer(o.Key)
}

func (b *bench) answerWith(answer func(key string) Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *bench) reads() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.read)
}

func (b *bench) report(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = append(b.status, err)
}

func (b *bench) statuses() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.status)
}

func (b *bench) stop(t *testing.T) {
	t.Helper()
	b.consumer.Stop(t.Context())
	assert.Zero(t, b.consumer.InHand())
	assert.Equal(t, 1, b.of("ended"))
}

// created is a message of S3 that tells of objects of a bucket.
func created(keys ...string) string { return createdIn("telemetry", keys...) }

func createdIn(bucket string, keys ...string) string {
	records := make([]string, len(keys))
	for i, key := range keys {
		records[i] = fmt.Sprintf(`{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q}}}`, bucket, key)
	}
	return `{"Records":[` + strings.Join(records, ",") + `]}`
}

func TestObjectsAreReadIntoTheirPipelineAndDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		b := newBench(t, q, nil)
		q.send(created("p/traces_1.json"))
		q.send(created("p/metrics_1.json", "p/logs_1.json"))
		q.send(testEvent)
		time.Sleep(time.Minute)

		assert.ElementsMatch(t, []string{"traces p/traces_1.json", "metrics p/metrics_1.json", "logs p/logs_1.json"}, b.reads())
		assert.Empty(t, q.left())
		assert.Equal(t, 3, b.of("deleted"))
		assert.Equal(t, 3, b.of("record done"))
		assert.Zero(t, b.of("again"))
		b.stop(t)
	})
}

// All messages of a queue that names none are messages of their own.
func TestMessagesWithoutAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		for i := range 3 {
			q.send(created(fmt.Sprintf("p/logs_%d", i)))
			q.messages[i].id = ""
		}
		b := newBench(t, q, nil)
		time.Sleep(time.Minute)

		assert.ElementsMatch(t, []string{"logs p/logs_0", "logs p/logs_1", "logs p/logs_2"}, b.reads())
		assert.Empty(t, q.left())
		b.stop(t)
	})
}

func TestMessagesAreDeletedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		for i := range 10 {
			q.send(created(fmt.Sprintf("p/logs_%d", i)))
		}
		b := newBench(t, q, nil)
		time.Sleep(time.Minute)

		assert.Equal(t, 10, b.of("deleted"))
		assert.LessOrEqual(t, q.count(opDelete), 2)
		b.stop(t)
	})
}

func TestWhatIsInHandIsKeptFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const visibility = 30 * time.Second
		q := newFakeQueue(visibility, 3)
		for i := range 4 {
			q.send(created(fmt.Sprintf("p/logs_%d", i)))
		}
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(context.Context) { time.Sleep(5 * visibility) }
		})
		time.Sleep(20 * visibility)

		assert.Len(t, b.reads(), 4)
		assert.Zero(t, b.of("again"), "redeliveries")
		assert.Empty(t, q.left())
		assert.GreaterOrEqual(t, b.of("extended"), 4*5)
		b.stop(t)
	})
}

func TestOneLostCallDoesNotLoseAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const visibility = 30 * time.Second
		q := newFakeQueue(visibility, 3)
		q.send(created("p/logs_1"))
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(context.Context) { time.Sleep(2 * visibility) }
		})
		q.breakDown(opExtend, errBroken)
		time.Sleep(visibility/2 + time.Second)
		q.breakDown(opExtend, nil)
		time.Sleep(4 * visibility)

		assert.Len(t, b.reads(), 1)
		assert.Zero(t, b.of("again"), "redeliveries")
		assert.Equal(t, 1, b.of("extend other"))
		b.stop(t)
	})
}

func TestAMessageThatComesBackWhileInHandIsNotReadTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const visibility = 30 * time.Second
		q := newFakeQueue(visibility, 9)
		q.send(created("p/logs_1"))
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(context.Context) { time.Sleep(2 * visibility) }
		})
		q.breakDown(opExtend, errDenied)
		time.Sleep(5 * visibility)

		assert.Len(t, b.reads(), 1)
		assert.Positive(t, b.of("again"))
		assert.Empty(t, q.left(), "the newest receipt deletes it")
		assert.Positive(t, b.of("extend access_denied"))
		b.stop(t)
	})
}

func TestOnlyWhatFailedIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 9)
		b := newBench(t, q, nil)
		b.answerWith(func(key string) Result {
			if key == "p/logs_2" {
				return Result{Outcome: OutcomeFailed, Reason: "refused", Err: errBroken}
			}
			return Result{}
		})
		q.send(created("p/logs_1", "p/logs_2", "p/logs_3"))
		time.Sleep(10 * time.Second)
		assert.Equal(t, map[string]int{"m0": 1}, q.left())
		b.answerWith(func(string) Result { return Result{} })
		time.Sleep(time.Minute)

		assert.Equal(t, []string{"logs p/logs_1", "logs p/logs_2", "logs p/logs_3", "logs p/logs_2"}, b.reads())
		assert.Equal(t, 2, b.of("record repeated"))
		assert.Equal(t, 1, b.of("record refused"))
		assert.Equal(t, 1, b.of("kept"))
		assert.Empty(t, q.left())
		b.stop(t)
	})
}

func TestAMessageThatCannotBeDeletedIsNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 9)
		q.refuseEach(opDelete, true)
		b := newBench(t, q, nil)
		q.send(created("p/logs_1"))
		time.Sleep(20 * time.Second)
		assert.Equal(t, deleteTries, q.count(opDelete))
		q.refuseEach(opDelete, false)
		time.Sleep(time.Minute)

		assert.Len(t, b.reads(), 1)
		assert.Empty(t, q.left())
		assert.Equal(t, 1, b.of("record repeated"))
		b.stop(t)
	})
}

func TestPoisonGoesToTheDeadLetterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		b := newBench(t, q, nil)
		b.answerWith(func(string) Result {
			return Result{Outcome: OutcomeUnreadable, Reason: "undecodable", Err: errBroken}
		})
		q.send("hello")
		q.send(created("p/logs_1"))
		time.Sleep(10 * time.Minute)

		assert.ElementsMatch(t, []string{"hello", created("p/logs_1")}, q.deadLetters())
		assert.Equal(t, 3, b.of("record invalid_json"))
		assert.Equal(t, 3, b.of("record undecodable"))
		assert.Equal(t, 6, b.of("kept"))
		assert.Zero(t, b.of("deleted"))
		lines := b.log.FilterMessageSnippet("was not read").All()
		require.Len(t, lines, 3)
		assert.EqualValues(t, 3, lines[2].ContextMap()["receive_count"])
		assert.EqualValues(t, 3, lines[2].ContextMap()["max_receive_count"])
		b.stop(t)
	})
}

func TestPoisonRestsLongerWithoutADeadLetterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 0)
		b := newBench(t, q, nil)
		q.send("hello")
		time.Sleep(24 * time.Hour)

		assert.InDelta(t, 24*4+5, b.of("kept"), 5, "about every 15 minutes in the end")
		assert.Equal(t, 1, b.log.FilterMessageSnippet("no dead-letter queue").Len())
		b.stop(t)
	})
}

func TestObjectsThatNobodyWants(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newFakeQueue(30*time.Second, 9)
				b := newBench(t, q, func(_ *bench, set *Settings) {
					set.Signals = []pipeline.Signal{pipeline.SignalLogs}
					set.KeepUnclaimed = keep
					set.Claim.Takes = func(key string) bool { return !strings.HasSuffix(key, "_excluded") }
				})
				q.send(createdIn("other", "p/logs_1"))
				q.send(created("p/logs_excluded"))
				q.send(created("p2/logs_1"))
				q.send(created("p/traces_1"))
				q.send(removed)
				time.Sleep(10 * time.Second)

				assert.Empty(t, b.reads())
				for _, outcome := range []string{RecordOtherBucket, RecordOtherPrefix, RecordExcluded, RecordOtherSignal, RecordOtherEvent} {
					assert.Equal(t, 1, b.of("record "+outcome), outcome)
				}
				want := map[string]int{}
				if keep {
					want = map[string]int{"m0": 1, "m1": 1, "m2": 1, "m3": 1}
				}
				assert.Equal(t, want, q.left())
				b.stop(t)
			})
		})
	}
}

func TestAKeyThatTellsNoSignalIsTriedInEachPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 9)
		b := newBench(t, q, nil)
		tried := 0
		b.answerWith(func(string) Result {
			if tried++; tried < 3 {
				return Result{Outcome: OutcomeUnreadable, Reason: "wrong_signal"}
			}
			return Result{}
		})
		q.send(created("p/x+y.json"))
		time.Sleep(10 * time.Second)
		synctest.Wait()

		assert.Equal(t, []string{"traces p/x y.json", "metrics p/x y.json", "logs p/x y.json"}, b.reads())
		assert.Equal(t, [][2]bool{{false, false}, {false, false}, {false, true}}, b.last)
		assert.Empty(t, q.left())
		b.stop(t)
	})
}

func TestAPipelineThatRefusesIsNotAnotherSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 9)
		b := newBench(t, q, nil)
		b.answerWith(func(string) Result { return Result{Outcome: OutcomeFailed, Reason: "refused"} })
		q.send(created("p/x.json"))
		time.Sleep(10 * time.Second)

		assert.Equal(t, []string{"traces p/x.json"}, b.reads())
		b.stop(t)
	})
}

func TestKeysAreTriedAsTheyAreWritten(t *testing.T) {
	tests := []struct {
		name  string
		there string // the object's real key
		want  []string
		as    string
	}{
		{"encoded", "p/logs_a b", []string{"logs p/logs_a b"}, RecordDone},
		{"raw", "p/logs_a+b", []string{"logs p/logs_a b", "logs p/logs_a+b"}, RecordDone},
		{"gone", "p/other", []string{"logs p/logs_a b", "logs p/logs_a+b"}, RecordMissing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newFakeQueue(30*time.Second, 9)
				b := newBench(t, q, nil)
				b.answerWith(func(key string) Result {
					if key != tt.there {
						return Result{Outcome: OutcomeMissing}
					}
					return Result{}
				})
				q.send(created("p/logs_a+b"))
				time.Sleep(10 * time.Second)

				assert.Equal(t, tt.want, b.reads())
				assert.Equal(t, 1, b.of("record "+tt.as))
				assert.Empty(t, q.left(), "what is gone does not come back")
				b.stop(t)
			})
		})
	}
}

func TestAQueueThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		q.breakDown(opReceive, errDenied)
		b := newBench(t, q, nil)
		q.send(created("p/logs_1"))
		time.Sleep(10 * time.Minute)
		tries := q.count(opReceive)
		assert.Greater(t, tries, 15)
		assert.Less(t, tries, 60)
		assert.Equal(t, tries, b.of("receive access_denied"))
		assert.LessOrEqual(t, b.log.FilterMessageSnippet("gives out no messages").Len(), 10*linesPerInterval)
		require.Len(t, b.statuses(), 1)
		assert.ErrorContains(t, b.statuses()[0], "allow sqs:ReceiveMessage")

		q.breakDown(opReceive, nil)
		time.Sleep(time.Minute)

		assert.Empty(t, q.left())
		require.Len(t, b.statuses(), 2)
		assert.NoError(t, b.statuses()[1])
		b.stop(t)
	})
}

func TestOneThingThatGoesWellHidesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 9)
		q.breakDown(opExtend, errDenied)
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(context.Context) { time.Sleep(25 * time.Second) }
		})
		for i := range 20 {
			q.send(created(fmt.Sprintf("p/logs_%d", i)))
			time.Sleep(10 * time.Second)
		}
		require.Len(t, b.statuses(), 1)
		assert.ErrorContains(t, b.statuses()[0], "allow sqs:ChangeMessageVisibility")
		q.breakDown(opExtend, nil)
		time.Sleep(time.Hour)

		require.Len(t, b.statuses(), 2)
		assert.NoError(t, b.statuses()[1])
		assert.Empty(t, q.left())
		b.stop(t)
	})
}

func TestAMessageIsNotHeldForLongerThanSQSAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hands{byID: make(map[string]*held)}
		h.take(&held{id: "m", receipt: "r", since: time.Now()})
		assert.Equal(t, time.Hour, h.kept(time.Hour)[0].rest)
		time.Sleep(longestHold - 10*time.Minute)
		assert.Equal(t, 10*time.Minute, h.kept(time.Hour)[0].rest)
		time.Sleep(11 * time.Minute)
		assert.Empty(t, h.kept(time.Hour))
	})
}

func TestStopEndsThePauseOfAQueueThatFails(t *testing.T) {
	for _, operation := range []string{opAttributes, opReceive} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newFakeQueue(30*time.Second, 3)
				q.breakDown(operation, errBroken)
				b := newBench(t, q, nil)
				time.Sleep(10 * time.Minute)
				began := time.Now()

				b.stop(t)

				assert.Zero(t, time.Since(began))
			})
		})
	}
}

func TestAQueueThatDoesNotTellItsTermsIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		q.breakDown(opAttributes, errDenied)
		b := newBench(t, q, nil)
		q.send(created("p/logs_1"))
		time.Sleep(10 * time.Second)

		assert.Empty(t, q.left())
		assert.Equal(t, 1, b.of("attributes access_denied"))
		b.stop(t)
	})
}

func TestAnEmptyQueueThatDoesNotWaitIsNotSpunOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		b := newBench(t, q, func(_ *bench, set *Settings) { set.Wait = 0 })
		time.Sleep(time.Minute)

		assert.Less(t, q.count(opReceive), 130)
		b.stop(t)
	})
}

func TestWhatIsInHandAtTheEndIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(time.Hour, 3)
		for i := range 10 {
			q.send(created(fmt.Sprintf("p/logs_%d", i), "p/logs_x"))
		}
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(ctx context.Context) { <-ctx.Done() }
		})
		time.Sleep(time.Second)
		require.Equal(t, 10, b.consumer.InHand())
		began := time.Now()

		b.stop(t)

		assert.Equal(t, drainLimit, time.Since(began))
		assert.Equal(t, 10, q.visibleNow())
		assert.Equal(t, 10, b.of("released"))
		assert.Zero(t, b.of("kept"))
		assert.Zero(t, b.log.FilterMessageSnippet("was not read").Len(), "an end is no failure")
	})
}

func TestWhatIsNearlyReadIsFinishedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(time.Hour, 3)
		q.send(created("p/logs_1"))
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(context.Context) { time.Sleep(drainLimit / 2) }
		})
		synctest.Wait()

		b.stop(t)

		assert.Equal(t, 1, b.of("deleted"))
		assert.Empty(t, q.left())
	})
}

func TestStopIsBoundedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(time.Hour, 3)
		q.send(created("p/logs_1"))
		b := newBench(t, q, func(b *bench, _ *Settings) {
			b.wait = func(ctx context.Context) { <-ctx.Done() }
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()

		b.consumer.Stop(ctx)

		assert.Equal(t, 100*time.Millisecond, time.Since(began))
		assert.Zero(t, b.consumer.InHand())
	})
}

func TestSuppressedLinesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, log := observer.New(zap.WarnLevel)
		l := newLines(zap.New(core))
		for range 100 {
			l.warn("too often")
		}
		l.warn("another kind")
		time.Sleep(lineInterval)
		l.warn("too often")

		assert.Equal(t, linesPerInterval+2, log.Len())
		assert.EqualValues(t, 100-linesPerInterval, log.All()[log.Len()-1].ContextMap()["suppressed"])
	})
}

func TestAGroupSharesOneConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(30*time.Second, 3)
		c := &counts{got: make(map[string]int)}
		var g Group
		var mu sync.Mutex
		var read, status []string
		member := func(signal pipeline.Signal) Member {
			return Member{
				Signal: signal,
				Read: func(_ context.Context, o Object) Result {
					mu.Lock()
					defer mu.Unlock()
					read = append(read, signal.String()+" "+o.Key)
					return Result{}
				},
				Failing: func(error) {
					mu.Lock()
					defer mu.Unlock()
					status = append(status, signal.String())
				},
				Recovered: func() {},
			}
		}
		opened := 0
		open := func(set Settings) (*Consumer, error) {
			opened++
			set.QueueURL, set.MaxMessages, set.Wait, set.Workers = "q", 10, 20, 4
			set.Claim = Claim{Bucket: "telemetry", NamesSignal: true, Takes: takesAll}
			set.Observer, set.Logger, set.Ended = c, zap.NewNop(), func() {}
			return NewConsumer(q, set), nil
		}
		for _, signal := range signals {
			require.NoError(t, g.Join(signal))
		}
		require.ErrorIs(t, g.Join(pipeline.SignalLogs), errJoinedTwice)
		q.breakDown(opAttributes, errBroken)
		for i := range 30 {
			q.send(created(fmt.Sprintf("%s_%d", signals[i%3], i)))
		}
		require.NoError(t, g.Start(member(signals[0]), open))
		require.NoError(t, g.Start(member(signals[1]), open))
		time.Sleep(time.Minute)
		assert.Zero(t, opened, "a pipeline is missing yet")
		require.NoError(t, g.Start(member(signals[2]), open))
		synctest.Wait()
		mu.Lock()
		assert.Len(t, status, 3, "all are told")
		mu.Unlock()
		q.breakDown(opAttributes, nil)
		time.Sleep(time.Minute)
		synctest.Wait()

		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, 1, opened)
		assert.Len(t, read, 30)
		assert.Len(t, slices.Compact(slices.Sorted(slices.Values(read))), 30)
		assert.Empty(t, q.left())
		for range signals {
			g.Stop(t.Context())
		}
	})
}

func TestAGroupThatNeverStartedStops(t *testing.T) {
	var g Group
	require.NoError(t, g.Join(pipeline.SignalLogs))
	g.Stop(t.Context())
}
