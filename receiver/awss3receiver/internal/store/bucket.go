// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Permissions by the names that a policy gives them.
const (
	ListPermission = "s3:ListBucket"
	GetPermission  = "s3:GetObject"
	TagPermission  = "s3:GetObjectTagging and s3:PutObjectTagging"
)

// The tag that says that an object was delivered, as contrib's receiver writes it.
const (
	TagKey   = "otel-collector:status"
	TagValue = "ingested"
)

// maxTags is how many an object may have (Amazon S3 User Guide, "Categorizing your objects using
// tags").
const maxTags = 10

// ErrTagsFull says that an object has no room for another tag.
var ErrTagsFull = errors.New("the object has as many tags as there can be")

// CheckBucket asks whether the bucket is there and what is below a prefix may be listed. The error
// says what to do.
func CheckBucket(ctx context.Context, api API, set Settings, bucket, prefix string) error {
	_, err := api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: aws.String(bucket), Prefix: optional(prefix), MaxKeys: aws.Int32(1),
	})
	var illegible *xml.SyntaxError
	if err != nil && !errors.As(err, &illegible) { // a key may be, and who lists knows what to do
		return Explain(err, set, bucket, ListPermission)
	}
	return nil
}

// Unordered reports whether a bucket does not list its keys in their order, as S3's directory
// buckets do not; they take no key to start after either.
func Unordered(bucket string) bool { return strings.HasSuffix(bucket, "--x-s3") }

// Tagged reports whether an object was delivered before.
func Tagged(ctx context.Context, api API, bucket, key, version string) (bool, error) {
	tags, err := tagsOf(ctx, api, bucket, key, version)
	return hasTag(tags), err
}

// Tag marks an object as delivered. The tags that it has stay: others live by them.
func Tag(ctx context.Context, api API, bucket, key, version string) error {
	tags, err := tagsOf(ctx, api, bucket, key, version)
	if err != nil || hasTag(tags) {
		return err
	}
	merged := make([]types.Tag, 0, len(tags)+1)
	for _, tag := range tags {
		if aws.ToString(tag.Key) != TagKey {
			merged = append(merged, tag)
		}
	}
	if len(merged) >= maxTags {
		return fmt.Errorf("%s: %w", key, ErrTagsFull)
	}
	merged = append(merged, types.Tag{Key: aws.String(TagKey), Value: aws.String(TagValue)})
	_, err = api.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
		Bucket: aws.String(bucket), Key: aws.String(key), VersionId: optional(version),
		Tagging: &types.Tagging{TagSet: merged},
	})
	return err
}

func tagsOf(ctx context.Context, api API, bucket, key, version string) ([]types.Tag, error) {
	out, err := api.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{
		Bucket: aws.String(bucket), Key: aws.String(key), VersionId: optional(version),
	})
	if err != nil {
		return nil, err
	}
	return out.TagSet, nil
}

func hasTag(tags []types.Tag) bool {
	for _, tag := range tags {
		if aws.ToString(tag.Key) == TagKey && aws.ToString(tag.Value) == TagValue {
			return true
		}
	}
	return false
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
