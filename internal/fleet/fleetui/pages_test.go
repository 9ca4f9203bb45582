// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

// newPlantedUI shows two hundred collectors with planted troubles.
func newPlantedUI(t *testing.T) *UI {
	t.Helper()
	f := fleet.New(fleet.Settings{SilentAfter: plantedfleet.SilentAfter})
	plantedfleet.Play(f, uiNow)
	u := New(f, Settings{Load: func() Load {
		return Load{
			Version: "1.2.3", Started: uiNow.Add(-time.Hour), Connections: 97, MaxConnections: 100, MaxAgents: 250,
			MaxMemory: 1 << 30, Streams: 2, MaxStreams: 256, SilentAfter: plantedfleet.SilentAfter,
			Traffic:  []Traffic{{Transport: "HTTP", Way: "received", Messages: 12345, Bytes: 67890}},
			Rejected: map[string]int64{"too_big": 3, "never": 0},
			Database: Database{
				Path: "/var/lib/fleet.db", Problem: "no room left: make room on the disk <now>", Since: uiNow.Add(-5 * time.Minute),
				Bytes: 3 << 20, Limit: 4 << 20, Lost: 12, Trimmed: 3456,
			},
		}
	}})
	u.now = func() time.Time { return uiNow }
	return u
}

// shown is a page that is as it should be.
func shown(t *testing.T, u *UI, target string) (page, html string) {
	t.Helper()
	w := get(u, target)
	require.Equal(t, http.StatusOK, w.Code, target)
	requireSafe(t, w)
	return text(w), strings.NewReplacer("&#43;", "+", "&amp;", "&").Replace(w.Body.String())
}

func TestTheOverviewAnswersWhatOneAsksFirst(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/")
	for _, want := range []string{
		"200 All 18 Unhealthy 12 Gone 3 No health 3 Starting 164 Healthy",
		"exporter:otlphttp Recoverable error failed to make an HTTP request: Post &#34;…&#34;: dial tcp &lt;addr&gt;: connect: connection refused 12 collectors for 25 min",
		"receiver:filelog Recoverable error open &lt;path&gt;: permission denied 4 collectors for 26 h",
		"Failing components All exporter:otlphttp 12 receiver:filelog 4 exporter:otlp/backend 2",
		"Changed in the last hour 30",
		"Lost 4 edge-agent node-030 33 min ago", "Silent 3 edge-agent node-040", "Goodbye 5", "Not heard yet 0",
		"Versions Roll-out All 0.155.0 173 0.149.0 23 0.131.0 3 26 older than 0.155.0",
		"140 7 drifted", "8 drifted from most of their family",
		"By cluster All prod-us 14 unhealthy of 86 prod-eu 2 unhealthy of 76 staging 2 unhealthy of 37",
		"secret 2", "tls-skip-verify 5",
		"Hosts with a collector 198 Collectors that tell no host 1 Started anew as another instance 1 Hosts where none is left 12 Times two spoke for one instance UID 7 More than one on a host node-007 2",
	} {
		assert.Contains(t, page, want)
	}
	// Each number is that of the list to which it leads.
	for link, want := range map[string]int{
		"/agents?q=status%3Aunhealthy":                                     18,
		"/agents?q=failing%3A%22exporter%3Aotlphttp%22+status%3Aunhealthy": 12,
		"/agents?q=since%3A%3C1h&sort=since":                               30,
		"/agents?q=liveness%3Alost":                                        4,
		"/agents?q=version%3A%3C0.155.0":                                   26,
		"/agents?q=drift%3Atrue":                                           8,
		"/agents?q=attr.k8s.cluster.name%3Aprod-us+status%3Aunhealthy":     14,
		"/agents?q=finding%3Asecret":                                       2,
		"/agents?q=-host%3A%2A":                                            1,
		"/agents?q=host%3Anode-007":                                        2,
	} {
		assert.Contains(t, html, `href="`+link+`"`)
		list, _ := shown(t, u, link)
		assert.Contains(t, list, fmt.Sprintf("%d shown", want), link)
	}
	assert.Contains(t, html, `<a href="/" aria-current="page">Overview</a>`)
}

