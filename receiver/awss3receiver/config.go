// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a container may have no zones of its own

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

const (
	minutePartitions = "year=%Y/month=%m/day=%d/hour=%H/minute=%M"
	hourPartitions   = "year=%Y/month=%m/day=%d/hour=%H"

	defaultSettleDelay  = 2 * time.Minute
	defaultPollInterval = 30 * time.Second

	defaultPrefetchObjects = 32
	defaultPrefetchBytes   = 64 << 20
	defaultListConcurrency = 16

	defaultDocumentBytes = 32 << 20
	defaultObjectBytes   = 16 << 30
	// leastLimit is a limit below which nothing real passes.
	leastLimit = 4 << 10
)

// Values of on_error.
const (
	onErrorSkip = "skip"
	onErrorFail = "fail"
)

// Errors of the configuration that programs around the Collector may look for.
var (
	errNoBucket     = errors.New("bucket is required")
	errNoMode       = errors.New("either starttime/endtime or sqs configuration must be provided")
	errNoEnd        = errors.New("when starttime is specified, endtime is required")
	errNoStart      = errors.New("when endtime is specified, starttime is required")
	errTwoModes     = errors.New("starttime/endtime and sqs configuration cannot be used together")
	errFollowAndEnd = errors.New("follow and endtime cannot be used together: following has no end")
	errFollowAndSQS = errors.New("follow and sqs configuration cannot be used together")
	errEmptyRange   = errors.New("endtime must be after starttime")
)

// Config is what the user writes under the receiver's id.
type Config struct {
	// S3Downloader says where the objects are and what their keys look like.
	S3Downloader S3DownloaderConfig `mapstructure:"s3downloader"`
	// StartTime and EndTime are the range to read, end exclusive, by the time in the keys.
	StartTime string `mapstructure:"starttime"`
	EndTime   string `mapstructure:"endtime"`
	// Follow goes on with what is stored later instead of ending.
	Follow bool `mapstructure:"follow"`
	// SettleDelay is how long after its end a partition is taken to be complete, PollInterval
	// how often complete ones are looked for. Both are of following alone.
	SettleDelay  time.Duration `mapstructure:"settle_delay"`
	PollInterval time.Duration `mapstructure:"poll_interval"`
	// SQS reads the objects that a queue tells of, in place of a range.
	SQS *SQSConfig `mapstructure:"sqs"`
	// Encodings decode files by the end of their key. The first that matches is taken.
	Encodings []Encoding `mapstructure:"encodings"`
	// Notifications tell an OpAMP server how far this is.
	Notifications Notifications `mapstructure:"notifications"`
	// Storage is a storage extension that keeps how far this is over restarts.
	Storage *component.ID `mapstructure:"storage"`
	// OnError says what becomes of an object that cannot be delivered: skip or fail.
	OnError string `mapstructure:"on_error"`
	// RetryOnFailure is the pace at which a store that fails and a pipeline that refuses are tried
	// again.
	RetryOnFailure configretry.BackOffConfig `mapstructure:"retry_on_failure"`
	// Prefetch bounds what is fetched ahead of the pipeline.
	Prefetch PrefetchConfig `mapstructure:"prefetch"`
	// Limits bound what an object may grow to.
	Limits LimitsConfig `mapstructure:"limits"`

	_ struct{}
}

