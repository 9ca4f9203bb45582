// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// compressFrom is the least size of a body that is compressed, in bytes. A heartbeat
// would only grow.
const compressFrom = 1 << 10

// packers are the writers that compressed uses. They are large, and most reports come
// once in a while: the garbage collector takes those that wait for the next.
var packers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// compressed is body as gzip, nil where that does not make it smaller.
func compressed(body []byte) []byte {
	if len(body) < compressFrom {
		return nil
	}
	var buf bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&buf)
	if _, err := w.Write(body); err != nil || w.Close() != nil || buf.Len() >= len(body) {
		return nil
	}
	return buf.Bytes()
}

// refusesEncoding recognizes a server that cannot take a compressed body: the status for
// that is 415, but one that does not look at the header finds a bad request.
func refusesEncoding(status int) bool {
	return status == http.StatusUnsupportedMediaType || status == http.StatusBadRequest
}

// readBody reads a reply, whatever way it is encoded, of at most limit bytes after and
// before decompression. It is not left to net/http, which knows no limits.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return opampwire.ReadLimited(resp.Body, limit)
	case "gzip", "x-gzip":
		return opampwire.Gunzip(resp.Body, limit)
	default:
		return nil, fmt.Errorf("%w: reply with Content-Encoding %.32q, which was not asked for", opampwire.ErrMalformed, encoding)
	}
}
