// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/itchyny/timefmt-go"
	"github.com/stretchr/testify/require"
)

func mustFormat(t *testing.T, layout string) Format {
	t.Helper()
	f, err := ParseFormat(layout)
	require.NoError(t, err)
	return f
}

func keys(r Range) []string {
	var all []string
	for p := range r.Partitions() {
		all = append(all, p.Key)
	}
	return all
}

// oracle asks for the text at every second of the range, which knows neither steps nor zones.
func oracle(layout string, start, end time.Time, in *time.Location) (first []string) {
	seen := map[string]bool{}
	for t := start; t.Before(end); t = t.Truncate(time.Second).Add(time.Second) {
		key := timefmt.Format(t.In(in), layout)
		if !seen[key] {
			seen[key] = true
			first = append(first, key)
		}
	}
	return first
}

var layouts = []string{
	"year=%Y/month=%m/day=%d/hour=%H/minute=%M", "year=%Y/month=%m/day=%d/hour=%H", "%Y/%m/%d", "%Y-%m", "%Y", "", "all",
	"%F/%H%M", "%FT%T", "%s", "%d/%m/%Y/%H", "%H/%M", "%M", "%I", "%I%p", "%Y/%j/%k", "%G-W%V", "%-d-%-m-%Y/%-H", "%Y/%m/%d/%H%z", "%Z/%F/%R",
	"100%%/%Y%m%d%H%M", "%a", "%y%m%d%l%M%P",
}

// Zones with their changes: none; an hour in spring and autumn; half an hour; three quarters of an
// hour beside the hour; a day that was left out; a change at a minute past midnight.
var zones = []struct {
	name    string
	changes []string
}{
	{"UTC", []string{"2024-02-29T00:00:00Z"}},
	{"Europe/Berlin", []string{"2024-03-31T01:00:00Z", "2024-10-27T01:00:00Z"}},
	{"America/New_York", []string{"2024-03-10T07:00:00Z", "2024-11-03T06:00:00Z"}},
	{"Australia/Lord_Howe", []string{"2024-04-06T15:00:00Z", "2024-10-05T15:30:00Z"}},
	{"Asia/Kathmandu", []string{"2024-01-01T00:00:00Z", "1985-12-31T18:30:00Z"}},
	{"Pacific/Apia", []string{"2011-12-30T10:00:00Z"}},
	{"America/St_Johns", []string{"2006-10-29T02:31:00Z", "2006-04-02T03:31:00Z"}},
	{"Pacific/Chatham", []string{"2024-04-06T14:00:00Z"}},
}

// The plan is exactly the set of texts of all instants of the range, in the order in which each is
// first met; whatever the format, the zone, its changes, and the ends of the range.
func TestPartitionsAgainstAnOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, zone := range zones {
		in, err := time.LoadLocation(zone.name)
		require.NoError(t, err)
		for _, change := range zone.changes {
			around, err := time.Parse(time.RFC3339, change)
			require.NoError(t, err)
			for _, layout := range layouts {
				f := mustFormat(t, layout)
				for range 2 {
					start := around.Add(-time.Duration(random.Int64N(int64(3 * time.Hour))))
					length := time.Duration(random.Int64N(int64(4 * time.Hour)))
					switch random.IntN(3) {
					case 0:
						start, length = start.Truncate(time.Hour), length.Truncate(time.Hour)
					case 1:
						start, length = start.Truncate(time.Minute), length.Truncate(time.Second)
					}
					r := Range{Start: start, End: start.Add(length), Format: f, Location: in}
					require.Equal(t, oracle(layout, r.Start, r.End, in), keys(r),
						"%s in %s from %s to %s", layout, zone.name, r.Start, r.End)
				}
			}
		}
	}
}

// The same over long ranges, where the oracle asks once a minute.
func TestPartitionsOverMonths(t *testing.T) {
	in, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, month := range []time.Month{time.March, time.October} {
		start := time.Date(2024, month, 1, 0, 0, 0, 0, time.UTC)
		end := start.AddDate(0, 2, 0)
		for _, layout := range []string{minute, "%d/%m/%Y", "%H/%d", "%-m%-d"} {
			seen := map[string]bool{}
			var want []string
			for at := start; at.Before(end); at = at.Add(time.Minute) {
				if key := timefmt.Format(at.In(in), layout); !seen[key] {
					seen[key] = true
					want = append(want, key)
				}
			}
			require.Equal(t, want, keys(Range{Start: start, End: end, Format: mustFormat(t, layout), Location: in}), layout)
		}
	}
}