// S3DownloaderConfig says where the objects are and what their keys look like.
type S3DownloaderConfig struct {
	Region   string `mapstructure:"region"`
	S3Bucket string `mapstructure:"s3_bucket"`
	S3Prefix string `mapstructure:"s3_prefix"`
	// S3Partition is the former way to choose a partition format: minute or hour.
	S3Partition                string `mapstructure:"s3_partition"`
	S3PartitionFormat          string `mapstructure:"s3_partition_format"`
	S3PartitionTimezone        string `mapstructure:"s3_partition_timezone"`
	FilePrefix                 string `mapstructure:"file_prefix"`
	FilePrefixIncludeTelemetry bool   `mapstructure:"file_prefix_include_telemetry_type"`
	Endpoint                   string `mapstructure:"endpoint"`
	EndpointPartitionID        string `mapstructure:"endpoint_partition_id"`
	S3ForcePathStyle           bool   `mapstructure:"s3_force_path_style"`
	TagObjectAfterIngestion    bool   `mapstructure:"tag_object_after_ingestion"`
	SkipIngestingTaggedObjects bool   `mapstructure:"skip_ingesting_tagged_objects"`

	// RoleARN is a role to assume, ExternalID what its owner asks for.
	RoleARN    string              `mapstructure:"role_arn"`
	ExternalID configopaque.String `mapstructure:"external_id"`
	// RetryMode, RetryMaxAttempts and RetryMaxBackoff are how one request is retried, as the
	// exporter's keys of these names.
	RetryMode        string        `mapstructure:"retry_mode"`
	RetryMaxAttempts int           `mapstructure:"retry_max_attempts"`
	RetryMaxBackoff  time.Duration `mapstructure:"retry_max_backoff"`

	// Include and Exclude are globs on whole keys. No include is all.
	Include []string `mapstructure:"include"`
	Exclude []string `mapstructure:"exclude"`
	// ListConcurrency is how many listings run side by side where one cannot do. ListByPartition
	// gives every partition one, for a store that does not list in the order of keys.
	ListConcurrency int  `mapstructure:"list_concurrency"`
	ListByPartition bool `mapstructure:"list_by_partition"`

	_ struct{}
}

// SQSConfig is a queue of S3 event notifications.
type SQSConfig struct {
	QueueURL            string `mapstructure:"queue_url"`
	Region              string `mapstructure:"region"`
	Endpoint            string `mapstructure:"endpoint"`
	MaxNumberOfMessages *int64 `mapstructure:"max_number_of_messages"`
	WaitTimeSeconds     *int64 `mapstructure:"wait_time_seconds"`
	// RoleARN is a role to assume for the queue alone, ExternalID what its owner asks for.
	RoleARN    string              `mapstructure:"role_arn"`
	ExternalID configopaque.String `mapstructure:"external_id"`
	// Workers is how many messages are worked on at a time, 4 if it is not set.
	Workers *int64 `mapstructure:"workers"`
	// Unclaimed says what becomes of a message about an object that is not for this receiver: delete
	// if it is not set, or keep.
	Unclaimed string `mapstructure:"unclaimed"`

	_ struct{}
}

// Encoding names the extension that decodes the keys with one suffix.
type Encoding struct {
	Extension component.ID `mapstructure:"extension"`
	Suffix    string       `mapstructure:"suffix"`
	// Raw hands the extension what is stored, compressed or not.
	Raw bool `mapstructure:"raw"`

	_ struct{}
}

// Notifications tell an OpAMP server how far a replay is.
type Notifications struct {
	OpAMPExtension *component.ID `mapstructure:"opampextension"`

	_ struct{}
}

// PrefetchConfig bounds what is fetched ahead of the pipeline.
type PrefetchConfig struct {
	MaxObjects int   `mapstructure:"max_objects"`
	MaxBytes   int64 `mapstructure:"max_bytes"`

	_ struct{}
}

// LimitsConfig bounds what an object may grow to when it is decompressed.
type LimitsConfig struct {
	// ObjectBytes is of a whole object, DocumentBytes of what has to be in memory at once.
	ObjectBytes   int64 `mapstructure:"object_bytes"`
	DocumentBytes int64 `mapstructure:"document_bytes"`

	_ struct{}
}

