// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
)

// load reads one configuration as the Collector does: defaults, then the user's keys, unknown ones
// refused, then every level validated.
func load(conf *confmap.Conf) (*Config, error) {
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	if err := conf.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func loadYAML(t *testing.T, yaml string) (*Config, error) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return load(conf)
}

func loadTestdata(t *testing.T, id string) *Config {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := all.Sub(id)
	require.NoError(t, err)
	cfg, err := load(sub)
	require.NoError(t, err)
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := loadTestdata(t, "aws_s3")
	require.Equal(t, S3DownloaderConfig{
		Region: "us-east-1", S3Bucket: "telemetry", S3PartitionFormat: "year=%Y/month=%m/day=%d/hour=%H/minute=%M",
		FilePrefixIncludeTelemetry: true, EndpointPartitionID: "aws",
		RetryMode: "standard", RetryMaxAttempts: 3, RetryMaxBackoff: 20 * time.Second, ListConcurrency: 16,
	}, cfg.S3Downloader)
	require.False(t, cfg.Follow)
	require.Equal(t, 2*time.Minute, cfg.SettleDelay)
	require.Equal(t, 30*time.Second, cfg.PollInterval)
	require.Nil(t, cfg.SQS)
	require.Empty(t, cfg.Encodings)
	require.Nil(t, cfg.Notifications.OpAMPExtension)
	require.Nil(t, cfg.Storage)
	require.Equal(t, "skip", cfg.OnError)
	require.True(t, cfg.RetryOnFailure.Enabled)
	require.Equal(t, time.Second, cfg.RetryOnFailure.InitialInterval)
	require.Equal(t, 30*time.Second, cfg.RetryOnFailure.MaxInterval)
	require.Zero(t, cfg.RetryOnFailure.MaxElapsedTime)
	require.Equal(t, PrefetchConfig{MaxObjects: 32, MaxBytes: 64 << 20}, cfg.Prefetch)
	require.Equal(t, LimitsConfig{ObjectBytes: 16 << 30, DocumentBytes: 32 << 20}, cfg.Limits)
}

func TestEveryKey(t *testing.T) {
	cfg := loadTestdata(t, "aws_s3/everything")
	require.Equal(t, S3DownloaderConfig{
		Region: "eu-central-1", S3Bucket: "telemetry", S3Prefix: "raw", S3PartitionFormat: "%Y/%m/%d/%H", S3PartitionTimezone: "Europe/Berlin",
		FilePrefix: "shop-", FilePrefixIncludeTelemetry: false, Endpoint: "https://minio.example.com:9000", EndpointPartitionID: "aws-cn",
		S3ForcePathStyle: true, TagObjectAfterIngestion: true, SkipIngestingTaggedObjects: true,
		RoleARN: "arn:aws:iam::123456789012:role/replay", ExternalID: "not-shown",
		RetryMode: "adaptive", RetryMaxAttempts: 5, RetryMaxBackoff: time.Minute,
		Include: []string{"raw/2024/**"}, Exclude: []string{"**/tmp/**"}, ListConcurrency: 8, ListByPartition: true,
	}, cfg.S3Downloader)
	require.Equal(t, "2024-01-31 15:00", cfg.StartTime)
	require.Equal(t, "2024-02-03", cfg.EndTime)
	require.Equal(t, []Encoding{{Extension: component.MustNewID("text_encoding"), Suffix: ".log", Raw: true}}, cfg.Encodings)
	require.Equal(t, component.MustNewIDWithName("opamp", "fleet"), *cfg.Notifications.OpAMPExtension)
	require.Equal(t, component.MustNewIDWithName("file_storage", "replay"), *cfg.Storage)
	require.Equal(t, "fail", cfg.OnError)
	require.Equal(t, 2*time.Second, cfg.RetryOnFailure.InitialInterval)
	require.Equal(t, time.Hour, cfg.RetryOnFailure.MaxElapsedTime)
	require.Equal(t, PrefetchConfig{MaxObjects: 64, MaxBytes: 128 << 20}, cfg.Prefetch)
	require.Equal(t, LimitsConfig{ObjectBytes: 1 << 30, DocumentBytes: 8 << 20}, cfg.Limits)
	text, err := cfg.S3Downloader.ExternalID.MarshalText()
	require.NoError(t, err)
	require.NotContains(t, string(text), "not-shown")

	follow := loadTestdata(t, "aws_s3/follow")
	require.True(t, follow.Follow)
	require.Equal(t, 5*time.Minute, follow.SettleDelay)
	require.Equal(t, time.Minute, follow.PollInterval)

	sqs := loadTestdata(t, "aws_s3/sqs").SQS
	require.Equal(t, "https://sqs.eu-central-1.amazonaws.com/123456789012/telemetry", sqs.QueueURL)
	require.EqualValues(t, 5, *sqs.MaxNumberOfMessages)
	require.EqualValues(t, 10, *sqs.WaitTimeSeconds)
	require.Equal(t, "arn:aws:iam::123456789012:role/queue", sqs.RoleARN)
	require.Equal(t, "not-shown", string(sqs.ExternalID))
	require.EqualValues(t, 8, *sqs.Workers)
	require.Equal(t, unclaimedKeep, sqs.Unclaimed)

	former := loadTestdata(t, "aws_s3/former")
	require.Equal(t, "year=%Y/month=%m/day=%d/hour=%H", former.S3Downloader.partitionFormat())
}

