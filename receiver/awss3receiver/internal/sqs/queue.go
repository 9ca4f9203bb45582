// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// API is what is used of SQS. A [*awssqs.Client] is one.
type API interface {
	GetQueueAttributes(context.Context, *awssqs.GetQueueAttributesInput, ...func(*awssqs.Options)) (*awssqs.GetQueueAttributesOutput, error)
	ReceiveMessage(context.Context, *awssqs.ReceiveMessageInput, ...func(*awssqs.Options)) (*awssqs.ReceiveMessageOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *awssqs.ChangeMessageVisibilityBatchInput, ...func(*awssqs.Options)) (*awssqs.ChangeMessageVisibilityBatchOutput, error)
	DeleteMessageBatch(context.Context, *awssqs.DeleteMessageBatchInput, ...func(*awssqs.Options)) (*awssqs.DeleteMessageBatchOutput, error)
}

// Limits of SQS (Amazon SQS API Reference).
const (
	maxBatch = 10
	// usualVisibility is what a queue has that was made without saying otherwise.
	usualVisibility = 30 * time.Second
)

// terms are what a queue has to do with how its messages are treated.
type terms struct {
	// Visibility is how long a message that was given out is kept from others.
	Visibility time.Duration
	// Explicit is whether that is not the queue's own and must be said at each receive.
	Explicit bool
	// MaxReceives is after how many receives a message goes to the dead-letter queue, 0 for never.
	MaxReceives int
}

// readTerms reads what GetQueueAttributes answered. What is missing or makes no sense is the usual.
func readTerms(attributes map[string]string) terms {
	t := terms{Visibility: usualVisibility}
	if s, err := strconv.Atoi(attributes[string(types.QueueAttributeNameVisibilityTimeout)]); err == nil && s >= 0 {
		t.Visibility = time.Duration(s) * time.Second
	}
	if t.Visibility == 0 { // each message would be given out again at once
		t.Visibility, t.Explicit = usualVisibility, true
	}
	var redrive struct {
		MaxReceiveCount json.Number `json:"maxReceiveCount"` // a number, or one in quotes
	}
	if json.Unmarshal([]byte(attributes[string(types.QueueAttributeNameRedrivePolicy)]), &redrive) == nil {
		n, _ := redrive.MaxReceiveCount.Int64()
		t.MaxReceives = int(max(n, 0))
	}
	return t
}

// Words for what can go wrong between here and the queue.
const (
	wordDenied      = "access_denied"
	wordCredentials = "credentials"
	wordNoQueue     = "no_such_queue"
	wordThrottled   = "throttled"
	wordTimeout     = "timeout"
	wordOther       = "other"
)

// word is what an error of a call is counted as.
func word(err error) string {
	var noQueue *types.QueueDoesNotExist
	if errors.As(err, &noQueue) {
		return wordNoQueue
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "AccessDenied", "AccessDeniedException", "KmsAccessDenied", "KMS.AccessDeniedException":
			return wordDenied
		case "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist":
			return wordNoQueue
		case "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException",
			"ExpiredToken", "ExpiredTokenException", "MissingAuthenticationToken", "IncompleteSignature":
			return wordCredentials
		case "RequestThrottled", "ThrottlingException", "Throttling", "OverLimit", "KmsThrottled":
			return wordThrottled
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return wordTimeout
	}
	return wordOther
}

// advice is what somebody can do about an error of an operation, or empty.
func advice(operation, word string) string {
	switch word {
	case wordDenied:
		return "allow sqs:" + permissions[operation] + " on the queue of sqs.queue_url, to sqs.role_arn if it is set"
	case wordCredentials:
		return "check the AWS credentials of this process, or sqs.role_arn"
	case wordNoQueue:
		return "check sqs.queue_url, sqs.region and sqs.endpoint"
	default:
		return ""
	}
}

// Operations as they are counted.
const (
	opAttributes = "attributes"
	opReceive    = "receive"
	opExtend     = "extend"
	opRelease    = "release"
	opDelete     = "delete"
)

var permissions = map[string]string{
	opAttributes: "GetQueueAttributes",
	opReceive:    "ReceiveMessage",
	opExtend:     "ChangeMessageVisibility",
	opRelease:    "ChangeMessageVisibility",
	opDelete:     "DeleteMessage",
}