func createDefaultConfig() component.Config {
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval = time.Second
	retry.MaxElapsedTime = 0 // nothing is given up because it takes long
	return &Config{
		S3Downloader: S3DownloaderConfig{
			Region:                     "us-east-1",
			S3PartitionFormat:          minutePartitions,
			FilePrefixIncludeTelemetry: true,
			EndpointPartitionID:        "aws",
			RetryMode:                  store.RetryStandard,
			RetryMaxAttempts:           store.DefaultRetryMaxAttempts,
			RetryMaxBackoff:            store.DefaultRetryMaxBackoff,
			ListConcurrency:            defaultListConcurrency,
		},
		SettleDelay:    defaultSettleDelay,
		PollInterval:   defaultPollInterval,
		OnError:        onErrorSkip,
		RetryOnFailure: retry,
		Prefetch:       PrefetchConfig{MaxObjects: defaultPrefetchObjects, MaxBytes: defaultPrefetchBytes},
		Limits:         LimitsConfig{ObjectBytes: defaultObjectBytes, DocumentBytes: defaultDocumentBytes},
	}
}

// Unmarshal is that of any configuration, and takes a time without quotes, which YAML takes for a
// time and not for a text.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	quoted := map[string]any{}
	for _, key := range [...]string{"starttime", "endtime"} {
		if at, ok := conf.Get(key).(time.Time); ok {
			quoted[key] = at.Format(time.RFC3339)
		}
	}
	if err := conf.Merge(confmap.NewFromStringMap(quoted)); err != nil {
		return err
	}
	return conf.Unmarshal(c)
}

// Validate reports everything that is wrong, at once, one after the other with "; ".
func (c *Config) Validate() error {
	var errs problems
	if c.S3Downloader.S3Bucket == "" {
		errs.add(errNoBucket)
	}
	c.validateMode(&errs)
	if c.SQS != nil {
		c.SQS.validate(&errs)
	}
	c.S3Downloader.validate(&errs)
	c.validateDelivery(&errs)
	return errs.err()
}

// validateMode holds that there is one thing to read, and that it can be.
func (c *Config) validateMode(errs *problems) {
	switch {
	case c.SQS != nil && (c.StartTime != "" || c.EndTime != ""):
		errs.add(errTwoModes)
	case c.SQS != nil && c.Follow:
		errs.add(errFollowAndSQS)
	case c.SQS != nil:
	case c.Follow && c.EndTime != "":
		errs.add(errFollowAndEnd)
	case c.Follow:
	case c.StartTime == "" && c.EndTime == "":
		errs.add(errNoMode)
	case c.EndTime == "":
		errs.add(errNoEnd)
	case c.StartTime == "":
		errs.add(errNoStart)
	}
	start, startErr := parseTime(c.StartTime, "starttime")
	end, endErr := parseTime(c.EndTime, "endtime")
	errs.add(startErr)
	errs.add(endErr)
	if startErr == nil && endErr == nil && !start.IsZero() && !end.IsZero() && !end.After(start) {
		errs.add(errEmptyRange)
	}
	if c.Follow {
		format, err := c.S3Downloader.format()
		if err == nil && !format.Dated() {
			errs.addf("s3downloader.s3_partition_format: %q does not tell one date from another, which following needs", format)
		}
		switch {
		case c.SettleDelay < 0:
			errs.addf("settle_delay: %v must be 0 or greater", c.SettleDelay)
		case c.SettleDelay > 0 && c.SettleDelay < time.Millisecond:
			errs.addf("settle_delay: %v is too short, 0 or at least %v; is the unit missing?", c.SettleDelay, time.Millisecond)
		}
		if c.PollInterval < time.Second {
			errs.addf("poll_interval: %v is too short, at least %v; is the unit missing?", c.PollInterval, time.Second)
		}
	}
}

