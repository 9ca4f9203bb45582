// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Kind is what an error of the store means for who asked.
type Kind int

// The kinds of an error.
const (
	Transient Kind = iota // it may work later: the store is busy, away or cut the answer short
	NotFound              // the object is not there
	NoBucket              // the bucket is not there
	Denied                // these credentials may not
	Changed               // the object is another one than when reading began
	Invalid               // the request will never work
	Stopped               // whoever asked went away
)

// codes are the words of S3 and of stores like it. All others go by the status.
var codes = map[string]Kind{
	"NoSuchKey": NotFound, "NoSuchVersion": NotFound,
	"NoSuchBucket": NoBucket, "InvalidBucketName": NoBucket,
	"AccessDenied": Denied, "AllAccessDisabled": Denied, "InvalidAccessKeyId": Denied, "SignatureDoesNotMatch": Denied,
	"AccountProblem": Denied, "Forbidden": Denied, "KMS.DisabledException": Denied,
	"InvalidObjectState": Invalid, "PreconditionFailed": Changed, "InvalidRange": Changed,
	// Credentials that ran out are renewed, and clocks are set.
	"ExpiredToken": Transient, "ExpiredTokenException": Transient, "TokenRefreshRequired": Transient,
	"RequestExpired": Transient, "RequestTimeTooSkewed": Transient, "RequestTimeout": Transient,
	"SlowDown": Transient, "Throttling": Transient, "ThrottlingException": Transient, "TooManyRequests": Transient,
	"RequestLimitExceeded": Transient, "BandwidthLimitExceeded": Transient, "OperationAborted": Transient,
}

// KindOf says what an error means. What is not known is transient: to try again harms nobody.
func KindOf(err error) Kind {
	if errors.Is(err, context.Canceled) {
		return Stopped
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if kind, known := codes[api.ErrorCode()]; known {
			return kind
		}
	}
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) {
		return Transient
	}
	switch status := response.HTTPStatusCode(); {
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return Denied
	case status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable:
		return Changed
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status == http.StatusConflict:
		return Transient
	case status >= 300 && status < 500:
		return Invalid
	}
	return Transient
}

// Explain adds to an error of the store what to do about it, in the user's own keys. what is the
// permission that was needed, such as s3:GetObject.
func Explain(err error, set Settings, bucket, what string) error {
	if text := advice(err, set, bucket, what); text != "" {
		return fmt.Errorf("%s: %w", text, err)
	}
	return err
}

func advice(err error, set Settings, bucket, what string) string {
	at := "AWS"
	if set.Endpoint != "" {
		at = set.Endpoint
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		region := response.Response.Header.Get("X-Amz-Bucket-Region")
		if region != "" && region != set.Region {
			return fmt.Sprintf("bucket %q is in region %s, not in %s: set s3downloader.region", bucket, region, set.Region)
		}
	}
	var operation *smithy.OperationError // of the store, and not of who asked it
	kind := KindOf(err)
	switch {
	case kind == NoBucket || kind == NotFound && what == ListPermission:
		return fmt.Sprintf("bucket %q does not exist at %s: check s3downloader.s3_bucket, s3downloader.region and s3downloader.endpoint", bucket, at)
	case kind == Denied:
		return fmt.Sprintf("no access to bucket %q at %s: these credentials need %s", bucket, at, what)
	case kind == Invalid:
		return fmt.Sprintf("%s refuses the request for bucket %q: check s3downloader.region, s3downloader.endpoint and s3downloader.s3_force_path_style", at, bucket)
	case kind == Transient && missingCredentials(err):
		return "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, a role of the machine, or s3downloader.role_arn"
	case kind == Transient && set.Endpoint != "" && errors.As(err, &operation):
		if response != nil && response.HTTPStatusCode() != 0 {
			return fmt.Sprintf("%s cannot answer, or not as S3 does: check s3downloader.endpoint if this stays", at)
		}
		return fmt.Sprintf("%s does not answer: check s3downloader.endpoint if this stays", at)
	}
	return ""
}

// missingCredentials reports whether the chain of credentials came to its end.
func missingCredentials(err error) bool {
	text := err.Error()
	return strings.Contains(text, "get identity: get credentials") || strings.Contains(text, "failed to refresh cached credentials")
}
