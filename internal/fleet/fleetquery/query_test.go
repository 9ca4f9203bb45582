// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for text, canonical := range map[string]string{
		"":                                    "",
		"  \t ":                               "",
		"two words":                           "two words",
		`"connection refused"`:                `"connection refused"`,
		`"quoted"`:                            "quoted",
		`-word`:                               "-word",
		`-"-word"`:                            `-"-word"`,
		`"-"`:                                 `"-"`,
		`a*b`:                                 "a*b",
		`"a:b"`:                               `"a:b"`,
		"status:failing":                      "status:unhealthy",
		"condition:Unhealthy,GONE":            "status:unhealthy,gone",
		"status:StatusPermanentError":         "status:StatusPermanentError",
		"status:*error":                       "status:*error",
		`status:"on fire"`:                    `status:"on fire"`,
		"component:exporter:otlp*":            "component:exporter:otlp*",
		"exporter:otlp,kafka":                 "component:exporter:otlp,exporter:kafka",
		"component:Exporter:otlp":             "component:exporter:otlp",
		`component:"my:part"`:                 `component:"my:part"`,
		`error:"connection refused"`:          `error:"connection refused"`,
		`error:a,"b,c"`:                       `error:a,"b,c"`,
		`error:"*"`:                           `error:"*"`,
		`error:*`:                             `error:*`,
		`error:"<b>"`:                         `error:"<b>"`,
		"version:<0.155":                      "version:<0.155",
		`version:>="0.155"`:                   "version:>=0.155",
		"version:V0.155.0,0.154.*":            "version:v0.155.0,0.154.*",
		"since:>1h":                           "since:>1h",
		"since:1H30M":                         "since:<1h30m",
		"since:<2026-03-04":                   "since:<2026-03-04T00:00:00Z",
		"heard:>=2026-03-04T05:06:07+01:00":   "heard:>=2026-03-04T04:06:07Z",
		"attr.k8s.cluster.name:prod":          "attr.k8s.cluster.name:prod",
		"k8s.cluster.name:prod":               "attr.k8s.cluster.name:prod",
		`attr."a key":v`:                      `attr."a key":v`,
		"-liveness:goodbye":                   "-liveness:goodbye",
		"config:3FA9*":                        "config:3fa9",
		"-config:*":                           "-config:*",
		"service:otelcol":                     "name:otelcol",
		"LIVENESS:lost":                       "liveness:lost",
		`host:"a\"b\\c"`:                      `host:"a\"b\\c"`,
		"status:failing exporter:otlp -x y z": "status:unhealthy component:exporter:otlp -x y z",
	} {
		q, err := Parse(text)
		if assert.NoError(t, err, text) {
			assert.Equal(t, canonical, q.String(), text)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"status:faling": `"faling" at character 8: is no status; did you mean failing? it is one of failing, unhealthy, ` +
			`gone, unknown, starting, stopping, healthy; an agent's own word goes in quotes`,
		"a statsu:x": `"statsu" at character 3: is no facet; did you mean status? to look for a text with a colon, ` +
			`put it in quotes`,
		"http://x":                          `"http" at character 1: is no facet; there are status,`,
		":x":                                `"" at character 1: is no facet; to look for a text with a colon`,
		"é error:":                          `"error:" at character 3: has no value; write error:* for any`,
		"attr.a:":                           `"attr.a:" at character 1: has no value; write attr.a:* for any`,
		"host:a,":                           `"host:a," at character 1: has no value`,
		`host:""`:                           `has no value`,
		`host:"a`:                           `"\"a" at character 6: the quotes are not closed; put a " at the end`,
		`host:"a"b`:                         `at character 6: something follows the quotes; put a comma or a space there`,
		`"a"b`:                              `something follows the quotes; put a space there`,
		`""`:                                `nothing is between the quotes`,
		"-":                                 `a minus with nothing behind it; write -word, or "-" for the minus itself`,
		"attr:x":                            `an attribute needs a key; write attr.KEY:value, such as attr.k8s.cluster.name:prod`,
		`attr."":x`:                         `no attribute and value`,
		"liveness:dead":                     `"dead" at character 10: is no liveness; it is one of connected, lost, silent, goodbye, unknown`,
		"healthy:yes":                       `is no healthy; it is one of true, false`,
		"config:xyz":                        `"xyz" at character 8: is no beginning of an id; an id is written in hexadecimal digits`,
		"since:>soon":                       `">soon" at character 7: is no age; write a duration such as >1h`,
		"since:1":                           `is no age`,
		"since:>999999w":                    `is no age`,
		"since:2026-03-04":                  `says neither before nor after`,
		"host:<a":                           `can't be compared by size; only version, since, heard, flaps and runs can`,
		"version:<abc":                      `is no version; compare with numbers, such as version:<0.155`,
		"component:exporer:otlp":            `has no kind of component before its colon; did you mean exporter?`,
		"component:exporter:":               `names no component; write exporter:* for any`,
		strings.Repeat("x ", MaxTerms+1):    `is one term too many; 64 are allowed`,
		"host:" + strings.Repeat("x,", 300): `is one value too many; 256 are allowed`,
		strings.Repeat("x", MaxBytes+1):     `the query has 4097 bytes; 4096 are allowed`,
	} {
		_, err := Parse(text)
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), want, text)
			assert.Less(t, len(err.Error()), 600)
		}
	}
}