func TestAnOverviewOfNobodyAndOfTheWell(t *testing.T) {
	f, u := newTestUI(t)
	page, _ := shown(t, u, "/")
	assert.Contains(t, page, "No collector has reported yet")
	for _, path := range []string{"/problems", "/configs", "/agents", "/server"} {
		page, _ := shown(t, u, path)
		assert.NotContains(t, page, "Show all", path)
	}
	put(t, f, 1, report(1, "well", "n1", "StatusOK", ""))
	page, _ = shown(t, u, "/")
	assert.Contains(t, page, "Nothing fails in the collectors that are connected.")
	assert.NotContains(t, page, "drifted")
	page, _ = shown(t, u, "/problems")
	assert.Contains(t, page, "Nothing fails None of the connected collectors reports a failing part.")
}

func TestFacetsEditTheQuery(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/agents?q=status%3Afailing")
	assert.Contains(t, page, "Failing component exporter:otlphttp 12 receiver:filelog 4 exporter:otlp/backend 2")
	for _, link := range []string{
		"/agents?q=status%3Aunhealthy+failing%3A%22receiver%3Afilelog%22",
		"/agents?q=status%3Aunhealthy+attr.k8s.cluster.name%3Aprod-us",
		"/agents?group_by=component&q=status%3Afailing", // for what has no room
	} {
		assert.Contains(t, html, `href="`+link+`"`)
	}

	// One more value of a facet is another way to be found; the same again takes it out.
	page, html = shown(t, u, "/agents?q=failing%3Areceiver%3Afilelog+status%3Afailing")
	assert.Contains(t, page, "4 shown")
	assert.Contains(t, html, `href="/agents?q=failing%3Areceiver%3Afilelog%2C%22exporter%3Aotlp%2Fbackend%22+status%3Aunhealthy"`)
	assert.Contains(t, html, `<a class="check picked" href="/agents?q=status%3Aunhealthy" aria-current="true">`)
	page, _ = shown(t, u, "/agents?q=failing%3Areceiver%3Afilelog%2Cexporter%3Aotlp%2Fbackend+status%3Afailing")
	assert.Contains(t, page, "6 shown")

	assert.Contains(t, page, "Columns What fails (hide) Version (hide)")
	assert.Contains(t, page, "k8s.node.name", "attributes are columns")
}

func TestToggleLeavesTheRestAlone(t *testing.T) {
	for _, tc := range []struct{ query, term, want string }{
		{"", "version:1", "version:1"},
		{"version:1", "version:1", ""},
		{"a version:1,2 b", "version:1", "a version:2 b"},
		{"-version:1", "version:1", "-version:1 version:1"},
		{"version:<1", "version:1", "version:<1,1"},
		{"attr.a:x", "attr.b:x", "attr.a:x attr.b:x"},
		{"name:Upper", "name:upper", ""},
	} {
		q, err := fleetquery.Parse(tc.query)
		require.NoError(t, err)
		term, err := fleetquery.Parse(tc.term)
		require.NoError(t, err)
		got, _ := toggle(q, term.Terms[0])
		assert.Equal(t, tc.want, got.String(), "%s with %s", tc.query, tc.term)
	}
}

func TestAQueryThatIsNotUnderstood(t *testing.T) {
	u := newPlantedUI(t)
	for _, path := range []string{"/agents", "/problems", "/configs"} {
		w := get(u, path+"?q="+url.QueryEscape(`staus:failing "<b>`))
		assert.Equal(t, http.StatusBadRequest, w.Code)
		requireSafe(t, w)
		assert.Contains(t, w.Body.String(), `aria-invalid="true"`)
		assert.Contains(t, w.Body.String(), `id="query-error"`)
		assert.Contains(t, text(w), "staus")
		assert.Contains(t, text(w), "What can I ask?")
	}
}

