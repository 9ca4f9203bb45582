// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Messages as their senders write them.
const (
	fromS3 = `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2","eventTime":"1970-01-01T00:00:00.000Z",
		"eventName":"ObjectCreated:Put","userIdentity":{"principalId":"AIDAJDPLRKLG7UEXAMPLE"},"s3":{"s3SchemaVersion":"1.0",
		"configurationId":"testConfigRule","bucket":{"name":"telemetry","arn":"arn:aws:s3:::telemetry"},
		"object":{"key":"logs/year%3D2024/a+b%2Bc.json","size":1024,"eTag":"d41d8cd98f00b204e9800998ecf8427e",
		"versionId":"096fKKXTRTtl3on89fVO.nfljtsv6qko","sequencer":"0055AED6DCD90281E5"}}}]}`
	fromVersityGW = `{"Records":[{"eventVersion":"2.2","eventSource":"aws:s3","eventName":"s3:ObjectCreated:Put",
		"s3":{"bucket":{"name":"telemetry"},"object":{"key":"a/b c+d=é%.json","size":1,"versionId":null,"sequencer":"1"}}}]}`
	fromMinIO = `{"EventName":"s3:ObjectCreated:Put","Key":"telemetry/traces/x.json","Records":[{"eventSource":"minio:s3",
		"eventName":"s3:ObjectCreated:CompleteMultipartUpload","s3":{"bucket":{"name":"telemetry"},
		"object":{"key":"traces%2Fx.json","size":3}},"source":{"host":"127.0.0.1"}}]}`
	fromEventBridge = `{"version":"0","id":"17793124","detail-type":"Object Created","source":"aws.s3","account":"111122223333",
		"region":"ca-central-1","resources":["arn:aws:s3:::telemetry"],"detail":{"version":"0","bucket":{"name":"telemetry"},
		"object":{"key":"a+b%20c.json","size":5,"etag":"b1946ac92492d2347c6235b4d2611184","version-id":"IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
		"sequencer":"00617F08299329D189"},"reason":"PutObject"}}`
	removed      = `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"telemetry"},"object":{"key":"x"}}}]}`
	testEvent    = `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"telemetry"}`
	testOfOthers = `{"Bucket":"Test-Bucket","Event":"s3:TestEvent","Service":"S3"}`
)

// bySNS wraps a message as SNS does.
func bySNS(message string) string {
	quoted, _ := json.Marshal(message)
	return `{"Type":"Notification","MessageId":"22b80b92","TopicArn":"arn:aws:sns:us-west-2:123456789012:topic",
		"Subject":"Amazon S3 Notification","Message":` + string(quoted) + `,"Signature":"EXAMPLE"}`
}