func TestPartitionsAreContiguous(t *testing.T) {
	f := mustFormat(t, "%Y/%m/%d/%H")
	start := time.Date(2024, 1, 31, 15, 30, 0, 0, time.UTC)
	r := Range{Start: start, End: start.Add(105 * time.Minute), Format: f, Location: time.UTC}
	var got []Partition
	for p := range r.Partitions() {
		got = append(got, p)
	}
	require.Len(t, got, 3, "the tail is not lost")
	require.Equal(t, start, got[0].Time)
	require.Equal(t, start.Truncate(time.Hour).Add(time.Hour), got[0].End)
	require.Equal(t, got[0].End, got[1].Time)
	require.Equal(t, r.End, got[2].End)
}

func TestAnEmptyRangeHasNoPartition(t *testing.T) {
	now := time.Now()
	for _, end := range []time.Time{now, now.Add(-time.Hour)} {
		require.Empty(t, keys(Range{Start: now, End: end, Format: mustFormat(t, "%Y"), Location: time.UTC}))
	}
}

func TestParseFormat(t *testing.T) {
	for layout, want := range map[string]Step{
		"": StepNone, "a/b": StepNone, "%%Y": StepNone, "%Y": StepYear, "%b": StepMonth, "%F": StepDay, "%k": StepHour, "%R": StepMinute, "%c": StepSecond, "%-M": StepMinute, "%05Y": StepYear,
	} {
		require.Equal(t, want, mustFormat(t, layout).Step(), layout)
	}
	for layout, want := range map[string]error{"%Y/%": ErrNoFormat, "%Q": ErrNoFormat, "%f": ErrTooFine, "%-": ErrNoFormat} {
		_, err := ParseFormat(layout)
		require.ErrorIs(t, err, want, layout)
	}
	for _, dated := range []string{"%Y/%m/%d/%H/%M", "%F/%I%p", "%s", "%Y/%j"} {
		require.True(t, mustFormat(t, dated).Dated(), dated)
	}
	for _, undated := range []string{"", "%H", "%m/%d", "%F/%I", "%-Y%-m", "%Y/%d/%H"} {
		require.False(t, mustFormat(t, undated).Dated(), undated)
	}
}

// exporterKey is the key that the exporter would write: cleaned parts, and a file name of nine digits.
func exporterKey(prefix, partition, filePrefix, signal, suffix string) string {
	return path.Join(prefix, partition, filePrefix+signal+"_123456789"+suffix)
}

func TestWhatTheExporterWritesIsListed(t *testing.T) {
	at := time.Date(2024, 1, 31, 15, 4, 0, 0, time.UTC)
	for _, prefix := range []string{"", "logs", "logs/", "/", "//", "/logs", "//raw//", "a/b", "a//b/", "./a", "a/../b"} {
		for _, layout := range []string{minute, "%Y/%m/%d/", "/%Y", "%Y//%m", ""} {
			for _, filePrefix := range []string{"", "app-", "sub/app-", "sub//"} {
				for _, signal := range []string{"traces", "metrics", "logs"} {
					partition := mustFormat(t, layout).At(at)
					for _, suffix := range []string{".json", ".binpb", ".json.gz", ".binpb.zst"} {
						key := exporterKey(prefix, partition, filePrefix, signal, suffix)
						named := Layout{Prefix: prefix, FilePrefix: filePrefix, Signal: signal}
						require.True(t, strings.HasPrefix(key, named.KeyPrefix(Clean, partition)), "%q %q", key, named.KeyPrefix(Clean, partition))
						unnamed := Layout{Prefix: prefix, FilePrefix: filePrefix}
						require.True(t, strings.HasPrefix(key, unnamed.KeyPrefix(Clean, partition)), "%q %q", key, unnamed.KeyPrefix(Clean, partition))
					}
				}
			}
		}
	}
}

const minute = "year=%Y/month=%m/day=%d/hour=%H/minute=%M"

// The literal form is contrib's: reference tables of its README and tests.
func TestLiteralForm(t *testing.T) {
	for prefix, want := range map[string]string{
		"": "p/logs_", "raw": "raw/p/logs_", "raw/": "raw//p/logs_", "//raw//": "//raw///p/logs_", "/": "/p/logs_", "//": "//p/logs_",
	} {
		require.Equal(t, want, Layout{Prefix: prefix, Signal: "logs"}.KeyPrefix(Literal, "p"), prefix)
	}
	require.Equal(t, []Form{Clean}, Layout{Prefix: "raw", Signal: "logs"}.Forms("p"))
	require.Equal(t, []Form{Clean, Literal}, Layout{Prefix: "raw/", Signal: "logs"}.Forms("p"))
	require.Equal(t, []Form{Clean}, Layout{Prefix: "/", Signal: "logs"}.Forms("p"))
}

func scans(p Plan) []Scan { return slices.Collect(p.Scans(Clean, time.Time{})) }

