// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Limits of a message. SQS takes up to 1 MiB (SQS Developer Guide, quotas), and a notification of S3
// has one record.
const (
	maxBody    = 1 << 20
	maxRecords = 1000
	// maxEnvelopes is how many wrappers may be around an event: SNS around EventBridge is two.
	maxEnvelopes = 3
	// maxKey bounds the key of a record as it is written, each of the 1,024 bytes that S3 allows as %XX.
	maxKey = 3 << 10
)

// Event is one record of a message: an object that was stored, or something else that happened.
type Event struct {
	Bucket string
	// Keys is the object's key, and after it what else the key may be: some stores write it as it
	// is, where S3 writes it like the query of a URL. Never empty.
	Keys []string
	// VersionID is empty where the bucket has no versions.
	VersionID string
	// Size is in bytes, as stored, 0 if it is not told.
	Size int64
	// Created is whether the object was stored; otherwise it was deleted, restored, tagged...
	Created bool
}

// Reason says why a message cannot be read, in a word of a closed set.
type Reason string

// The reasons of a [MessageError]. The first three are contrib's words for the same.
const (
	ReasonInvalidJSON        Reason = "invalid_json"
	ReasonNotS3Notification  Reason = "not_s3_notification"
	ReasonInvalidSNSMessage  Reason = "invalid_sns_message"
	ReasonTooLarge           Reason = "too_large"
	ReasonIncompleteS3Record Reason = "incomplete_s3_record"
)

// MessageError is a message that tells of no object in a form that is known.
type MessageError struct {
	Reason Reason
	detail string
}

func (e *MessageError) Error() string {
	text := "the message is not an S3 event notification: " + string(e.Reason)
	if e.detail != "" {
		text += ": " + e.detail
	}
	return text
}

// message holds what is read of each form of a message. Names are matched without regard to case.
type message struct {
	// S3 and what is compatible with it (Amazon S3 User Guide, event message structure).
	Records []record `json:"Records"`
	// Event is of the test that S3 sends when a notification is set up.
	Event string `json:"Event"`

	// SNS (Amazon SNS Developer Guide, HTTP/JSON notification format).
	Type    string `json:"Type"`
	Message string `json:"Message"`

	// EventBridge (Amazon S3 User Guide, EventBridge event message structure).
	DetailType string  `json:"detail-type"`
	Source     string  `json:"source"`
	Detail     *detail `json:"detail"`
}

type record struct {
	EventSource string `json:"eventSource"`
	EventName   string `json:"eventName"`
	S3          struct {
		Bucket bucket `json:"bucket"`
		Object object `json:"object"`
	} `json:"s3"`
}

type detail struct {
	Bucket bucket `json:"bucket"`
	Object object `json:"object"`
}

type bucket struct {
	Name string `json:"name"`
}

type object struct {
	Key       string      `json:"key"`
	Size      json.Number `json:"size"`
	VersionID string      `json:"versionId"`
	// EventBridge writes it like this.
	VersionIDDashed string `json:"version-id"`
}

// Parse reads the text of a message. No event and no error is a test event: there is nothing to do,
// and the message has served its purpose. The error is a [*MessageError].
func Parse(body string) ([]Event, error) {
	if len(body) > maxBody {
		return nil, &MessageError{Reason: ReasonTooLarge, detail: fmt.Sprintf("%d bytes, at most %d", len(body), maxBody)}
	}
	invalid := ReasonInvalidJSON
	for range maxEnvelopes {
		var m message
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			return nil, &MessageError{Reason: invalid, detail: describe(err)}
		}
		switch {
		case m.Records != nil:
			return m.records()
		case isTest(m.Event):
			return nil, nil
		case m.Detail != nil && m.Source == "aws.s3":
			return m.bridged()
		case m.Type == "Notification" && m.Message != "":
			body, invalid = m.Message, ReasonInvalidSNSMessage
		default:
			return nil, &MessageError{Reason: ReasonNotS3Notification}
		}
	}
	return nil, &MessageError{Reason: ReasonInvalidSNSMessage, detail: "an envelope in an envelope in an envelope"}
}

// isTest knows the test events of S3 and of stores that are compatible with it.
func isTest(event string) bool { return strings.HasSuffix(event, "TestEvent") }

// records reads the form of S3 itself.
func (m *message) records() ([]Event, error) {
	if len(m.Records) > maxRecords {
		return nil, &MessageError{Reason: ReasonTooLarge, detail: fmt.Sprintf("%d records, at most %d", len(m.Records), maxRecords)}
	}
	events := make([]Event, 0, len(m.Records))
	for i, r := range m.Records {
		if !isStore(r.EventSource) {
			return nil, &MessageError{Reason: ReasonNotS3Notification, detail: fmt.Sprintf("the source of record %d is not a store", i)}
		}
		event := r.S3.Object.event(r.S3.Bucket)
		name := strings.TrimPrefix(r.EventName, "s3:") // MinIO and versitygw write it, S3 does not
		event.Created = strings.HasPrefix(name, "ObjectCreated:")
		event.Keys = spellings(r.S3.Object.Key)
		if err := event.check(i); err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}

// isStore takes aws:s3 and what compatible stores say in its place: minio:s3, ceph:s3...
func isStore(source string) bool {
	_, service, ok := strings.Cut(source, ":")
	return ok && service == "s3"
}

// bridged reads the form of EventBridge, where a key is written as it is.
func (m *message) bridged() ([]Event, error) {
	event := m.Detail.Object.event(m.Detail.Bucket)
	event.VersionID = m.Detail.Object.VersionIDDashed
	event.Created = m.DetailType == "Object Created"
	event.Keys = []string{m.Detail.Object.Key}
	if err := event.check(0); err != nil {
		return nil, err
	}
	return []Event{event}, nil
}

func (o *object) event(b bucket) Event {
	size, _ := o.Size.Int64() // a size that is no number is as good as none
	return Event{Bucket: b.Name, VersionID: o.VersionID, Size: max(size, 0)}
}

// spellings is what a key of a notification may mean, the form that S3 documents first.
func spellings(key string) []string {
	decoded, err := url.QueryUnescape(key)
	if err != nil || decoded == key {
		return []string{key}
	}
	return []string{decoded, key}
}

// check holds that a record that shall be read names an object. index is for the error.
func (e *Event) check(index int) error {
	if e.Created && (e.Bucket == "" || e.Keys[0] == "" || len(e.Keys[len(e.Keys)-1]) > maxKey) {
		return &MessageError{Reason: ReasonIncompleteS3Record, detail: fmt.Sprintf("record %d names no object", index)}
	}
	return nil
}

// describe tells of a JSON error without the text it is about, which may be anybody's.
func describe(err error) string {
	switch err := err.(type) { //nolint:errorlint // encoding/json returns them as they are
	case *json.SyntaxError:
		return fmt.Sprintf("not JSON at byte %d", err.Offset)
	case *json.UnmarshalTypeError:
		return fmt.Sprintf("%s is not a %s at byte %d", err.Field, err.Type, err.Offset)
	default:
		return "not JSON"
	}
}
