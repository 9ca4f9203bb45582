// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"regexp"
	"strings"
)

// token is a piece of a line with the class that colours it.
type token struct{ Class, Text string }

// line of a config file.
type line []token

// maxLines is how many lines of a file a page shows. The rest is a click away.
const maxLines = 3000

// highlight cuts YAML into lines and lines into tokens. It reads each line for itself, so it can colour a line of a
// block of text as if it were YAML, which does no harm.
func highlight(body string) (lines []line, more int) {
	rows := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if len(rows) > maxLines {
		more = len(rows) - maxLines
		rows = rows[:maxLines]
	}
	for _, row := range rows {
		lines = append(lines, highlightLine(clean(strings.TrimSuffix(row, "\r"))))
	}
	return lines, more
}

// keyed matches the lead (indent and dashes), the key and the colon of a mapping.
var keyed = regexp.MustCompile(`^(\s*(?:- +)*)("[^"]*"|'[^']*'|[^\s"'#\[\]{},:-][^:#]*|-[^\s:#][^:#]*)(:)(\s.*|$)`)

func highlightLine(s string) line {
	if m := keyed.FindStringSubmatch(s); m != nil {
		return append(indent(m[1], token{"k", m[2]}, token{"p", m[3]}), value(m[4])...)
	}
	rest := strings.TrimLeft(s, " \t")
	lead := s[:len(s)-len(rest)]
	for strings.HasPrefix(rest, "- ") {
		lead, rest = lead+"- ", rest[2:]
	}
	if rest == "-" {
		return line{{"", s}}
	}
	return indent(lead, value(rest)...)
}

// indent puts lead, if there is any, before the tokens.
func indent(lead string, rest ...token) line {
	if lead == "" {
		return rest
	}
	return append(line{{"", lead}}, rest...)
}

var (
	number  = regexp.MustCompile(`^[-+]?(\d[\d_]*)(\.\d+)?([eE][-+]?\d+)?$`)
	comment = regexp.MustCompile(`(^|\s)#.*$`)
)

// value colours what stands behind a key or a dash.
func value(s string) line {
	text, note := s, ""
	if at := comment.FindStringIndex(s); at != nil && !strings.ContainsAny(s[:at[0]], `"'`) {
		text, note = s[:at[0]], s[at[0]:]
	}
	bare := strings.TrimLeft(text, " \t")
	var out line
	for _, t := range []token{
		{"", text[:len(text)-len(bare)]}, {classOf(strings.TrimSpace(bare)), bare}, {"c", note},
	} {
		if t.Text != "" {
			out = append(out, t)
		}
	}
	return out
}

func classOf(v string) string {
	switch v {
	case "":
		return ""
	case "true", "false", "null", "~", "{}", "[]":
		return "n"
	}
	switch {
	case strings.Contains(v, "[REDACTED]"):
		return "r"
	case number.MatchString(v):
		return "n"
	default:
		return "s"
	}
}
