// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"slices"
	"strings"
)

// leastZipped is the size from which compressing pays: less fits a packet anyway.
const leastZipped = 1400

// takesGzip tells whether the client can read what is compressed.
func takesGzip(r *http.Request) bool {
	for _, offer := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(offer), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && !slices.Contains([]string{"q=0", "q=0.0"}, strings.TrimSpace(weight)) {
			return true
		}
	}
	return false
}

// compress is body in the gzip format.
func compress(body []byte, level int) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, level) // the levels are constants
	_, _ = z.Write(body)                     // a buffer takes everything
	_ = z.Close()
	return out.Bytes()
}

// zip compresses a page that is read once.
func zip(body []byte) []byte { return compress(body, gzip.BestSpeed) }

// send writes body, compressed where the client takes that. zipped may be nil; then it is made if it pays.
func send(w http.ResponseWriter, r *http.Request, status int, body, zipped []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if takesGzip(r) && len(body) >= leastZipped {
		if zipped == nil {
			zipped = zip(body)
		}
		w.Header().Set("Content-Encoding", "gzip")
		body = zipped
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone if this fails
}