func (c *SQSConfig) validate(errs *problems) {
	if c.QueueURL == "" {
		errs.addf("sqs.queue_url is required")
	}
	if err := store.CheckEndpoint(c.QueueURL); err != nil {
		errs.addf("sqs.queue_url: %w", err)
	}
	if c.Region == "" {
		errs.addf("sqs.region is required")
	}
	if c.WaitTimeSeconds != nil && (*c.WaitTimeSeconds < 0 || *c.WaitTimeSeconds > 20) {
		errs.addf("sqs.wait_time_seconds must be between 0 and 20")
	}
	if c.MaxNumberOfMessages != nil && (*c.MaxNumberOfMessages < 1 || *c.MaxNumberOfMessages > 10) {
		errs.addf("sqs.max_number_of_messages must be between 1 and 10")
	}
	c.validateAccess(errs)
	if c.Workers != nil && (*c.Workers < 1 || *c.Workers > maxQueueWorkers) {
		errs.addf("sqs.workers must be between 1 and %d", maxQueueWorkers)
	}
	switch c.Unclaimed {
	case "", unclaimedDelete, unclaimedKeep:
	default:
		errs.addf("sqs.unclaimed: %q is neither %s nor %s", c.Unclaimed, unclaimedDelete, unclaimedKeep)
	}
}

func (c *SQSConfig) validateAccess(errs *problems) {
	if c.RoleARN == "" && c.ExternalID != "" {
		errs.addf("sqs.external_id needs sqs.role_arn")
	}
	if c.RoleARN != "" && !strings.HasPrefix(c.RoleARN, "arn:") {
		errs.addf("sqs.role_arn: %q does not begin with arn:", c.RoleARN)
	}
	if err := store.CheckEndpoint(c.Endpoint); err != nil {
		errs.addf("sqs.endpoint: %w", err)
	}
}

func (c *S3DownloaderConfig) validate(errs *problems) {
	switch c.S3Partition {
	case "", "minute", "hour":
	default:
		errs.addf("s3downloader.s3_partition: %q is neither minute nor hour; s3_partition_format can say any", c.S3Partition)
	}
	if c.S3Partition != "" && c.S3PartitionFormat != minutePartitions {
		errs.addf("s3downloader.s3_partition and s3downloader.s3_partition_format cannot be used together; leave out s3_partition, it is the former key")
	}
	if strings.Contains(c.S3Bucket, "/") && !strings.HasPrefix(c.S3Bucket, "arn:") {
		errs.addf("s3downloader.s3_bucket: %q is not the name of a bucket; what the keys begin with is s3downloader.s3_prefix", c.S3Bucket)
	}
	if _, err := c.format(); err != nil {
		errs.addf("s3downloader.s3_partition_format: %w", err)
	}
	if _, err := c.location(); err != nil {
		errs.add(err)
	}
	if _, err := plan.NewFilter(c.Include, nil); err != nil {
		errs.addf("s3downloader.include: %w", err)
	}
	if _, err := plan.NewFilter(c.Exclude, nil); err != nil {
		errs.addf("s3downloader.exclude: %w", err)
	}
	if c.RoleARN == "" && c.ExternalID != "" {
		errs.addf("s3downloader.external_id needs s3downloader.role_arn")
	}
	if c.RoleARN != "" && !strings.HasPrefix(c.RoleARN, "arn:") {
		errs.addf("s3downloader.role_arn: %q does not begin with arn:", c.RoleARN)
	}
	if err := store.CheckEndpoint(c.Endpoint); err != nil {
		errs.addf("s3downloader.endpoint: %w", err)
	}
	switch c.RetryMode {
	case store.RetryStandard, store.RetryAdaptive, store.RetryNop:
	default:
		errs.addf("s3downloader.retry_mode: %q is none of %s, %s, %s", c.RetryMode, store.RetryStandard, store.RetryAdaptive, store.RetryNop)
	}
	if c.RetryMaxAttempts < 1 {
		errs.addf("s3downloader.retry_max_attempts: %d must be at least 1", c.RetryMaxAttempts)
	}
	if c.RetryMaxBackoff < time.Millisecond {
		errs.addf("s3downloader.retry_max_backoff: %v is too short, at least %v; is the unit missing?", c.RetryMaxBackoff, time.Millisecond)
	}
	if c.ListConcurrency < 1 || c.ListConcurrency > 256 {
		errs.addf("s3downloader.list_concurrency: %d must be between 1 and 256", c.ListConcurrency)
	}
}

