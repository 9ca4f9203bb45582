// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"io"
	"net/http"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
)

const (
	// maxAnswer is how long an answer may be that the SDK reads into memory: a page of 1,000 keys, all
	// of 1,024 bytes that XML has to escape, is shorter.
	maxAnswer = 8 << 20
	// maxErrorAnswer is how long one may be that says what went wrong, which is logged.
	maxErrorAnswer = 16 << 10
)

// ErrLongAnswer says that an answer is longer than any that such a service gives.
var ErrLongAnswer = errors.New("the answer is longer than it may be")

// bounded is a transport that bounds what is read into memory. The body of an object is not: who
// reads it takes of it what it wants.
type bounded struct{ next http.RoundTripper }

// RoundTrip is part of [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch {
	case answer.StatusCode >= http.StatusMultipleChoices:
		answer.Body = &boundedBody{ReadCloser: answer.Body, left: maxErrorAnswer}
	case awsmiddleware.GetOperationName(r.Context()) != "GetObject":
		answer.Body = &boundedBody{ReadCloser: answer.Body, left: maxAnswer}
	}
	return answer, nil
}

// boundedBody fails instead of going on.
type boundedBody struct {
	io.ReadCloser

	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, ErrLongAnswer
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
