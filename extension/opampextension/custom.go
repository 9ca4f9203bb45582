// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampcustommessages"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadata"
	"github.com/otel-fleetview/fleetview/internal/custommessage"
	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const (
	defaultCustomQueueSize  = 1000
	defaultCustomQueueBytes = 32 << 20
	defaultCustomMaxSize    = 16 << 20
	// mostCustomQueue bounds queue_size, leastCustomSize the sizes in bytes: a number
	// below is one that was meant in another unit.
	mostCustomQueue = 1_000_000
	leastCustomSize = 1 << 10
	mostCustomBytes = 1 << 30
	mostCustomTotal = math.MaxInt32
	// mostCustomSize leaves room for the rest of a message.
	mostCustomSize = opampwire.DefaultMaxMessageSize - 64<<10

	// supervisorPace is the pace of custom messages under a supervisor: its buffer holds
	// ten, and it drops what comes while that is full.
	supervisorPace = 100 * time.Millisecond
	// customStorageName tells the storage client from the one of the instance UID.
	customStorageName = "custom_messages"
)

// CustomMessagesConfig bounds what components send to the server.
type CustomMessagesConfig struct {
	// QueueSize is how many messages of one capability may wait for the server.
	QueueSize int `mapstructure:"queue_size"`
	// QueueBytes is how many bytes they may have.
	QueueBytes int `mapstructure:"queue_bytes"`
	// TotalBytes is how many bytes all messages that wait for the server may have, and as many those that wait for
	// components. 0 is four times QueueBytes.
	TotalBytes int `mapstructure:"total_bytes"`
	// MaxMessageSize bounds one message, in bytes.
	MaxMessageSize int `mapstructure:"max_message_size"`
	// Storage is a storage extension that keeps unsent messages over restarts, in place of
	// the one that keeps the instance UID.
	Storage *component.ID `mapstructure:"storage,omitempty"`

	_ struct{}
}

func defaultCustomMessages() CustomMessagesConfig {
	return CustomMessagesConfig{
		QueueSize:      defaultCustomQueueSize,
		QueueBytes:     defaultCustomQueueBytes,
		MaxMessageSize: defaultCustomMaxSize,
	}
}

// Validate reports everything that is wrong with the bounds.
func (c *CustomMessagesConfig) Validate() error {
	var errs []error
	within := func(key string, value, least, most, usual int) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("%s: %d must be between %d and %d; leave it out for %d", key, value, least, most, usual))
		}
	}
	within("queue_size", c.QueueSize, 1, mostCustomQueue, defaultCustomQueueSize)
	within("queue_bytes", c.QueueBytes, leastCustomSize, mostCustomBytes, defaultCustomQueueBytes)
	within("max_message_size", c.MaxMessageSize, leastCustomSize, mostCustomSize, defaultCustomMaxSize)
	if c.TotalBytes != 0 && (c.TotalBytes < c.QueueBytes || c.TotalBytes > mostCustomTotal) {
		errs = append(errs, fmt.Errorf("total_bytes: %d must be between queue_bytes, %d, and %d; leave it out for four times queue_bytes",
			c.TotalBytes, c.QueueBytes, mostCustomTotal))
	}
	if c.MaxMessageSize > c.QueueBytes {
		errs = append(errs, fmt.Errorf("max_message_size: %d is more than queue_bytes, %d: such a message would never fit",
			c.MaxMessageSize, c.QueueBytes))
	}
	return errors.Join(errs...)
}

var _ opampcustommessages.CustomCapabilityRegistry = (*opampExtension)(nil)

// Register implements opampcustommessages.CustomCapabilityRegistry. Components may call
// it, and use what it returns, before Start and after Shutdown as well.
func (e *opampExtension) Register(capability string, opts ...opampcustommessages.CustomCapabilityRegisterOption,
) (opampcustommessages.CustomCapabilityHandler, error) {
	return e.custom.Register(capability, opts...)
}

// newCustomMessages makes the registry, which works at once and reaches nobody yet.
func newCustomMessages(cfg *Config, logger *zap.Logger, store *customStorage) *custommessage.Registry {
	set := custommessage.Settings{
		QueueSize:      cfg.CustomMessages.QueueSize,
		QueueBytes:     cfg.CustomMessages.QueueBytes,
		TotalBytes:     cfg.CustomMessages.TotalBytes,
		MaxMessageSize: cfg.CustomMessages.MaxMessageSize,
		MaxMessageKey:  "custom_messages::max_message_size",
		Logger:         logger,
	}
	if store != nil {
		set.Store = store
	}
	return custommessage.New(set)
}

// customPace is the pace that who is on the other side needs.
func (c *Config) customPace() time.Duration {
	if c.supervised() {
		return supervisorPace
	}
	return 0
}

