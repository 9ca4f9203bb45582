// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsend

import "net/http"

// Guard says of a request why it may not send. If may is not nil it is asked first, so that it gets to know of every
// attempt: that is where a role is asked for. A request that a web page of another origin makes never may, whatever may
// says; programs, which are no browsers, pass.
func Guard(may func(*http.Request) error) func(*http.Request) error {
	origins := http.NewCrossOriginProtection()
	return func(r *http.Request) error {
		if may != nil {
			if err := may(r); err != nil {
				return err
			}
		}
		return origins.Check(r)
	}
}