func TestMatch(t *testing.T) {
	for query, values := range map[string]struct{ yes, no []string }{
		"component:exporter:otlp":  {[]string{"exporter:otlp", "exporter:OTLP/2"}, []string{"exporter:otlphttp", "receiver:otlp", "otlp"}},
		"component:exporter:otlp*": {[]string{"exporter:otlp", "exporter:otlphttp/x"}, []string{"receiver:otlp"}},
		"component:otlp":           {[]string{"exporter:otlp", "receiver:otlp/2", "otlp"}, []string{"exporter:otlphttp"}},
		"component:otlp/2":         {[]string{"exporter:otlp/2"}, []string{"exporter:otlp", "exporter:otlp/22"}},
		"exporter:*":               {[]string{"exporter:x"}, []string{"receiver:x"}},
		"component:*":              {[]string{"exporter:x", ""}, nil},
		`component:"a:b"`:          {[]string{"a:b", "A:B"}, []string{"a", "b"}},
		"pipeline:traces":          {[]string{"traces", "traces/2"}, []string{"traces2", "metrics"}},
		"version:0.155":            {[]string{"0.155", "v0.155.0", "0.155.0-rc1"}, []string{"0.1550", "0.15", "0.155-rc1"}},
		"version:<0.155":           {[]string{"0.99.1", "0.155.0-rc1", "v0.154.9"}, []string{"0.155", "0.155.0", "1.0", ""}},
		"version:>=0.155":          {[]string{"0.155.0", "0.155.1", "v1"}, []string{"0.154.9", "0.155.0-rc1"}},
		"version:0.15*":            {[]string{"0.155.0"}, []string{"0.99"}},
		"version:0.1,>1":           {[]string{"0.1.2", "1.1"}, []string{"0.2"}},
		"error:REFUSED":            {[]string{"connection refused"}, []string{"", "x"}},
		"error:conn*refused":       {[]string{"dial: connection refused!"}, []string{"refused conn"}},
		`error:"*"`:                {[]string{"a*b"}, []string{"ab"}},
		"host:web-*,DB-1":          {[]string{"WEB-7", "db-1"}, []string{"db-2"}},
		"attr.x:a,b,c*":            {[]string{"A", "b", "cc"}, []string{"d"}},
		"config:3fa9":              {[]string{"3fa9bb"}, []string{"13fa9"}},
		"status:failing":           {[]string{"unhealthy"}, []string{"healthy"}},
		"status:Status*Error":      {[]string{"StatusFatalError"}, []string{"StatusOK"}},
		"host:a*b*c":               {[]string{"abc", "aXbYc", "a*b*c"}, []string{"ab", "acb"}},
	} {
		q, err := Parse(query)
		require.NoError(t, err, query)
		match := q.Terms[0].Match()
		for _, v := range values.yes {
			assert.True(t, match(v), "%s %q", query, v)
		}
		for _, v := range values.no {
			assert.False(t, match(v), "%s %q", query, v)
		}
	}
}

