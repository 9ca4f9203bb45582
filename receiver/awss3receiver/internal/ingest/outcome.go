// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/backoff"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/decode"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/fetch"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/store"
)

// Reason is what came of an object, a word of a closed set.
type Reason string

// Reasons. Three words are those that contrib's receiver counts by.
const (
	Delivered Reason = "delivered" // the pipeline took all of it

	Unsupported  Reason = "unsupported_format" // nothing here reads a file of this name
	Tagged       Reason = "tagged"             // it was delivered before, a tag says
	WrongSignal  Reason = "wrong_signal"       // it holds another signal
	Undecodable  Reason = "decode_failed"      // it is not what its name says
	Uncompressed Reason = "decompress_failed"  // its compression is broken
	TooLarge     Reason = "too_large"          // it grows beyond limits
	NotFound     Reason = "not_found"          // it is gone
	Denied       Reason = "access_denied"      // these credentials may not read it
	Unreadable   Reason = "unreadable"         // the store will not give it, as one that is archived
	Changed      Reason = "changed"            // it was replaced while it was read
	Refused      Reason = "refused"            // the pipeline will not take it
	GivenUp      Reason = "given_up"           // it did not work for as long as retry_on_failure allows
	Stopped      Reason = "stopped"            // the receiver was shut down in the middle
)

// Outcome is what came of an object.
type Outcome struct {
	Reason Reason
	// Records were taken by the pipeline, even of an object that failed later.
	Records int
	// Bytes is the size of the object as stored.
	Bytes int64
	// Err says more; nil if all was delivered.
	Err error
}

// Failed reports whether something of the object is missing in the pipeline that should be there.
func (o Outcome) Failed() bool {
	switch o.Reason {
	case Delivered, Unsupported, Tagged, Stopped:
		return false
	}
	return true
}

// errRefused marks what a consumer says.
var errRefused = errors.New("the pipeline refuses it")

// reasonOf is the word for an error of any room that an object goes through.
func reasonOf(ctx context.Context, err error) Reason {
	var fetched *fetch.Error
	switch {
	case err == nil:
		return Delivered
	case ctx.Err() != nil:
		return Stopped
	case errors.Is(err, backoff.ErrGivenUp):
		return GivenUp
	case errors.Is(err, errRefused):
		return Refused
	case errors.As(err, &fetched):
		return reasonOfKind(fetched.Kind)
	case errors.Is(err, decode.ErrWrongSignal):
		return WrongSignal
	case errors.Is(err, decode.ErrTooLarge):
		return TooLarge
	case errors.Is(err, decode.ErrCompression):
		return Uncompressed
	}
	return Undecodable
}

func reasonOfKind(kind store.Kind) Reason {
	switch kind {
	case store.NotFound, store.NoBucket:
		return NotFound
	case store.Denied:
		return Denied
	case store.Changed:
		return Changed
	case store.Stopped:
		return Stopped
	case store.Transient:
		return GivenUp
	}
	return Unreadable
}