const bucket = "s3downloader: {s3_bucket: b}\n"

// The texts are contrib's where it has one, and stand beside each other as they do there.
func TestRefused(t *testing.T) {
	const hour = bucket + "starttime: '2024-01-31 15:00'\nendtime: '2024-01-31 16:00'\n"
	for name, tc := range map[string]struct {
		yaml string
		want []string // each in the error
	}{
		"nothing":             {"", []string{"bucket is required; either starttime/endtime or sqs configuration must be provided"}},
		"no mode":             {bucket, []string{"either starttime/endtime or sqs configuration must be provided"}},
		"no end":              {bucket + "starttime: '2024-01-31 15:00'", []string{"when starttime is specified, endtime is required"}},
		"no start":            {bucket + "endtime: '2024-01-31 15:00'", []string{"when endtime is specified, starttime is required"}},
		"both modes":          {hour + "sqs: {queue_url: 'http://q', region: r}", []string{"starttime/endtime and sqs configuration cannot be used together"}},
		"not a time":          {bucket + "starttime: noon\nendtime: '2024-01-31'", []string{"unable to parse starttime (noon), accepted formats: 2006-01-02T15:04:05Z07:00, 2006-01-02 15:04, 2006-01-02"}},
		"neither is one":      {bucket + "starttime: a\nendtime: b", []string{"unable to parse starttime (a)", "; unable to parse endtime (b)"}},
		"an empty range":      {bucket + "starttime: '2024-01-31'\nendtime: '2024-01-31'", []string{"endtime must be after starttime"}},
		"follow to an end":    {hour + "follow: true", []string{"follow and endtime cannot be used together"}},
		"follow a queue":      {bucket + "follow: true\nsqs: {queue_url: 'http://q', region: r}", []string{"follow and sqs configuration cannot be used together"}},
		"follow without date": {"s3downloader: {s3_bucket: b, s3_partition_format: '%H'}\nfollow: true", []string{"s3downloader.s3_partition_format: \"%H\" does not tell one date from another, which following needs"}},
		"poll without unit":   {bucket + "follow: true\npoll_interval: 30", []string{"poll_interval: 30ns is too short, at least 1s; is the unit missing?"}},
		"delay without unit":  {bucket + "follow: true\nsettle_delay: 120", []string{"settle_delay: 120ns is too short, 0 or at least 1ms; is the unit missing?"}},
		"delay below zero":    {bucket + "follow: true\nsettle_delay: -1s", []string{"settle_delay: -1s must be 0 or greater"}},
		"a URL":               {"s3downloader: {s3_bucket: 's3://b/logs'}\nfollow: true", []string{"s3downloader.s3_bucket: \"s3://b/logs\" is not the name of a bucket; what the keys begin with is s3downloader.s3_prefix"}},
		"a password":          {bucket + "sqs: {queue_url: 'https://a:b@q.example.com/1', region: r}", []string{"sqs.queue_url: must not hold a user or a password"}},
		"no URL":              {bucket + "sqs: {queue_url: telemetry, region: r}", []string{"sqs.queue_url: the scheme has to be http or https"}},
		"no queue":            {bucket + "sqs: {wait_time_seconds: 21, max_number_of_messages: 11}", []string{"sqs.queue_url is required; sqs.region is required; sqs.wait_time_seconds must be between 0 and 20; sqs.max_number_of_messages must be between 1 and 10"}},
		"former key, wrong":   {"s3downloader: {s3_bucket: b, s3_partition: day}\nfollow: true", []string{"s3downloader.s3_partition: \"day\" is neither minute nor hour"}},
		"former key and new":  {"s3downloader: {s3_bucket: b, s3_partition: hour, s3_partition_format: '%F'}\nfollow: true", []string{"cannot be used together"}},
		"no directive":        {"s3downloader: {s3_bucket: b, s3_partition_format: '%Q'}\nfollow: true", []string{"s3downloader.s3_partition_format: %Q is not a strftime directive"}},
		"no zone":             {"s3downloader: {s3_bucket: b, s3_partition_timezone: Mars/Base}\nfollow: true", []string{"s3downloader.s3_partition_timezone: \"Mars/Base\" is no IANA time zone"}},
		"no glob":             {"s3downloader: {s3_bucket: b, include: ['['], exclude: ['{']}\nfollow: true", []string{"s3downloader.include: \"[\" is not a glob", "s3downloader.exclude: \"{\" is not a glob"}},
		"an id without role":  {"s3downloader: {s3_bucket: b, external_id: hunter2}\nfollow: true", []string{"s3downloader.external_id needs s3downloader.role_arn"}},
		"no ARN":              {"s3downloader: {s3_bucket: b, role_arn: admin}\nfollow: true", []string{"s3downloader.role_arn: \"admin\" does not begin with arn:"}},
		"no endpoint":         {"s3downloader: {s3_bucket: b, endpoint: 'minio:9000'}\nfollow: true", []string{"s3downloader.endpoint: the scheme has to be http or https"}},
		"a password in it":    {"s3downloader: {s3_bucket: b, endpoint: 'http://me:hunter2@minio'}\nfollow: true", []string{"s3downloader.endpoint: must not hold a user or a password"}},
		"retries":             {"s3downloader: {s3_bucket: b, retry_mode: often, retry_max_attempts: 0, retry_max_backoff: 20}\nfollow: true", []string{"s3downloader.retry_mode: \"often\" is none of", "s3downloader.retry_max_attempts: 0", "s3downloader.retry_max_backoff: 20ns"}},
		"on_error":            {hour + "on_error: ignore", []string{"on_error: \"ignore\" is neither skip nor fail"}},
		"bounds":              {hour + "prefetch: {max_objects: 0, max_bytes: 1}\nlimits: {object_bytes: 0, document_bytes: -1}", []string{"prefetch.max_objects: 0", "prefetch.max_bytes: 1", "limits.object_bytes: 0", "limits.document_bytes: -1"}},
		"encodings":           {hour + "encodings: [{extension: a, suffix: .log}, {extension: b}, {extension: c, suffix: .log}]", []string{"encodings[2].suffix: \".log\" is that of encodings[0], the first of which is taken"}},
		"encoding of nothing": {hour + "encodings: [{suffix: .log}]", []string{"encodings[0].extension: must be set"}},
		"an unknown key":      {hour + "stattime: x", []string{"stattime"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadYAML(t, tc.yaml)
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "hunter2", "no secret in an error")
		})
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2024-01-31T15:00:30+01:00": time.Date(2024, 1, 31, 14, 0, 30, 0, time.UTC),
		"2024-01-31 15:04":          time.Date(2024, 1, 31, 15, 4, 0, 0, time.UTC),
		"2024-01-31":                time.Date(2024, 1, 31, 0, 0, 0, 0, time.UTC),
	} {
		got, err := parseTime(text, "starttime")
		require.NoError(t, err)
		require.True(t, want.Equal(got), text)
	}
}

