// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Values of retry_mode, those of the exporter.
const (
	RetryStandard = "standard"
	RetryAdaptive = "adaptive"
	RetryNop      = "nop"
)

// Defaults of how one request is retried, those of the SDK and of the exporter.
const (
	DefaultRetryMaxAttempts = 3
	DefaultRetryMaxBackoff  = 20 * time.Second
)

// API is what is asked of an object store. An *s3.Client has it.
type API interface {
	s3.ListObjectsV2APIClient
	GetObject(ctx context.Context, in *s3.GetObjectInput, opts ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	GetObjectTagging(ctx context.Context, in *s3.GetObjectTaggingInput, opts ...func(*s3.Options)) (*s3.GetObjectTaggingOutput, error)
	PutObjectTagging(ctx context.Context, in *s3.PutObjectTaggingInput, opts ...func(*s3.Options)) (*s3.PutObjectTaggingOutput, error)
}

var _ API = (*s3.Client)(nil)

// Settings say where a service is and who asks.
type Settings struct {
	Region    string
	Endpoint  string
	PathStyle bool

	RoleARN    string
	ExternalID string

	RetryMode        string
	RetryMaxAttempts int
	RetryMaxBackoff  time.Duration
	// OnRetry is told of each request that the SDK repeats. It may be nil and must not block.
	OnRetry func()
}

// CheckEndpoint says what is wrong with an endpoint. An empty one is the service's own.
func CheckEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return errors.New("not a valid URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the scheme has to be http or https, as in http://127.0.0.1:9000")
	case u.Host == "":
		return errors.New("names no host")
	case u.User != nil:
		return errors.New("must not hold a user or a password, which would show wherever the endpoint does")
	}
	return nil
}

// Load makes the SDK's configuration: the default chain of credentials, or a role assumed with them,
// and how requests are retried. It asks nobody anything. Clients made of it share connections, which
// closing ends when they are not in use.
func Load(ctx context.Context, set Settings) (cfg aws.Config, closing func(), err error) {
	shared := awshttp.NewBuildableClient()
	cfg, err = config.LoadDefaultConfig(ctx,
		config.WithRegion(set.Region),
		config.WithRetryer(set.retryer),
		config.WithHTTPClient(shared)) // the SDK adds the certificates of AWS_CA_BUNDLE to such a one only
	if err != nil {
		return aws.Config{}, nil, fmt.Errorf("AWS configuration of this process: %w", err)
	}
	if with, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		shared = with
	}
	transport := shared.GetTransport()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = connections, connections
	cfg.HTTPClient = &http.Client{Transport: bounded{transport}, CheckRedirect: noRedirect}
	closing = transport.CloseIdleConnections
	if set.RoleARN != "" {
		provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), set.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			if set.ExternalID != "" {
				o.ExternalID = aws.String(set.ExternalID)
			}
		})
		cfg.Credentials = aws.NewCredentialsCache(provider)
	}
	return cfg, closing, nil
}

// connections is how many to one store are kept for the next request.
const connections = 128

// Client is an S3 client with connections of its own.
type Client struct {
	*s3.Client

	closing func()
}

// NewS3 makes a client. It connects to nothing. It has to be closed.
func NewS3(ctx context.Context, set Settings) (*Client, error) {
	cfg, closing, err := Load(ctx, set)
	if err != nil {
		return nil, err
	}
	return &Client{closing: closing, Client: s3.NewFromConfig(cfg, func(o *s3.Options) {
		if set.Endpoint != "" {
			o.BaseEndpoint = aws.String(set.Endpoint)
		}
		o.UsePathStyle = set.PathStyle
		// Many stores send no checksums, and a line for each object would say so.
		o.DisableLogOutputChecksumValidationSkipped = true
	})}, nil
}

// noRedirect has a redirect be the answer: a request is signed for the host that it is sent to.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close ends the connections that are kept.
func (c *Client) Close() { c.closing() }

func (set Settings) retryer() aws.Retryer {
	var inner aws.RetryerV2
	standard := func(o *retry.StandardOptions) {
		o.MaxAttempts = set.RetryMaxAttempts
		o.MaxBackoff = set.RetryMaxBackoff
	}
	switch set.RetryMode {
	case RetryNop:
		return aws.NopRetryer{}
	case RetryAdaptive:
		inner = retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
			o.StandardOptions = append(o.StandardOptions, standard)
		})
	default:
		inner = retry.NewStandard(standard)
	}
	if set.OnRetry == nil {
		return inner
	}
	return countingRetryer{RetryerV2: inner, onRetry: set.OnRetry}
}

// countingRetryer tells of each retry. A retry is asked a delay for, the first attempt is not.
type countingRetryer struct {
	aws.RetryerV2

	onRetry func()
}

func (r countingRetryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	r.onRetry()
	return r.RetryerV2.RetryDelay(attempt, err)
}
