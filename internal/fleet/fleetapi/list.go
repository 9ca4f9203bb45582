// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Limits of one page of the list.
const (
	defaultPage = 100
	maxPage     = 1000
)

// listed is the answer to GET /api/v1/agents.
type listed struct {
	Agents     []summary               `json:"agents"`
	Total      int                     `json:"total"`
	Known      int                     `json:"known"`
	Conditions map[fleet.Condition]int `json:"conditions"`
	NextCursor string                  `json:"next_cursor,omitempty"`
	Position   string                  `json:"position"`
}

func (a *API) listAgents(w http.ResponseWriter, r *http.Request) {
	values, err := parameters(r)
	if err != nil {
		badRequest(w, err)
		return
	}
	q, err := ParseQuery(values)
	if err != nil {
		badRequest(w, err)
		return
	}
	page, err := a.fleet.Select(q)
	if err != nil {
		badRequest(w, fmt.Errorf("%s: %w", parameterOf(err), err))
		return
	}
	answer(w, http.StatusOK, listed{
		Agents:     summaries(page.Agents),
		Total:      page.Total,
		Known:      page.Known,
		Conditions: page.Conditions,
		NextCursor: page.Next,
		Position:   page.Position.String(),
	})
}

func parameterOf(err error) string {
	if errors.Is(err, fleet.ErrBadCursor) {
		return "cursor"
	}
	return "sort"
}

// ParseQuery reads the parameters of the list: q, liveness, condition, healthy, sort, limit and cursor. An unknown
// parameter, like a wrong value, is an error that names it.
func ParseQuery(values url.Values) (fleet.Query, error) {
	q := fleet.Query{Limit: defaultPage}
	for name, vs := range values {
		if err := setParameter(&q, name, vs); err != nil {
			return fleet.Query{}, fmt.Errorf("%.64s: %w", name, err)
		}
	}
	return q, nil
}

var (
	errUnknownParameter = errors.New("unknown parameter")
	errRepeated         = errors.New("is there more than once")
)

// parameters of a request. One that can't be read is an error, for it would be as good as unknown.
func parameters(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return values, nil
}

func setParameter(q *fleet.Query, name string, values []string) (err error) {
	switch name {
	case "liveness":
		q.Liveness, err = parseWords(values, fleet.Livenesses())
		return err
	case "condition":
		q.Conditions, err = parseWords(values, fleet.Conditions())
		return err
	}
	value, err := only(values)
	if err != nil {
		return err
	}
	switch name {
	case "q":
		q.Text = value
	case "healthy":
		q.Healthy, err = parseBool(value)
	case "sort":
		q.Sort, q.Descending = parseSort(value)
	case "limit":
		q.Limit, err = parseLimit(value)
	case "cursor":
		q.After = value
	default:
		err = errUnknownParameter
	}
	return err
}

// only is the value of a parameter that has one.
func only(values []string) (string, error) {
	if len(values) > 1 {
		return "", errRepeated
	}
	return values[0], nil
}

// parseWords reads a list of words, separated by commas or repeated.
func parseWords[T ~string](values []string, allowed []T) ([]T, error) {
	var out []T
	for _, v := range values {
		for word := range strings.SplitSeq(v, ",") {
			if word == "" {
				continue
			}
			if !slices.Contains(allowed, T(word)) {
				return nil, fmt.Errorf("%.64q is none of %v", word, allowed)
			}
			out = append(out, T(word))
		}
	}
	return out, nil
}

func parseBool(s string) (*bool, error) {
	switch s {
	case "":
		return nil, nil
	case "true", "false":
		b := s == "true"
		return &b, nil
	}
	return nil, fmt.Errorf("%.64q is neither true nor false", s)
}

// parseSort reads a key, turned round by a minus before it. Whether it is a key is for the fleet to say.
func parseSort(s string) (key fleet.SortKey, descending bool) {
	s, descending = strings.CutPrefix(s, "-")
	return fleet.SortKey(s), descending
}

func parseLimit(s string) (int, error) {
	if s == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPage {
		return 0, fmt.Errorf("%.64q is not a number from 1 to %d", s, maxPage)
	}
	return n, nil
}
