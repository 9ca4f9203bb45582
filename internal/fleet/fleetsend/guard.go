// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsend

import "net/http"

// Guard says of a request why it may not send. A request that a web page of another origin makes never may; programs,
// which are no browsers, pass. Then may decides, if it is not nil: that is where a role would be asked for.
func Guard(may func(*http.Request) error) func(*http.Request) error {
	origins := http.NewCrossOriginProtection()
	return func(r *http.Request) error {
		if err := origins.Check(r); err != nil {
			return err
		}
		if may == nil {
			return nil
		}
		return may(r)
	}
}
