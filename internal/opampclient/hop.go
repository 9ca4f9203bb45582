// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import "net/http"

// oneHop takes the address out of a redirect before net/http looks at it. That no
// redirect is followed is the client's policy; but net/http reads the address first, and
// one that it cannot read becomes an error which repeats it, with whatever the server put
// there, a header that it was sent for example.
type oneHop struct{ base http.RoundTripper }

func (t oneHop) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Header.Del("Location")
	}
	return resp, err
}