func TestSuggestionsGoOnWithTheQuery(t *testing.T) {
	u := newPlantedUI(t)
	w := get(u, "/complete?at=7&q="+url.QueryEscape("é stat other"))
	require.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	assert.Contains(t, w.Body.String(), `data-before="é status:" data-after=" other"`)
	w = get(u, "/complete?at=14&q="+url.QueryEscape("version:0.149,"))
	assert.Contains(t, w.Body.String(), `data-before="version:0.149,0.155.0"`)
	assert.Contains(t, w.Body.String(), `<span class="pill">173</span>`)
	assert.NotContains(t, get(u, "/complete?at=0&q="+url.QueryEscape(`"`)).Body.String(), "<script")
	for _, bad := range []string{"", "?at=1", "?at=-1&q=a", "?at=x&q=a", "?at=1&q=%ff"} {
		assert.Equal(t, http.StatusBadRequest, get(u, "/complete"+bad).Code, bad)
	}
}

func TestGroupsTellHowEachIs(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/agents?group_by=version&q=status%3Ahealthy%2Cunhealthy")
	assert.Contains(t, page, "0.149.0 23 23 Healthy 0.131.0 3 3 Healthy")
	assert.Contains(t, html, `href="/agents?q=status%3Ahealthy%2Cunhealthy+version%3A0.149.0"`)
	page, _ = shown(t, u, "/agents?group_by=host")
	assert.Contains(t, page, "198 groups. 1 collector is in none.")
	page, _ = shown(t, u, "/agents?group_by=problem")
	assert.Contains(t, page, "receiver:filelog: open &lt;path&gt;: permission denied")
	assert.Equal(t, http.StatusBadRequest, get(u, "/agents?group_by=nonsense").Code)
}

func TestProblemsTellWhatTheyShare(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/problems")
	for _, want := range []string{
		"3 problems in 18 collectors.",
		"exporter otlphttp Recoverable error 12 collectors failed to make an HTTP request",
		"The first has it since 25 min ago The latest since 14 min ago Times 36, in several pipelines",
		"have the problem Version 0.155.0 12 of 173 that run it",
		"edge-agent node-015 exporter:otlphttp Unhealthy 25 min ago", "and 7 more",
		"As one of them reported it", "dial tcp 10.9.",
	} {
		assert.Contains(t, page, want)
	}
	link := regexp.MustCompile(`href="(/agents\?q=problem[^"]+)"`).FindStringSubmatch(html)
	require.NotNil(t, link)
	list, _ := shown(t, u, link[1])
	assert.Contains(t, list, "12 shown")

	page, _ = shown(t, u, "/problems?q=failing%3Areceiver%3A%2A")
	assert.Contains(t, page, "1 problem in 4 collectors.")
	page, _ = shown(t, u, "/problems?q=nobody")
	assert.Contains(t, page, "Nothing fails in the connected collectors that the query finds.")
}

func TestConfigsTellWhoDrifted(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/configs")
	for _, want := range []string{
		"199 collectors run 144 different configs of 4 families. 1 tell none.",
		"7 drifted 140 collectors", "Most 133 collectors", "Drifted 2 collectors",
		"1 risky setting tls-skip-verify exporters::otlphttp::tls::insecure_skip_verify",
	} {
		assert.Contains(t, page, want)
	}
	diffs := regexp.MustCompile(`href="(/configs/[0-9a-f]{64}/diff\?to=[0-9a-f]{64})"`).FindAllStringSubmatch(html, -1)
	require.NotEmpty(t, diffs)
	all := ""
	for _, d := range diffs {
		page, _ := shown(t, u, d[1])
		assert.Contains(t, page, "What differs")
		all += page
	}
	assert.Contains(t, all, "timeout: 200ms")
	assert.Contains(t, all, "insecure_skip_verify: true")
	assert.NotContains(t, all, "removed value: node-0", "what has to differ is taken for equal")
	exact, _ := shown(t, u, diffs[0][1]+"&exact=true")
	assert.Contains(t, exact, "removed value: node-0")
	assert.Contains(t, exact, "Ignore what must differ")

	one := diffs[0][1][:len("/configs/")+64]
	page, _ = shown(t, u, one)
	assert.Contains(t, page, "Run this but for what must differ 133 Run one of the family 140")
	assert.Contains(t, page, "Like most of its family")
	same, _ := shown(t, u, one+"/diff?to="+plantedfleet.UID(1).String())
	assert.Contains(t, same, "Both are the same but for what has to differ between instances.")
	most, _ := shown(t, u, one+"/diff?to=majority")
	assert.Contains(t, most, "Nothing differs")
	assert.Equal(t, "text/plain; charset=utf-8", get(u, one+"/text?name=").Header().Get("Content-Type"))
	for _, missing := range []string{one + "/diff", one + "/diff?to=zz", one + "/diff?to=" + plantedfleet.UID(999).String(), one + "/text?name=x", "/configs/zzzz/text"} {
		w := get(u, missing)
		assert.Equal(t, http.StatusNotFound, w.Code, missing)
		requireSafe(t, w)
	}
}