// A configuration may name the receiver either way.
func TestBothTypes(t *testing.T) {
	factories, err := otelcol.MakeFactoryMap[receiver.Factory](NewFactory())
	require.NoError(t, err)
	require.Len(t, factories, 2)
	for _, name := range []string{"aws_s3", "awss3"} {
		require.Contains(t, factories, component.MustNewType(name))
	}
}

// Every example of the README is a configuration that works.
func TestREADMEExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(block[1]))
		require.NoError(t, err)
		conf, err := retrieved.AsConf()
		require.NoError(t, err)
		receivers, err := conf.Sub("receivers")
		require.NoError(t, err)
		require.NotEmpty(t, receivers.ToStringMap(), block[1])
		for id := range receivers.ToStringMap() {
			require.Regexp(t, "^aws_s3(/|$)", id)
			sub, err := receivers.Sub(id)
			require.NoError(t, err)
			_, err = load(sub)
			require.NoError(t, err, block[1])
		}
	}
}

// YAML takes a date without quotes for a time.
func TestATimeWithoutQuotes(t *testing.T) {
	for written, want := range map[string]string{
		"2024-01-31":                "2024-01-31T00:00:00Z",
		"2024-01-31 15:00":          "2024-01-31 15:00",
		"2024-01-31 15:00:30":       "2024-01-31T15:00:30Z",
		"2024-01-31T15:00:00+02:00": "2024-01-31T15:00:00+02:00",
		`"2024-01-31"`:              "2024-01-31",
	} {
		cfg, err := loadYAML(t, "{s3downloader: {s3_bucket: b}, starttime: "+written+", endtime: 2024-02-03}")
		require.NoError(t, err, written)
		require.Equal(t, want, cfg.StartTime)
		require.Equal(t, "2024-02-03T00:00:00Z", cfg.EndTime)
	}
	_, err := loadYAML(t, "{s3downloader: {s3_bucket: b}, starttime: 2024-02-03, endtime: 2024-02-03, other: 1}")
	require.ErrorContains(t, err, "other")
}