func TestMatchTime(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for query, ages := range map[string]struct{ yes, no []time.Duration }{
		"since:>1h":               {[]time.Duration{2 * time.Hour}, []time.Duration{time.Hour, time.Minute}},
		"since:>=1h":              {[]time.Duration{time.Hour}, []time.Duration{time.Minute}},
		"since:<1h":               {[]time.Duration{time.Minute, -time.Hour}, []time.Duration{time.Hour}},
		"since:<2026-03-04":       {[]time.Duration{13 * time.Hour}, []time.Duration{12 * time.Hour, time.Hour}},
		"since:>2026-03-04T11:00": {[]time.Duration{time.Minute}, []time.Duration{time.Hour, 2 * time.Hour}},
		"since:<1m,>1d":           {[]time.Duration{time.Second, 48 * time.Hour}, []time.Duration{time.Hour}},
	} {
		q, err := Parse(query)
		require.NoError(t, err, query)
		match := q.Terms[0].MatchTime(now)
		for _, age := range ages.yes {
			assert.True(t, match(now.Add(-age).UnixNano()), "%s %s", query, age)
		}
		for _, age := range ages.no {
			assert.False(t, match(now.Add(-age).UnixNano()), "%s %s", query, age)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{
		"", "dev", "0.9", "0.99.0", "0.100", "0.155.0-dev", "0.155.0-rc.2", "0.155.0-rc.10", "0.155.0", "0.155.1", "1.0.0-rc1",
		"v1", "1.0.1", "1.2.3.4", "2024.1",
	}
	for i := range ascending {
		for j := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			assert.Equal(t, want, CompareVersions(ascending[i], ascending[j]), "%q %q", ascending[i], ascending[j])
		}
	}
	assert.Zero(t, CompareVersions("v1.0.0+build", "1"))
}

type fakeSource struct{ t *testing.T }

func (fakeSource) Values(rest Query, f Facet, key, part string, _ int) []Count {
	if f == FacetHost {
		return []Count{{"web 1", 3}, {"web-2", len(rest.Terms)}}
	}
	if f == FacetComponent {
		return []Count{{"exporter:otlp", 2}}
	}
	if f == FacetAttribute {
		return []Count{{key + "=" + part, 1}}
	}
	return nil
}

func (fakeSource) Keys(part string, _ int) []Count {
	if key := "k8s.cluster.name"; strings.Contains(key, part) {
		return []Count{{"k8s.cluster.name", 9}}
	}
	return nil
}

func TestComplete(t *testing.T) {
	for typed, want := range map[string][]string{ // | is the cursor
		"sta|":                 {"status:"},
		"x -LIV|":              {"x -liveness:"},
		"expo|":                {"exporter:"},
		"clus|":                {"attr.k8s.cluster.name:"},
		"attr.k8s|":            {"attr.k8s.cluster.name:"},
		"status:fai|":          {"status:failing"},
		"liveness:lost,si|":    {"liveness:lost,silent"},
		"host:we| status:gone": {`host:"web 1" status:gone`, "host:web-2 status:gone"},
		"exporter:ot|":         {"exporter:otlp"},
		"component:ot|":        {"component:exporter:otlp"},
		"since:|":              {"since:<10m", "since:<1h", "since:>1h", "since:<1d", "since:>1d", "since:>1w"},
		`"in quotes|`:          nil,
		"nofacet:x|":           nil,
		"attr.k:v|":            {"attr.k:k=v"},
	} {
		text, after, _ := strings.Cut(typed, "|")
		var got []string
		for _, s := range Complete(text+after, len(text), fakeSource{t}) {
			got = append(got, (text + after)[:s.Start]+s.Text+(text + after)[s.End:])
		}
		assert.Equal(t, want, got, typed)
	}
	all := Complete("", 0, fakeSource{t})
	assert.Greater(t, len(all), len(Facets())-2)
	hosts := Complete("status:gone host:", 17, fakeSource{t})
	require.Len(t, hosts, 2)
	assert.Equal(t, 1, hosts[1].Count, "counted among what the rest of the query finds")
}

func TestWithout(t *testing.T) {
	q, err := Parse("a host:x -host:y attr.k:1 attr.l:2")
	require.NoError(t, err)
	assert.Equal(t, "a attr.k:1 attr.l:2", q.Without(FacetHost, "").String())
	assert.Equal(t, "a host:x -host:y attr.l:2", q.Without(FacetAttribute, "k").String())
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string][]int{
		"flaps:3": {3}, "flaps:>3": {4, 5}, "flaps:<=1": {0, 1}, "flaps:0,>=5": {0, 5}, "flaps:<1,\"4\"": {0, 4}, "flapping:007": {},
	} {
		q, err := Parse(text)
		require.NoError(t, err, text)
		got := []int{}
		for n := range 6 {
			if q.Terms[0].MatchNumber()(n) {
				got = append(got, n)
			}
		}
		assert.Equal(t, want, got, text)
		again, err := Parse(q.String())
		require.NoError(t, err, text)
		assert.Equal(t, q, again)
	}
	for _, text := range []string{"flaps:x", "flaps:-1", "flaps:*", "runs:1.5", `runs:"<1"`, "runs:99999999999"} {
		_, err := Parse(text)
		assert.ErrorContains(t, err, "is no number; write a number such as 3", text)
	}
	suggested := Complete("runs:", 5, fakeSource{t})
	require.Len(t, suggested, 2)
	assert.Equal(t, ">1", suggested[0].Text)
}