func (c *Config) validateDelivery(errs *problems) {
	for i, e := range c.Encodings {
		if e.Extension == (component.ID{}) {
			errs.addf("encodings[%d].extension: must be set", i)
		}
		if at := slices.IndexFunc(c.Encodings[:i], func(other Encoding) bool { return other.Suffix == e.Suffix }); at >= 0 {
			errs.addf("encodings[%d].suffix: %q is that of encodings[%d], the first of which is taken", i, e.Suffix, at)
		}
	}
	if c.OnError != onErrorSkip && c.OnError != onErrorFail {
		errs.addf("on_error: %q is neither %s nor %s", c.OnError, onErrorSkip, onErrorFail)
	}
	if c.Prefetch.MaxObjects < 1 || c.Prefetch.MaxObjects > 1024 {
		errs.addf("prefetch.max_objects: %d must be between 1 and 1024", c.Prefetch.MaxObjects)
	}
	for _, limit := range [...]struct {
		key   string
		value int64
	}{
		{"prefetch.max_bytes", c.Prefetch.MaxBytes},
		{"limits.object_bytes", c.Limits.ObjectBytes},
		{"limits.document_bytes", c.Limits.DocumentBytes},
	} {
		if limit.value < leastLimit || limit.value > math.MaxInt64/4 {
			errs.addf("%s: %d is too small or too large, at least %d", limit.key, limit.value, leastLimit)
		}
	}
}

// partitionFormat is the one in use, whichever key said so.
func (c *S3DownloaderConfig) partitionFormat() string {
	if c.S3Partition == "hour" {
		return hourPartitions
	}
	return c.S3PartitionFormat
}

// format is the partition format, read.
func (c *S3DownloaderConfig) format() (plan.Format, error) {
	return plan.ParseFormat(c.partitionFormat())
}

// location is the zone of the times in the keys, the machine's where none is named.
func (c *S3DownloaderConfig) location() (*time.Location, error) {
	if c.S3PartitionTimezone == "" {
		return time.Local, nil
	}
	loc, err := time.LoadLocation(c.S3PartitionTimezone)
	if err != nil {
		return nil, fmt.Errorf("s3downloader.s3_partition_timezone: %q is no IANA time zone that is known here: %w",
			c.S3PartitionTimezone, err)
	}
	return loc, nil
}

// timeLayouts are tried in this order. A time without a zone is in UTC.
var timeLayouts = [...]string{time.RFC3339, "2006-01-02 15:04", time.DateOnly}

// parseTime reads the value of a key, zero where it is empty.
func parseTime(value, key string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, value); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("unable to parse %s (%s), accepted formats: %s", key, value, strings.Join(timeLayouts[:], ", "))
}

// timeRange is the range to read. What is not written is zero.
func (c *Config) timeRange() (start, end time.Time, err error) {
	if start, err = parseTime(c.StartTime, "starttime"); err != nil {
		return start, end, err
	}
	end, err = parseTime(c.EndTime, "endtime")
	return start, end, err
}

// problems are all errors of a configuration. Their text is one line, as contrib's is.
type problems struct{ all []error }

func (p *problems) add(err error) {
	if err != nil {
		p.all = append(p.all, err)
	}
}

func (p *problems) addf(format string, args ...any) { p.add(fmt.Errorf(format, args...)) }

func (p *problems) err() error {
	if len(p.all) == 0 {
		return nil
	}
	return p
}

func (p *problems) Error() string {
	texts := make([]string, len(p.all))
	for i, err := range p.all {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (p *problems) Unwrap() []error { return p.all }