func TestPipelinesAreDrawnAndTold(t *testing.T) {
	u := newPlantedUI(t)
	path := "/agents/" + plantedfleet.UID(151).String()
	page, html := shown(t, u, path)
	assert.Contains(t, html, `role="img" aria-label="3 pipelines with 12 components, 2 of them failing. The table says the same in rows."`)
	assert.Contains(t, html, `class="edge connector"`)
	assert.Contains(t, html, "exporter otlp/backend: Permanent error: tls: failed to verify certificate")
	assert.Contains(t, page, "Like most")
	assert.Contains(t, page, "24 of 24 of its family run the same")
	assert.Contains(t, page, "28 in its build, 8 of them used.")
	page, html = shown(t, u, path+"?pipelines=table")
	assert.NotContains(t, html, `<svg class="graph"`)
	assert.Contains(t, page, "exporter spanmetrics → metrics/spans OK")
	assert.Contains(t, page, "exporter otlp/backend Permanent error 2 h ago tls: failed to verify certificate")

	page, html = shown(t, u, "/agents/"+plantedfleet.UID(61).String())
	assert.Contains(t, page, "Drifted")
	assert.Contains(t, html, `">Compare with most</a>`)
	assert.Contains(t, page, "1 risky setting")
}

// brokenHistory can't be read.
type brokenHistory struct{}

func (brokenHistory) Config(context.Context, fleet.Sum) (*fleet.Config, error) {
	return nil, errors.New("disk I/O error")
}

func (brokenHistory) Events(context.Context, fleet.EventQuery) (fleet.EventPage, error) {
	return fleet.EventPage{}, errors.New("the disk is <gone>")
}

func TestEventsTellWhatHappened(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/events")
	assert.Contains(t, page, "Goodbye edge-agent on node-050")
	assert.Contains(t, html, `href="/events?kind=lost"`)
	assert.Contains(t, html, `data-events="/api/v1/events`)
	page, html = shown(t, u, "/events?kind=connected")
	assert.Contains(t, page, "Came back edge-agent on node-081 was lost")
	assert.NotContains(t, page, "on node-050")
	assert.Contains(t, html, `href="/api/v1/history?kind=connected"`)
	page, _ = shown(t, u, "/events?kind=gap")
	assert.Contains(t, page, "Nothing of this kind is known.")

	// Every page follows from the one before, and none is twice.
	seen := map[string]bool{}
	next := "/events"
	for next != "" {
		require.Less(t, len(seen), 2000)
		_, html = shown(t, u, next)
		for _, m := range regexp.MustCompile(`id="(event-\d+)"`).FindAllStringSubmatch(html, -1) {
			assert.False(t, seen[m[1]], "twice")
			seen[m[1]] = true
		}
		next = ""
		if m := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(html); m != nil {
			next = m[1]
		}
	}
	assert.Greater(t, len(seen), plantedfleet.Agents)

	page, _ = shown(t, u, "/")
	assert.Contains(t, page, "Comes and goes how often in the last hour edge-agent on node-081")
	page, _ = shown(t, u, "/agents/"+plantedfleet.UID(82).String())
	assert.Contains(t, page, "Timeline")
	assert.Contains(t, page, "was lost")

	for _, bad := range []string{"/events?kind=nonsense", "/events?before=x", "/events?before=-1"} {
		assert.Equal(t, http.StatusBadRequest, get(u, bad).Code, bad)
	}
	broken := New(fleet.New(fleet.Settings{}), Settings{History: brokenHistory{}})
	w := get(broken, "/events")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	requireSafe(t, w)
	assert.Contains(t, text(w), "What happened can&#39;t be read now the disk is &lt;gone&gt;")

	past := "/configs/" + strings.Repeat("ab", 32)
	for _, address := range []string{past, past + "/text", past + "/diff"} {
		w = get(broken, address)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code, address)
		assert.Contains(t, text(w), "Configs of the past can&#39;t be read now disk I/O error", address)
	}
	for _, k := range fleet.EventKinds() {
		assert.NotEmpty(t, eventBadges[k].Word, k)
	}
}