func TestOneScanWhereKeysGrowWithTime(t *testing.T) {
	start := time.Date(2023, 12, 31, 23, 0, 0, 0, time.UTC)
	for _, layout := range []string{minute, "%Y/%m/%d", "%s", "x"} {
		p := Plan{Range: Range{Start: start, End: start.Add(2 * time.Hour), Format: mustFormat(t, layout), Location: time.UTC}, Layout: Layout{Prefix: "raw", Signal: "logs"}}
		got := scans(p)
		require.Len(t, got, 1, layout)
		require.True(t, strings.HasPrefix(got[0].Root, "raw/"), got[0].Root)
	}
	day := Plan{Range: Range{Start: start.Add(time.Hour), End: start.Add(25 * time.Hour), Format: mustFormat(t, minute), Location: time.UTC}, Layout: Layout{Signal: "logs"}}
	require.Equal(t, "year=2024/month=01/day=01/", scans(day)[0].Root)
}

// Every target is in exactly one scan, in order, whatever the format.
func TestScansCoverThePlan(t *testing.T) {
	start := time.Date(2024, 1, 30, 22, 17, 0, 0, time.UTC)
	for _, layout := range layouts {
		p := Plan{Range: Range{Start: start, End: start.Add(50 * time.Hour), Format: mustFormat(t, layout), Location: time.UTC}, Layout: Layout{Signal: "logs"}}
		if p.Range.Format.Step() == StepSecond {
			p.Range.End = start.Add(time.Hour)
		}
		var got []string
		for _, scan := range scans(p) {
			last := ""
			for target := range scan.Targets {
				require.True(t, strings.HasPrefix(target.Prefix, scan.Root))
				require.Greater(t, target.Prefix, last)
				last = target.Prefix
				got = append(got, target.Key)
			}
			require.Equal(t, last, scan.Last)
		}
		require.Equal(t, keys(p.Range), got, layout)
	}
}

func TestBefore(t *testing.T) {
	for _, prefix := range []string{"a/b_", "a/", "ü", "a\x00", "\x01"} {
		before := Before(prefix)
		require.Less(t, before, prefix)
		require.Greater(t, prefix+"x", before)
	}
	require.Empty(t, Before(""))
}

func TestFilter(t *testing.T) {
	for glob, cases := range map[string]map[string]bool{
		"**.json":       {"a/b/c.json": true, "c.json": true, "c.json.gz": false},
		"*.json":        {"c.json": true, "a/c.json": false},
		"a/?/[b-d]x":    {"a/1/bx": true, "a/1/ax": false, "a/11/bx": false},
		"a/[!b]":        {"a/c": true, "a/b": false},
		"{a,b/**}/logs": {"a/logs": true, "b/1/2/logs": true, "c/logs": false},
		`a\*b`:          {"a*b": true, "axb": false},
		"ä.(x)+":        {"ä.(x)+": true, "äa(x)+": false},
	} {
		f, err := NewFilter([]string{glob}, nil)
		require.NoError(t, err)
		for _, key := range slices.Sorted(maps.Keys(cases)) {
			require.Equal(t, cases[key], f.Takes(key), "%s %s", glob, key)
		}
	}
	f, err := NewFilter(nil, []string{"**/tmp/**"})
	require.NoError(t, err)
	require.True(t, f.Takes("a/b"))
	require.False(t, f.Takes("a/tmp/b"))
	for _, bad := range []string{"[", "{a", "a[]"} {
		_, err := NewFilter([]string{bad}, nil)
		require.Error(t, err, bad)
	}
}

// What is settled never comes again: no text of a later instant is one of an earlier.
func TestSettled(t *testing.T) {
	for _, zone := range zones {
		in, err := time.LoadLocation(zone.name)
		require.NoError(t, err)
		for _, change := range zone.changes {
			around, err := time.Parse(time.RFC3339, change)
			require.NoError(t, err)
			for _, layout := range []string{minute, "%F/%H", "%F", "%Y-%m"} {
				f := mustFormat(t, layout)
				for minutes := -90; minutes <= 90; minutes += 7 {
					now := around.Add(time.Duration(minutes) * time.Minute)
					end := f.Settled(now, in)
					require.False(t, end.After(now))
					before := oracleSet(layout, end.Add(-3*time.Hour), end, in)
					for key := range oracleSet(layout, end, end.Add(3*time.Hour), in) {
						require.NotContains(t, before, key, "%s in %s at %s", layout, zone.name, now)
					}
				}
			}
		}
	}
}

func oracleSet(layout string, start, end time.Time, in *time.Location) map[string]struct{} {
	set := map[string]struct{}{}
	for at := start; at.Before(end); at = at.Add(time.Minute) {
		set[timefmt.Format(at.In(in), layout)] = struct{}{}
	}
	return set
}