func TestEveryExampleIsAQuery(t *testing.T) {
	for _, d := range Facets() {
		q, err := Parse(d.Example)
		if assert.NoError(t, err, d.Example) && assert.Len(t, q.Terms, 1, d.Example) {
			assert.Equal(t, d.Facet, q.Terms[0].Facet)
		}
	}
}

func TestIsFindsTheValueItself(t *testing.T) {
	for _, d := range Facets() {
		if d.compare == compareAge || d.compare == comparePrefix || d.compare == compareConfig {
			continue // ids are hexadecimal
		}
		if d.compare == compareNumber {
			continue // see TestNumbers
		}
		for _, value := range []string{"otlp", "a*b", `q"x`, "a:b", "exporter:otlp/2", "<1", "StatusOK", "on fire", "0.155.0", "ab12"} {
			if d.compare == compareWord {
				value = d.Words[0]
			}
			term := Is(d.Facet, "k", value)
			assert.True(t, term.Match()(value), term.String())
			q, err := Parse(term.String())
			if d.Facet != FacetAttribute {
				term.Key = ""
			}
			if assert.NoError(t, err, "%s %q", d.Facet, value) {
				assert.Equal(t, []Term{term}, q.Terms)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, d := range Facets() {
		f.Add(d.Example + " -" + d.Example)
	}
	f.Add(`a "b c" -"d" attr."e f":"g,h",i* exporter:x,"y" version:>=1.0-rc1`)
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			_ = err.Error()
			return
		}
		canonical := q.String()
		if len(canonical) > MaxBytes {
			return
		}
		again, err := Parse(canonical)
		require.NoError(t, err, canonical)
		require.Equal(t, q, again, canonical)
		for _, term := range q.Terms {
			switch term.Facet.comparison() {
			case compareAge:
				term.MatchTime(now)(0)
			case compareNumber:
				term.MatchNumber()(1)
			default:
				term.Match()(text)
			}
		}
	})
}

func FuzzComplete(f *testing.F) {
	f.Add("status:fai host:x", 10)
	f.Add(`-attr."x`, 3)
	f.Fuzz(func(t *testing.T, text string, cursor int) {
		for _, s := range Complete(text, cursor, fakeSource{t}) {
			require.True(t, 0 <= s.Start && s.Start <= s.End && s.End <= len(text), "%+v", s)
		}
	})
}