func TestTheServerTellsItsLoad(t *testing.T) {
	u := newPlantedUI(t)
	page, html := shown(t, u, "/server")
	for _, want := range []string{
		"Version 1.2.3 Started 1 h ago", "Silent after 1m30s",
		"Collectors known 200 of 250", "80 % of the limit. limits.max_agents",
		"WebSockets 97 of 100", "97 % of the limit.", "Event streams of pages and programs 2 of 256",
		"HTTP received 12,345 67.9 kB", "too big 3", "Nothing was cut since the start.",
		"Two connections spoke for one instance UID 7",
		"What happens is not written, and would go with this process.", "no room left: make room on the disk &lt;now&gt;", "Since 5 min ago",
		"File /var/lib/fleet.db", "of 4.2 MB", "Lost 12 events", "Deleted early 3,456 rows",
	} {
		assert.Contains(t, page, want)
	}
	assert.NotContains(t, page, "never")
	assert.Contains(t, html, `data-every="5"`)
	assert.Contains(t, html, `class="is-bad" id="gauge-connections"`)
	assert.Contains(t, html, `class="is-warn" id="gauge-agents"`)
	_, bare := newTestUI(t)
	page, _ = shown(t, bare, "/server")
	assert.Contains(t, page, "Collectors known 0")
	assert.Contains(t, page, "Everything is in memory and goes with this process.")
}

func TestTheFirstLoadIsSmall(t *testing.T) {
	u := newPlantedUI(t)
	const most = 150 << 10
	for _, path := range []string{"/", "/agents", "/problems", "/configs", "/topology", "/server", "/agents/" + plantedfleet.UID(5).String()} {
		page := get(u, path)
		total := len(zipped(t, u, path, page.Body.String()))
		for _, l := range regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1) {
			total += len(zipped(t, u, l[1], get(u, l[1]).Body.String()))
		}
		t.Logf("%s: %d bytes, with all that it loads", path, total)
		assert.LessOrEqual(t, total, most, path)
	}
	w := get(u, "/assets/icon.svg")
	assert.Empty(t, w.Header().Get("Content-Encoding"), "for who does not ask for it")
	assert.Equal(t, "Accept-Encoding", w.Header().Get("Vary"))
}

// zipped is what a browser is sent, which is to be what anybody is.
func zipped(t *testing.T, u *UI, path, want string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", "br;q=1, GZIP;q=0.8")
	w := httptest.NewRecorder()
	u.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	body := w.Body.String()
	if w.Header().Get("Content-Encoding") == "" {
		assert.Less(t, len(want), leastZipped)
		return body
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	require.NoError(t, err)
	plain, err := io.ReadAll(z)
	require.NoError(t, err)
	assert.Equal(t, want, string(plain))
	return body
}

func TestACrowdWaitsAndWhoLeavesIsForgotten(t *testing.T) {
	u := newPlantedUI(t)
	for range maxSearches {
		u.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	u.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/agents", nil).WithContext(ctx))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	<-u.slots
	assert.Equal(t, http.StatusOK, get(u, "/agents").Code)
}
