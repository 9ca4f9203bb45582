// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// question is what requests that look at all agents have in common.
type question struct {
	values url.Values
	query  fleetquery.Query // of the parameter q
	limit  int              // 0 if the request says nothing of it
	asCSV  bool
}

// question reads the parameters of a request, which may have those called names, and waits until there is room for the
// work. It answers the request itself, and returns false, if something is wrong. Who was let in leaves.
func (a *API) question(w http.ResponseWriter, r *http.Request, names ...string) (q question, leave func(), ok bool) {
	q, err := readQuestion(r, names)
	if err != nil {
		badRequest(w, err)
		return q, nil, false
	}
	leave, ok = a.work.enter(w, r)
	return q, leave, ok
}

func readQuestion(r *http.Request, names []string) (q question, err error) {
	if q.values, err = parametersOf(r, names...); err != nil {
		return q, err
	}
	if q.query, err = fleetquery.Parse(q.values.Get("q")); err != nil {
		return q, fmt.Errorf("q: %w", err)
	}
	if q.limit, err = parseNumber(q.values.Get("limit"), 0, maxGroups); err != nil {
		return q, fmt.Errorf("limit: %w", err)
	}
	if slices.Contains(names, "format") {
		q.asCSV, err = wantsCSV(r, q.values)
	}
	return q, err
}

// parametersOf a request that may have these, each once but for lists.
func parametersOf(r *http.Request, names ...string) (url.Values, error) {
	values, err := parameters(r)
	if err != nil {
		return nil, err
	}
	for name, vs := range values {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%.64s: %w", name, errUnknownParameter)
		}
		if len(vs) > 1 && name != "facets" {
			return nil, fmt.Errorf("%.64s: %w", name, errRepeated)
		}
	}
	return values, nil
}
