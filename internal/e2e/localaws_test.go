// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/localaws"
)

const bucketName = "telemetry"

// toolsDir is where make installs the servers.
func toolsDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("FLEETVIEW_TOOLS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".tools")
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	return dir
}

// bucket is an empty bucket of a gateway that runs as long as the test.
type bucket struct {
	server *localaws.Server
	client *s3.Client
}

// startBucket starts a gateway. Each event of its bucket is handed to told, if that is not nil.
func startBucket(t *testing.T, told func(ctx context.Context, event string) error) *bucket {
	t.Helper()
	g := localaws.Gateway{Tools: toolsDir(t)}
	if told != nil {
		webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			event, err := io.ReadAll(r.Body)
			if err == nil {
				err = told(r.Context(), string(event))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
			}
		}))
		t.Cleanup(webhook.Close)
		g.Webhook = webhook.URL
	}
	server, err := localaws.StartGateway(t.Context(), g)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	b := &bucket{server: server, client: server.S3()}
	_, err = b.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucketName)})
	require.NoError(t, err)
	return b
}

func (b *bucket) put(t *testing.T, key string, body []byte) {
	t.Helper()
	_, err := b.client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(bucketName),
		Key:    &key,
		Body:   bytes.NewReader(body),
	})
	require.NoError(t, err)
}

// queue is a queue of a fauxqs that runs as long as the test.
type queue struct {
	server *localaws.Server
	client *sqs.Client
	url    string
}

func startQueue(t *testing.T, attributes map[string]string) *queue {
	t.Helper()
	server, err := localaws.StartFauxQS(t.Context(), toolsDir(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return (&queue{server: server, client: server.SQS()}).create(t, "events", attributes)
}

// create makes another queue of the same server.
func (q *queue) create(t *testing.T, name string, attributes map[string]string) *queue {
	t.Helper()
	created, err := q.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	require.NoError(t, err)
	return &queue{server: q.server, client: q.client, url: *created.QueueUrl}
}

func (q *queue) send(ctx context.Context, body string) error {
	_, err := q.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body})
	return err
}

// attribute is what the queue says of itself.
func (q *queue) attribute(t *testing.T, name types.QueueAttributeName) string {
	t.Helper()
	got, err := q.client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl:       &q.url,
		AttributeNames: []types.QueueAttributeName{name},
	})
	require.NoError(t, err)
	return got.Attributes[string(name)]
}