// linkTo is the way to the server through client.
func linkTo(client *opampclient.Client) custommessage.Link {
	return custommessage.Link{
		Nudge: client.Nudge,
		Announce: func(capabilities []string) {
			client.SetCustomCapabilities(&protobufs.CustomCapabilities{Capabilities: capabilities})
		},
	}
}

// customStorage keeps custom messages in a storage extension.
type customStorage struct {
	// Fixed at construction.
	key   string       // that names it
	id    component.ID // of the storage
	owner component.ID

	ext    storage.Extension // fixed at start
	client storage.Client    // from Open to Close
}

func newCustomStorage(cfg *Config, owner component.ID) *customStorage {
	switch {
	case cfg.CustomMessages.Storage != nil:
		return &customStorage{key: "custom_messages::storage", id: *cfg.CustomMessages.Storage, owner: owner}
	case cfg.Storage != nil:
		return &customStorage{key: "storage", id: *cfg.Storage, owner: owner}
	}
	return nil
}

// find looks for the extension, whose lack is a wrong configuration. A nil storage is
// none and finds nothing.
func (s *customStorage) find(host component.Host) error {
	if s == nil {
		return nil
	}
	ext, ok := host.GetExtensions()[s.id]
	if !ok {
		return fmt.Errorf("%s: extension %q not found", s.key, s.id)
	}
	s.ext, ok = ext.(storage.Extension)
	if !ok {
		return fmt.Errorf("%s: extension %q is not a storage extension", s.key, s.id)
	}
	return nil
}

// Field implements custommessage.Store.
func (s *customStorage) Field() zap.Field { return zap.Stringer("storage", s.id) }

// Open implements custommessage.Store.
func (s *customStorage) Open(ctx context.Context) (err error) {
	s.client, err = s.ext.GetClient(ctx, component.KindExtension, s.owner, customStorageName)
	if err == nil && s.client == nil {
		return errors.New("the storage gave no client")
	}
	return err
}

// Get implements custommessage.Store.
func (s *customStorage) Get(ctx context.Context, key string) ([]byte, error) {
	return s.client.Get(ctx, key)
}

// Apply implements custommessage.Store.
func (s *customStorage) Apply(ctx context.Context, set map[string][]byte, remove []string) error {
	ops := make([]*storage.Operation, 0, len(set)+len(remove))
	for key, value := range set {
		ops = append(ops, storage.SetOperation(key, value))
	}
	for _, key := range remove {
		ops = append(ops, storage.DeleteOperation(key))
	}
	return s.client.Batch(ctx, ops...)
}

// Close implements custommessage.Store.
func (s *customStorage) Close(ctx context.Context) error { return s.client.Close(ctx) }

// observeCustom lets the registry's own counts be read when metrics are collected, so
// that counting costs a message nothing.
func observeCustom(telemetry *metadata.TelemetryBuilder, registry *custommessage.Registry) error {
	each := func(of func(custommessage.Stats) uint64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			for _, s := range registry.Stats() {
				o.Observe(int64(of(s)), labels("capability", s.Capability))
			}
			return nil
		}
	}
	byReason := func(of func(custommessage.Stats) map[string]uint64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			for _, s := range registry.Stats() {
				for reason, n := range of(s) {
					o.Observe(int64(n), labels("capability", s.Capability, "reason", reason))
				}
			}
			return nil
		}
	}
	return errors.Join(
		telemetry.RegisterOpampCustomQueueSizeCallback(each(func(s custommessage.Stats) uint64 { return uint64(s.QueueSize) })),
		telemetry.RegisterOpampCustomQueueBytesCallback(each(func(s custommessage.Stats) uint64 { return uint64(s.QueueBytes) })),
		telemetry.RegisterOpampCustomSentCallback(each(func(s custommessage.Stats) uint64 { return s.Sent })),
		telemetry.RegisterOpampCustomResentCallback(each(func(s custommessage.Stats) uint64 { return s.Resent })),
		telemetry.RegisterOpampCustomAcknowledgedCallback(each(func(s custommessage.Stats) uint64 { return s.Acknowledged })),
		telemetry.RegisterOpampCustomUnansweredCallback(each(func(s custommessage.Stats) uint64 { return s.Unanswered })),
		telemetry.RegisterOpampCustomDeliveredCallback(each(func(s custommessage.Stats) uint64 { return s.Delivered })),
		telemetry.RegisterOpampCustomDroppedCallback(byReason(func(s custommessage.Stats) map[string]uint64 { return s.Dropped })),
		telemetry.RegisterOpampCustomRefusedCallback(byReason(func(s custommessage.Stats) map[string]uint64 { return s.Refused })),
	)
}
