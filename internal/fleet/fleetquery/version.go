// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"strings"
)

// CompareVersions orders versions as people count: 0.99 before 0.155, and 1.0-rc1 before 1.0. What is no version
// comes first.
func CompareVersions(a, b string) int { return strings.Compare(VersionKey(a), VersionKey(b)) }

// maxVersionBytes is as much of a version as is looked at.
const maxVersionBytes = 128

// VersionKey is a text that sorts like the version.
func VersionKey(version string) string {
	s := strings.ToLower(version[:min(len(version), maxVersionBytes)])
	s = strings.TrimPrefix(s, "v")
	s, _, _ = strings.Cut(s, "+") // the build says nothing about the order
	numbers, pre, isPre := strings.Cut(s, "-")
	var b strings.Builder
	for part := range strings.SplitSeq(strings.TrimRight(trimZeroParts(numbers), "."), ".") {
		b.WriteString(partKey(part))
	}
	if isPre {
		b.WriteString("\x02")
		for part := range strings.SplitSeq(pre, ".") {
			b.WriteString(preKey(part))
		}
		return b.String()
	}
	b.WriteString("\x03")
	return b.String()
}

// trimZeroParts makes 1.0.0 and 1 one version.
func trimZeroParts(s string) string {
	for strings.HasSuffix(s, ".0") {
		s = s[:len(s)-2]
	}
	return s
}

// partKey sorts numbers by size: their length comes first. A number sorts after a text.
func partKey(part string) string {
	if part == "" || strings.Trim(part, "0123456789") != "" {
		return "\x04" + part + "\x01"
	}
	part = strings.TrimLeft(part, "0")
	return "\x05" + string(rune('A'+len(part))) + part
}

// preKey sorts "rc2" before "rc10".
func preKey(part string) string {
	word := strings.TrimRight(part, "0123456789")
	return word + partKey(part[len(word):])
}

func checkVersion(v *Value) (reason, hint string) {
	v.Text = strings.ToLower(v.Text)
	if v.Op == "" {
		return "", ""
	}
	first := strings.TrimPrefix(v.Text, "v")
	if first == "" || strings.Trim(first[:1], "0123456789") != "" || strings.Contains(first, "*") {
		return "is no version", "compare with numbers, such as version:<0.155"
	}
	return "", ""
}

func (v Value) matchVersion() func(string) bool {
	want := strings.TrimPrefix(strings.ToLower(v.Text), "v")
	if v.Op == "" {
		return func(s string) bool {
			s = strings.TrimPrefix(strings.ToLower(s), "v")
			if v.hasGlob() {
				return glob(want, s)
			}
			return s == want || (strings.HasPrefix(s, want) && (s[len(want)] == '.' || s[len(want)] == '+'))
		}
	}
	key := VersionKey(want)
	return func(s string) bool {
		if s == "" {
			return false
		}
		return holds(v.Op, strings.Compare(VersionKey(s), key))
	}
}

// holds reports whether a comparison that came out as c is what op asks for.
func holds(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}
