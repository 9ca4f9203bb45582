// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/csv"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// csvColumn is a head, and what is under it.
type csvColumn[T any] struct {
	name string
	of   func(T) string
}

// wantsCSV reads the parameter format, and where it is not there the header Accept.
func wantsCSV(r *http.Request, values url.Values) (bool, error) {
	switch format := values.Get("format"); format {
	case "csv":
		return true, nil
	case "json":
		return false, nil
	case "":
	default:
		return false, fmt.Errorf("format: %.64q is neither json nor csv", format)
	}
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	media, _, err := mime.ParseMediaType(first)
	return err == nil && media == "text/csv", nil
}

// writeCSV sends a list as a file for spreadsheets. What such a program would take for a formula is made text: agents
// say what they like. unread is how many configs were not read when it was made.
func writeCSV[T any](w http.ResponseWriter, name string, columns []csvColumn[T], list []T, unread int) {
	if unread > 0 {
		w.Header().Set("Fleetview-Unread-Configs", strconv.Itoa(unread))
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
	out := csv.NewWriter(w)
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = c.name
	}
	_ = out.Write(cells) // the client is gone if this fails
	for _, v := range list {
		for i, c := range columns {
			cells[i] = cell(c.of(v))
		}
		if out.Write(cells) != nil {
			return
		}
	}
	out.Flush()
}

const (
	// separators are what a spreadsheet may take for the end of a cell although it is none: which of them it does
	// depends on its language. What comes after a comma is in quotes, but those mean nothing in the middle of what it
	// takes for a cell.
	separators = ";\t\r\n"
	// formulas are what begins a formula. Blanks and quotes may stand before it.
	formulas = "=+-@|%＝＋－＠"
)

// cell is a text that no spreadsheet calculates with, or with what it takes for a cell in it (OWASP, CSV Injection). An
// apostrophe makes a text of what would be a formula, and changes nothing else.
func cell(s string) string {
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	if s != "" && strings.ContainsRune("\t\r\n", rune(s[0])) {
		s = "'" + s
	}
	var out []byte // s[:done], made safe
	done := 0
	for begin := 0; ; {
		first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s[begin:], ` "`))
		if strings.ContainsRune(formulas, first) {
			out = append(append(out, s[done:begin]...), '\'')
			done = begin
		}
		end := strings.IndexAny(s[begin:], separators)
		if end < 0 {
			return string(append(out, s[done:]...))
		}
		begin += end + 1
	}
}

func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// agentColumns are those of the list, as of now.
func agentColumns(now time.Time) []csvColumn[*fleet.Agent] {
	return append(slices.Clone(timelessColumns), csvColumn[*fleet.Agent]{
		"flaps", func(a *fleet.Agent) string { return strconv.Itoa(a.Flaps(now)) },
	})
}

var timelessColumns = []csvColumn[*fleet.Agent]{
	{"instance_uid", func(a *fleet.Agent) string { return a.UID.String() }},
	{"service_name", (*fleet.Agent).ServiceName},
	{"service_version", (*fleet.Agent).ServiceVersion},
	{"host_name", (*fleet.Agent).HostName},
	{"condition", func(a *fleet.Agent) string { return string(a.Condition()) }},
	{"condition_since", func(a *fleet.Agent) string { return csvTime(a.Since()) }},
	{"liveness", func(a *fleet.Agent) string { return string(a.Liveness) }},
	{"liveness_since", func(a *fleet.Agent) string { return csvTime(a.LivenessSince) }},
	{"problems", func(a *fleet.Agent) string { return fmt.Sprint(len(a.Problems)) }},
	{"first_problem", func(a *fleet.Agent) string {
		if len(a.Problems) == 0 {
			return ""
		}
		return strings.Join(a.Problems[0].Path, " ")
	}},
	{"error", lastError},
	{"config_hash", func(a *fleet.Agent) string {
		if a.Config == nil {
			return ""
		}
		return a.Config.Hash()
	}},
	{"transport", func(a *fleet.Agent) string { return a.Transport }},
	{"remote_address", func(a *fleet.Agent) string { return a.RemoteAddr }},
	{"first_seen", func(a *fleet.Agent) string { return csvTime(a.FirstSeen) }},
	{"last_seen", func(a *fleet.Agent) string { return csvTime(a.LastSeen) }},
	{"logical", func(a *fleet.Agent) string { return a.Logical }},
	{"runs", func(a *fleet.Agent) string { return strconv.Itoa(a.Runs) }},
}