func TestParse(t *testing.T) {
	s3 := []Event{{
		Bucket:    "telemetry",
		Keys:      []string{"logs/year=2024/a b+c.json", "logs/year%3D2024/a+b%2Bc.json"},
		VersionID: "096fKKXTRTtl3on89fVO.nfljtsv6qko",
		Size:      1024,
		Created:   true,
	}}
	bridge := []Event{{
		Bucket:    "telemetry",
		Keys:      []string{"a+b%20c.json"},
		VersionID: "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
		Size:      5,
		Created:   true,
	}}
	tests := []struct {
		name string
		body string
		want []Event
	}{
		{"S3", fromS3, s3},
		{"S3 through SNS", bySNS(fromS3), s3},
		{"EventBridge", fromEventBridge, bridge},
		{"EventBridge through SNS", bySNS(fromEventBridge), bridge},
		{
			"versitygw, whose keys are raw", fromVersityGW,
			[]Event{{Bucket: "telemetry", Keys: []string{"a/b c+d=é%.json"}, Size: 1, Created: true}},
		},
		{
			"MinIO", fromMinIO,
			[]Event{{Bucket: "telemetry", Keys: []string{"traces/x.json", "traces%2Fx.json"}, Size: 3, Created: true}},
		},
		{"removed", removed, []Event{{Bucket: "telemetry", Keys: []string{"x"}}}},
		{
			"deleted, by EventBridge",
			`{"detail-type":"Object Deleted","source":"aws.s3","detail":{"bucket":{"name":"telemetry"},"object":{"key":"x"}}}`,
			[]Event{{Bucket: "telemetry", Keys: []string{"x"}}},
		},
		{"test event", testEvent, nil},
		{"test event of versitygw", testOfOthers, nil},
		{"test event through SNS", bySNS(testEvent), nil},
		{"no records", `{"Records":[]}`, []Event{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.body)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestParseReadsEveryRecord(t *testing.T) {
	var records []string
	for i := range 3 {
		records = append(records, fmt.Sprintf(`{"eventSource":"aws:s3","eventName":"ObjectCreated:Copy",`+
			`"s3":{"bucket":{"name":"b"},"object":{"key":"%d"}}}`, i))
	}
	events, err := Parse(`{"Records":[` + strings.Join(records, ",") + `]}`)
	require.NoError(t, err)
	require.Len(t, events, 3)
	for i, e := range events {
		assert.Equal(t, []string{fmt.Sprint(i)}, e.Keys)
	}
}

func TestParseRefuses(t *testing.T) {
	record := func(source, name, object string) string {
		return `{"Records":[{"eventSource":"` + source + `","eventName":"` + name + `","s3":{"bucket":{"name":"b"},"object":` + object + `}}]}`
	}
	tests := []struct {
		name string
		body string
		want Reason
	}{
		{"nothing", "", ReasonInvalidJSON},
		{"text", "hello", ReasonInvalidJSON},
		{"a number", "1", ReasonInvalidJSON},
		{"half a message", fromS3[:len(fromS3)/2], ReasonInvalidJSON},
		{"nested without end", strings.Repeat("[", 100_000), ReasonInvalidJSON},
		{"records of another kind", `{"Records":{"a":1}}`, ReasonInvalidJSON},
		{"something else", `{"hello":"world"}`, ReasonNotS3Notification},
		{"null", "null", ReasonNotS3Notification},
		{"another source", record("aws:ses", "x", `{}`), ReasonNotS3Notification},
		{"another bus", `{"source":"aws.ec2","detail-type":"x","detail":{}}`, ReasonNotS3Notification},
		{"a subscription to confirm", `{"Type":"SubscriptionConfirmation","Message":"You have chosen"}`, ReasonNotS3Notification},
		{"text through SNS", bySNS("hello"), ReasonInvalidSNSMessage},
		{"envelopes without end", bySNS(bySNS(bySNS(bySNS(fromS3)))), ReasonInvalidSNSMessage},
		{"no key", record("aws:s3", "ObjectCreated:Put", `{}`), ReasonIncompleteS3Record},
		{"endless key", record("aws:s3", "ObjectCreated:Put", `{"key":"`+strings.Repeat("k", maxKey+1)+`"}`), ReasonIncompleteS3Record},
		{"large", `{"Records":[]}` + strings.Repeat(" ", maxBody), ReasonTooLarge},
		{"many records", `{"Records":[` + strings.Repeat("{},", maxRecords) + `{}]}`, ReasonTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := Parse(tt.body)
			assert.Empty(t, events)
			var unreadable *MessageError
			require.ErrorAs(t, err, &unreadable)
			assert.Equal(t, tt.want, unreadable.Reason)
			assert.Less(t, len(err.Error()), 200, "an error repeats what is in the message")
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		fromS3, fromVersityGW, fromMinIO, fromEventBridge, removed, testEvent, testOfOthers,
		bySNS(fromS3), bySNS(bySNS(fromEventBridge)), "", "null", `{"Records":[{}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		events, err := Parse(body)
		if err != nil {
			var unreadable *MessageError
			require.ErrorAs(t, err, &unreadable)
			require.NotEmpty(t, unreadable.Reason)
			require.Less(t, len(err.Error()), 300)
			require.Empty(t, events)
			return
		}
		require.LessOrEqual(t, len(events), maxRecords)
		for _, e := range events {
			require.NotEmpty(t, e.Keys)
			require.LessOrEqual(t, len(e.Keys), 2)
			require.GreaterOrEqual(t, e.Size, int64(0))
			if e.Created {
				require.NotEmpty(t, e.Bucket)
				require.NotEmpty(t, e.Keys[0])
			}
		}
	})
}
