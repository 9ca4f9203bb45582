// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/s3test"
)

func answered(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{}}},
		Err:      &smithy.GenericAPIError{Code: code},
	}
}

func TestKindOf(t *testing.T) {
	for kind, errs := range map[Kind][]error{
		Transient: {errors.New("connection refused"), io.ErrUnexpectedEOF, context.DeadlineExceeded, answered(503, "SlowDown"), answered(500, "InternalError"), answered(403, "RequestTimeTooSkewed"), answered(400, "ExpiredToken"), answered(429, ""), answered(408, "")},
		NotFound:  {answered(404, "NoSuchKey"), answered(404, "")},
		NoBucket:  {answered(404, "NoSuchBucket")},
		Denied:    {answered(403, "AccessDenied"), answered(401, ""), answered(403, "InvalidAccessKeyId")},
		Changed:   {answered(412, ""), answered(416, "InvalidRange")},
		Invalid:   {answered(400, "InvalidArgument"), answered(301, "PermanentRedirect"), answered(403, "InvalidObjectState")},
		Stopped:   {context.Canceled},
	} {
		for _, err := range errs {
			require.Equal(t, kind, KindOf(fmt.Errorf("around: %w", err)), "%v", err)
		}
	}
}

func TestCheckEndpoint(t *testing.T) {
	for _, good := range []string{"", "http://127.0.0.1:9000", "https://s3.example.com/base"} {
		require.NoError(t, CheckEndpoint(good))
	}
	for _, bad := range []string{"minio:9000", "ftp://x", "http://", "http://a:b@c", "http://%zz"} {
		require.Error(t, CheckEndpoint(bad), bad)
	}
}

// An object with ten tags of its own keeps them.
func TestAnObjectFullOfTags(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.New(t, "bucket")
	api, err := NewS3(t.Context(), Settings{Region: "us-east-1", Endpoint: server.URL, PathStyle: true, RetryMaxAttempts: 1, RetryMaxBackoff: time.Second})
	require.NoError(t, err)
	defer api.Close()
	var pairs []string
	for i := range 10 {
		pairs = append(pairs, fmt.Sprint("k", i), "v")
	}
	server.SetTags("a", pairs...)
	require.ErrorIs(t, Tag(t.Context(), api, "bucket", "a", ""), ErrTagsFull)
	require.Len(t, server.TagsOf("a"), 10)

	server.SetTags("b", TagKey, "failed", "team", "shop")
	require.NoError(t, Tag(t.Context(), api, "bucket", "b", ""))
	require.Equal(t, map[string]string{TagKey: TagValue, "team": "shop"}, server.TagsOf("b"))
	tagged, err := Tagged(t.Context(), api, "bucket", "b", "")
	require.NoError(t, err)
	require.True(t, tagged)
}

// What the SDK repeats by itself is seen, and as often as is configured.
func TestTheSDKsRetries(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.New(t, "bucket")
	server.Fail(func(*http.Request) s3test.Fault { return s3test.SlowDown })
	for mode, want := range map[string]int{RetryStandard: 2, RetryAdaptive: 2, RetryNop: 0} {
		retries := 0
		api, err := NewS3(t.Context(), Settings{
			Region: "us-east-1", Endpoint: server.URL, PathStyle: true,
			RetryMode: mode, RetryMaxAttempts: 3, RetryMaxBackoff: time.Millisecond, OnRetry: func() { retries++ },
		})
		require.NoError(t, err)
		_, err = api.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
		require.Error(t, err)
		require.Equal(t, want, retries, mode)
		api.Close()
	}
}

// A role is asked for at the service that gives roles, with what its owner asks for.
func TestARoleIsAssumed(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.New(t, "bucket")
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	var asked, signed string
	server.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			signed = r.Header.Get("Authorization")
			return false
		}
		body, _ := io.ReadAll(r.Body)
		asked = string(body)
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>assumed</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		return true
	})
	api, err := NewS3(t.Context(), Settings{
		Region: "us-east-1", Endpoint: server.URL, PathStyle: true, RetryMaxAttempts: 1, RetryMaxBackoff: time.Second,
		RoleARN: "arn:aws:iam::123456789012:role/replay", ExternalID: "hunter2",
	})
	require.NoError(t, err)
	defer api.Close()
	require.NoError(t, CheckBucket(t.Context(), api, Settings{}, "bucket", ""))
	require.Contains(t, asked, "ExternalId=hunter2")
	require.Contains(t, asked, "role%2Freplay")
	require.Contains(t, signed, "Credential=assumed/")
}

func TestUnordered(t *testing.T) {
	require.True(t, Unordered("b--use1-az4--x-s3"))
	require.False(t, Unordered("b"))
}

// Whatever is at the endpoint, little of what it says comes into memory.
func TestAnAnswerWithoutEnd(t *testing.T) {
	s3test.Credentials(t)
	for status, begin := range map[int]string{200: "<ListBucketResult>", 403: "<Error><Code>AccessDenied</Code><Message>", 500: "<Error><Message>"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server := s3test.New(t, "bucket")
			var written atomic.Int64
			server.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(status)
				_, err := io.WriteString(w, begin)
				for chunk := []byte(strings.Repeat("<Prefix>x</Prefix>", 1<<10)); err == nil && written.Load() < 256<<20; {
					var n int
					n, err = w.Write(chunk)
					written.Add(int64(n))
				}
				return true
			})
			set := Settings{Region: "us-east-1", Endpoint: server.URL, PathStyle: true, RetryMaxAttempts: 1, RetryMaxBackoff: time.Second}
			api, err := NewS3(t.Context(), set)
			require.NoError(t, err)
			defer api.Close()
			err = CheckBucket(t.Context(), api, set, "bucket", "")
			require.Error(t, err)
			require.Equal(t, map[int]Kind{200: Transient, 403: Denied, 500: Transient}[status], KindOf(err))
			require.Less(t, len(err.Error()), 2*maxErrorAnswer)
			require.Less(t, written.Load(), int64(4*maxAnswer))
		})
	}
}

// What is read of an object is for who reads it to say.
func TestALargeObject(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.New(t, "bucket")
	server.Put(t, "a", make([]byte, maxAnswer+1))
	api, err := NewS3(t.Context(), Settings{Region: "us-east-1", Endpoint: server.URL, PathStyle: true, RetryMaxAttempts: 1, RetryMaxBackoff: time.Second})
	require.NoError(t, err)
	defer api.Close()
	out, err := api.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a")})
	require.NoError(t, err)
	defer out.Body.Close()
	n, err := io.Copy(io.Discard, out.Body)
	require.NoError(t, err)
	require.EqualValues(t, maxAnswer+1, n)
}

// Advice is about what went wrong, and not about a store that answers well.
func TestAdviceOnAnEndpoint(t *testing.T) {
	set := Settings{Endpoint: "http://127.0.0.1:9000"}
	away := &smithy.OperationError{Err: errors.New("connection refused")}
	require.ErrorContains(t, Explain(away, set, "b", ListPermission), "does not answer")
	require.ErrorContains(t, Explain(&smithy.OperationError{Err: answered(503, "SlowDown")}, set, "b", ListPermission), "cannot answer, or not as S3 does")
	own := errors.New("keys are not in order")
	require.Equal(t, own, Explain(own, set, "b", ListPermission))
}
