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
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// Limits of one page of the list.
const (
	defaultPage = 100
	maxPage     = 1000
	maxTop      = 1000
	maxFacets   = 30
	// maxRows bounds a list as CSV, which has no pages.
	maxRows = 200_000
)

// listed is the answer to GET /api/v1/agents.
type listed struct {
	Agents        []summary               `json:"agents"`
	Query         string                  `json:"query"`
	Total         int                     `json:"total"`
	Known         int                     `json:"known"`
	Conditions    map[fleet.Condition]int `json:"conditions"`
	Facets        []facet                 `json:"facets"`
	Groups        *groups                 `json:"groups"`
	NextCursor    string                  `json:"next_cursor,omitempty"`
	UnreadConfigs int                     `json:"unread_configs"`
	Position      string                  `json:"position"`
}

func (a *API) listAgents(w http.ResponseWriter, r *http.Request) {
	values, err := parameters(r)
	if err != nil {
		badRequest(w, err)
		return
	}
	list, err := ParseList(values)
	if err != nil {
		badRequest(w, err)
		return
	}
	asCSV, err := wantsCSV(r, values)
	if err != nil {
		badRequest(w, err)
		return
	}
	if asCSV && values.Get("limit") == "" {
		list.Limit = maxRows
	}
	list.Now = a.now()
	leave, ok := a.work.enter(w, r)
	if !ok {
		return
	}
	defer leave()
	page, err := a.index.Search(list.Request)
	if err != nil {
		badRequest(w, fmt.Errorf("%s: %w", parameterOf(err), err))
		return
	}
	if asCSV {
		writeCSV(w, "agents", agentColumns(list.Now), page.Agents, page.Unread)
		return
	}
	answer(w, http.StatusOK, listed{
		Agents:        summaries(page.Agents, list.Now),
		Query:         list.Query.String(),
		Total:         page.Total,
		Known:         page.Known,
		Conditions:    page.Conditions,
		Facets:        newFacets(page.Facets),
		Groups:        newGroups(page.Groups),
		NextCursor:    page.Next,
		UnreadConfigs: page.Unread,
		Position:      page.Position.String(),
	})
}

func parameterOf(err error) string {
	if errors.Is(err, fleetsearch.ErrBadCursor) {
		return "cursor"
	}
	return "sort"
}

// List is what the parameters of a list ask for. Request has all of it; the rest is how it was asked.
type List struct {
	fleetsearch.Request

	Text       string
	Conditions []fleet.Condition
	Liveness   []fleet.Liveness
	Healthy    *bool
}

// ParseList reads the parameters of the list: q, liveness, condition, healthy, sort, limit, cursor, facets, group_by and
// top; format is not looked at. An unknown parameter, like a wrong value, is an error that names it.
func ParseList(values url.Values) (List, error) {
	l := List{Request: fleetsearch.Request{Limit: defaultPage}}
	for name, vs := range values {
		if err := setParameter(&l, name, vs); err != nil {
			return List{}, fmt.Errorf("%.64s: %w", name, err)
		}
	}
	if len(l.Conditions) > 0 {
		l.Query.Terms = append(l.Query.Terms, anyOf(fleetquery.FacetStatus, l.Conditions))
	}
	if len(l.Liveness) > 0 {
		l.Query.Terms = append(l.Query.Terms, anyOf(fleetquery.FacetLiveness, l.Liveness))
	}
	if l.Healthy != nil {
		l.Query.Terms = append(l.Query.Terms, anyOf(fleetquery.FacetHealthy, []string{strconv.FormatBool(*l.Healthy)}))
	}
	return l, nil
}

// anyOf is the term of words that need no quotes.
func anyOf[T ~string](f fleetquery.Facet, words []T) fleetquery.Term {
	t := fleetquery.Term{Facet: f}
	for _, w := range words {
		t.Values = append(t.Values, fleetquery.Value{Text: string(w)})
	}
	return t
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

func setParameter(l *List, name string, values []string) (err error) {
	switch name {
	case "liveness":
		l.Liveness, err = parseWords(values, fleet.Livenesses())
		return err
	case "condition":
		l.Conditions, err = parseWords(values, fleet.Conditions())
		return err
	case "facets":
		l.Facets, err = parseSides(values)
		return err
	}
	value, err := only(values)
	if err != nil {
		return err
	}
	switch name {
	case "q":
		l.Text = value
		l.Query, err = fleetquery.Parse(value)
	case "healthy":
		l.Healthy, err = parseBool(value)
	case "sort":
		l.Sort, l.Descending = parseSort(value)
	case "limit":
		l.Limit, err = parseNumber(value, defaultPage, maxPage)
	case "cursor":
		l.After = value
	case "group_by":
		l.GroupBy, err = parseSide(value)
	case "top":
		l.Top, err = parseNumber(value, 0, maxTop)
	case "format": // see wantsCSV
	default:
		err = errUnknownParameter
	}
	return err
}

// parseSides reads names of facets, separated by commas or repeated.
func parseSides(values []string) (out []fleetsearch.Side, err error) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name == "" {
				continue
			}
			side, err := fleetsearch.ParseSide(name)
			if err != nil {
				return nil, err
			}
			if len(out) == maxFacets {
				return nil, fmt.Errorf("more than %d are asked for", maxFacets)
			}
			out = append(out, side)
		}
	}
	return out, nil
}

func parseSide(name string) (*fleetsearch.Side, error) {
	if name == "" {
		return nil, nil
	}
	side, err := fleetsearch.ParseSide(name)
	if err != nil {
		return nil, err
	}
	return &side, nil
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

// parseSort reads a key, turned round by a minus before it. Whether it is a key is for the index to say.
func parseSort(s string) (key fleetsearch.SortKey, descending bool) {
	s, descending = strings.CutPrefix(s, "-")
	return fleetsearch.SortKey(s), descending
}

func parseNumber(s string, def, most int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%.64q is not a number from 1 to %d", s, most)
	}
	return n, nil
}
