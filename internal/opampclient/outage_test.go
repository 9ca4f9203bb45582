// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// lines are the messages that a user sees at the default level.
func lines(logs *observer.ObservedLogs) []string {
	var texts []string
	for _, e := range logs.All() {
		if e.Level >= zapcore.InfoLevel {
			texts = append(texts, e.Level.String()+" "+e.Message)
		}
	}
	return texts
}

func TestOutageIsOneLineAndItsEndAnother(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	o := outage{logger: zap.New(core)}
	refused := &failure{reason: ReasonRefused, err: errors.New("connection refused")}
	for i := range 100 {
		o.failed(refused, epoch.Add(time.Duration(i)*time.Second))
	}
	o.answered(epoch.Add(100 * time.Second))
	o.answered(epoch.Add(101 * time.Second))
	assert.Equal(t, []string{
		"warn Cannot reach the OpAMP server, trying again in the background; the collector is not affected",
		"info The OpAMP server answers again",
	}, lines(logs))
	back := logs.FilterMessageSnippet("again").FilterLevelExact(zap.InfoLevel).All()[0].ContextMap()
	assert.EqualValues(t, 100, back["attempts"])
	assert.Equal(t, 100*time.Second, back["outage"])
}

func TestServerThatComesAndGoesIsNotALineEachTime(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	o := outage{logger: zap.New(core)}
	lost := &failure{reason: ReasonClosed, err: errors.New("closed")}
	o.answered(epoch)
	for i := range 600 { // ten minutes
		o.failed(lost, epoch.Add(time.Duration(i)*time.Second))
		o.answered(epoch.Add(time.Duration(i)*time.Second + time.Millisecond))
	}
	assert.Len(t, lines(logs), 1+2*5, "a line a minute")
}
