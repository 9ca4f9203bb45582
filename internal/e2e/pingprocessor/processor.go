// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package pingprocessor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.uber.org/zap"
)

// capability is what the server addresses its pings to.
const capability = "org.example.ping"

type pingProcessor struct {
	consumer.Metrics // what it gets it passes on

	// Fixed at construction.
	config *Config
	logger *zap.Logger

	// Fixed at start.
	handler opampcustommessages.CustomCapabilityHandler // nil before
	quit    chan struct{}                               // closed by Shutdown
	work    sync.WaitGroup
}

func (p *pingProcessor) Start(_ context.Context, host component.Host) error {
	extension, ok := host.GetExtensions()[p.config.OpAMP]
	if !ok {
		return fmt.Errorf("opamp: extension %q not found", p.config.OpAMP)
	}
	registry, ok := extension.(opampcustommessages.CustomCapabilityRegistry)
	if !ok {
		return fmt.Errorf("opamp: extension %q does not take custom capabilities", p.config.OpAMP)
	}
	handler, err := registry.Register(capability)
	if err != nil {
		return fmt.Errorf("register %s: %w", capability, err)
	}
	p.handler, p.quit = handler, make(chan struct{})
	p.work.Go(p.answer)
	return nil
}

// answer says hello and then answers, until Shutdown.
func (p *pingProcessor) answer() {
	for i := range p.config.Hellos {
		if !p.say("hello", []byte(strconv.Itoa(i))) {
			break
		}
	}
	for {
		select {
		case <-p.quit:
			return
		case ping := <-p.handler.Message():
			if ping.GetType() == "ping" {
				p.say("pong", ping.GetData())
			}
		}
	}
}

// say sends a message, and reports whether that went well. Where there is no room it waits,
// which is not for ever.
func (p *pingProcessor) say(messageType string, data []byte) bool {
	for {
		room, err := p.handler.SendMessage(messageType, data)
		switch {
		case err == nil:
			return true
		case errors.Is(err, types.ErrCustomMessagePending):
			<-room
		default:
			p.logger.Warn("Cannot send", zap.String("type", messageType), zap.Error(err))
			return false
		}
	}
}

func (p *pingProcessor) Shutdown(context.Context) error {
	if p.handler == nil {
		return nil // never started
	}
	close(p.quit)
	p.work.Wait()
	p.say("goodbye", nil)
	p.handler.Unregister()
	return nil
}
