// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var uiNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func uiUID(n byte) opampwire.InstanceUID { return opampwire.InstanceUID{0x01, 0x9a, 15: n} }

func conn(n byte) fleet.Conn {
	return fleet.Conn{ID: uint64(n), Transport: fleet.TransportWebSocket, RemoteAddr: "192.0.2.7:4000"}
}

func kv(k, v string) *protobufs.KeyValue {
	return &protobufs.KeyValue{Key: k, Value: &protobufs.AnyValue{
		Value: &protobufs.AnyValue_StringValue{StringValue: v},
	}}
}

func part(status, text string, since time.Time) *protobufs.ComponentHealth {
	return &protobufs.ComponentHealth{
		Healthy: status == "StatusOK", Status: status, LastError: text, StatusTimeUnixNano: uint64(since.UnixNano()),
	}
}

// report is a collector with a pipeline whose exporter has this status and error.
func report(n byte, name, host, status, text string) *protobufs.AgentToServer {
	uid := uiUID(n)
	since := uiNow.Add(-14 * time.Minute)
	root, pipeline := part(status, "", since), part(status, "", since)
	pipeline.ComponentHealthMap = map[string]*protobufs.ComponentHealth{
		"receiver:otlp":   part("StatusOK", "", since),
		"processor:batch": part("StatusOK", "", since),
		"exporter:otlp/2": part(status, text, since),
	}
	extensions := part("StatusOK", "", since)
	extensions.ComponentHealthMap = map[string]*protobufs.ComponentHealth{"extension:opamp": part("StatusOK", "", since)}
	root.ComponentHealthMap = map[string]*protobufs.ComponentHealth{"pipeline:traces": pipeline, "extensions": extensions}
	root.StartTimeUnixNano = uint64(uiNow.Add(-3 * time.Hour).UnixNano())
	return &protobufs.AgentToServer{
		InstanceUid:  uid.Bytes(),
		Capabilities: 1 | 4 | 0x800 | 0x4000,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes:    []*protobufs.KeyValue{kv("service.name", name), kv("service.version", "1.2.3")},
			NonIdentifyingAttributes: []*protobufs.KeyValue{kv("host.name", host), kv("os.type", "linux")},
		},
		Health: root,
		EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte("receivers:\n  otlp: {}\n")}},
		}},
		AvailableComponents: &protobufs.AvailableComponents{
			Hash: []byte{0xab},
			Components: map[string]*protobufs.ComponentDetails{"receivers": {
				SubComponentMap: map[string]*protobufs.ComponentDetails{
					"otlp": {Metadata: []*protobufs.KeyValue{kv(namespaceKey, "example.com/a/b/otlpreceiver v0.155.0")}},
				},
			}},
		},
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"com.example.custom"}},
	}
}

func newTestUI(t *testing.T) (*fleet.Fleet, *UI) {
	t.Helper()
	f := fleet.New(fleet.Settings{})
	u := New(f, Settings{})
	u.now = func() time.Time { return uiNow }
	return f, u
}

func put(t *testing.T, f *fleet.Fleet, n byte, msg *protobufs.AgentToServer) {
	t.Helper()
	require.Nil(t, f.Report(conn(n), msg, uiNow).GetErrorResponse())
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

// text is a page as one reads it: without tags, and with single spaces.
func text(w *httptest.ResponseRecorder) string {
	bare := regexp.MustCompile(`(?s)<head>.*</head>|<option.*?</option>|<[^>]*>`).ReplaceAllString(w.Body.String(), " ")
	return strings.Join(strings.Fields(bare), " ")
}

// requireSafe holds a page against what no page may have.
func requireSafe(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	html := w.Body.String()
	assert.Equal(t, policy, w.Header().Get("Content-Security-Policy"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	bare := regexp.MustCompile(`="[^"]*"`).ReplaceAllString(html, "=")
	assert.NotRegexp(t, `<[^>]*\s(style|on\w+)=`, bare, "inline styles and handlers are barred by the policy")
	assert.NotContains(t, html, "<style")
	for _, tag := range regexp.MustCompile(`<script[^>]*>`).FindAllString(html, -1) {
		assert.Regexp(t, `^<script src="/assets/[a-z.-]+\?v=[0-9a-f]{16}" defer>$`, tag)
	}
	assert.NotRegexp(t, "[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
	assert.NotContains(t, html, "ZgotmplZ")
	for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		assert.Equal(t, 1, strings.Count(html, ` id="`+id[1]+`"`), "two elements are called %s", id[1])
	}
	for _, open := range []string{
		"main", "section", "table", "tbody", "tr", "td", "th", "div", "span", "bdi", "form", "ol", "ul",
		"li", "dl", "details", "figure", "pre", "code", "a",
	} {
		assert.Equal(t, len(regexp.MustCompile(`<`+open+`[\s>]`).FindAllString(html, -1)), strings.Count(html, "</"+open+">"), open)
	}
}

func TestTheEmptyListTellsHowToConnectACollector(t *testing.T) {
	f := fleet.New(fleet.Settings{})
	for endpoint, want := range map[string]string{
		"":                                 "endpoint: ws://127.0.0.1:4320/v1/opamp",
		"wss://fleet.example/opamp":        "endpoint: wss://fleet.example/opamp",
		"ws://x/<script>alert(1)</script>": "endpoint: ws://x/&lt;script&gt;",
	} {
		w := get(New(f, Settings{OpAMPEndpoint: endpoint}), "/agents")
		assert.Equal(t, http.StatusOK, w.Code)
		requireSafe(t, w)
		assert.Contains(t, w.Body.String(), want)
		assert.Contains(t, text(w), "No collector has reported yet")
		assert.Contains(t, w.Body.String(), `data-copy="#snippet"`)
		assert.NotContains(t, w.Body.String(), "<table")
	}
}

func TestTheListShowsEachStateInItsWords(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "well", "n1", "StatusOK", ""))
	put(t, f, 2, report(2, "ill", "n2", "StatusRecoverableError", "connection refused"))
	put(t, f, 3, report(3, "lost", "n3", "StatusOK", ""))
	f.Disconnected(conn(3), uiNow.Add(-4*time.Minute))
	put(t, f, 4, report(4, "left", "n4", "StatusPermanentError", "bad certificate"))
	leave := report(4, "left", "n4", "StatusPermanentError", "bad certificate")
	leave.SequenceNum, leave.AgentDisconnect = 1, &protobufs.AgentDisconnect{}
	put(t, f, 4, leave)
	put(t, f, 5, report(5, "young", "n5", "StatusStarting", ""))
	put(t, f, 6, report(6, "leaving", "n6", "StatusStopping", ""))
	quiet := uiUID(7)
	put(t, f, 7, &protobufs.AgentToServer{InstanceUid: quiet.Bytes()})

	w := get(u, "/agents")
	require.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	page := text(w)
	for _, want := range []string{
		"7 All 1 Unhealthy 2 Gone 1 No health 1 Starting 1 Stopping 1 Healthy",
		"ill 019a0000-0000-0000-0000-000000000002 Unhealthy for 14 min exporter:otlp/2 in traces connection refused for 14 min " +
			"1.2.3 n2 Connected for a moment",
		"lost 019a0000-0000-0000-0000-000000000003 Lost 4 min ago – 1.2.3 n3 Last heard just now",
		"left 019a0000-0000-0000-0000-000000000004 Goodbye just now exporter:otlp/2 in traces bad certificate 1.2.3",
		"Unnamed 019a0000 019a0000-0000-0000-0000-000000000007 No health for a moment – – –",
		"young 019a0000-0000-0000-0000-000000000005 Starting",
		"leaving 019a0000-0000-0000-0000-000000000006 Stopping",
		"well 019a0000-0000-0000-0000-000000000001 Healthy for 14 min –",
		"7 shown",
	} {
		assert.Contains(t, page, want)
	}
	assert.Contains(t, w.Body.String(), `data-events="/api/v1/events?since=`+f.Position().String()+`&amp;view=version"`)
	assert.Contains(t, w.Body.String(), `viewBox="0 0 7 1"`)
	assert.Equal(t, 6, strings.Count(w.Body.String(), "<rect "))
}

func TestTheAddressHoldsTheWholeView(t *testing.T) {
	f, u := newTestUI(t)
	for n := range byte(5) {
		put(t, f, n+1, report(n+1, fmt.Sprint("name", n), "host", "StatusOK", ""))
	}
	// An address of before, when filters were parameters and the list was the first page, is one of now.
	for _, path := range []string{"/", "/agents"} {
		w := get(u, path+"?q=name&condition=healthy&liveness=connected&sort=-name&limit=2&utm=x")
		require.Equal(t, http.StatusFound, w.Code)
		next := w.Header().Get("Location")
		if path == "/" {
			w = get(u, next)
			require.Equal(t, http.StatusFound, w.Code)
			next = w.Header().Get("Location")
		}
		assert.Equal(t, "/agents?limit=2&q=name+status%3Ahealthy+liveness%3Aconnected&sort=-name", next)
	}
	w := get(u, "/agents?q=name+status%3Ahealthy&sort=-name&limit=2&cols=version,attr.os.type,nonsense&utm=x")
	require.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	html := strings.ReplaceAll(w.Body.String(), "&#43;", "+")
	assert.Contains(t, html, `value="name status:healthy" placeholder`)
	assert.Contains(t, html, `<option value="-name" selected>`)
	assert.Contains(t, html, `<input type="hidden" name="cols" value="version,attr.os.type,nonsense">`)
	assert.Contains(t, html, `<input type="hidden" name="limit" value="2">`)
	assert.Contains(t, html, `href="/api/v1/agents?limit=2&amp;q=name+status%3Ahealthy&amp;sort=-name"`)
	assert.Contains(t, html, `href="/api/v1/agents?format=csv&amp;q=name+status%3Ahealthy&amp;sort=-name"`)
	assert.Contains(t, html, `aria-sort="descending"`)
	assert.NotContains(t, html, "utm")
	assert.Contains(t, text(w), "2 of 5 shown Next page")
	assert.Contains(t, text(w), "Collector Status Version os.type name4")
	assert.Contains(t, text(w), "1.2.3 linux", "an attribute as a column")

	// Every page of the list follows from the one before; each collector is on one of them.
	seen := map[string]bool{}
	next := "/agents?sort=name&limit=2"
	for pages := 0; next != ""; pages++ {
		require.Less(t, pages, 4)
		w := get(u, next)
		for _, m := range regexp.MustCompile(`href="/agents/([^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
			assert.False(t, seen[m[1]], "twice in the list")
			seen[m[1]] = true
		}
		next = ""
		if m := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(w.Body.String()); m != nil {
			next = strings.ReplaceAll(m[1], "&amp;", "&")
		}
		assert.Equal(t, pages > 0, strings.Contains(w.Body.String(), "First page"))
	}
	assert.Len(t, seen, 5)
}

func TestAListThatFindsNothing(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "a", "b", "StatusOK", ""))
	w := get(u, "/agents?q="+url.QueryEscape(`'><script>alert(1)</script>`))
	assert.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	assert.Contains(t, text(w), "No collector matches None of the 1 known collectors is like that.")

	w = get(u, "/agents?sort="+url.QueryEscape("<b>"))
	assert.Equal(t, http.StatusBadRequest, w.Code)
	requireSafe(t, w)
	assert.Contains(t, w.Body.String(), "not a sort key: &#34;&lt;b&gt;&#34;")
	assert.Equal(t, http.StatusBadRequest, get(u, "/agents?liveness=dead").Code)
	assert.Equal(t, http.StatusBadRequest, get(u, "/agents?cursor=x").Code)
}

func TestOneCollector(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "gateway", "node-1", "StatusPermanentError", "bad certificate"))
	w := get(u, "/agents/"+uiUID(1).String())
	require.Equal(t, http.StatusOK, w.Code)
	requireSafe(t, w)
	page := text(w)
	for _, want := range []string{
		"gateway Unhealthy for 14 min JSON Version 1.2.3 Host node-1 Instance 019a0000-0000-0000-0000-000000000001",
		"Presence Connected for a moment Reported status Permanent error 14 min ago Started 3 h ago First seen just now " +
			"Transport WebSocket 192.0.2.7:4000",
		"What fails 1 exporter otlp/2 in pipeline traces Permanent error for 14 min bad certificate",
		"Part Status Since Pipeline traces Permanent error 14 min ago receiver otlp OK 14 min ago processor batch OK 14 min ago " +
			"exporter otlp/2 Permanent error 14 min ago bad certificate Extensions OK",
		"receivers : otlp : {}",
		"receivers 1 of 1 Used: otlp v0.155.0 …/b/otlpreceiver",
		"service.name gateway service.version 1.2.3",
		"ReportsStatus ReportsEffectiveConfig ReportsHealth ReportsAvailableComponents",
		"Custom messages com.example.custom Nothing was said with it yet.",
	} {
		assert.Contains(t, page, want)
	}
	assert.Contains(t, w.Body.String(), "instance_uid="+uiUID(1).String())
	assert.Contains(t, w.Body.String(), `<title>gateway · Fleetview</title>`)

	f.Disconnected(conn(1), uiNow)
	w = get(u, "/agents/"+uiUID(1).String())
	requireSafe(t, w)
	page = text(w)
	assert.Contains(t, page, "gateway Lost just now")
	assert.Contains(t, page, "What follows is what it last reported.")
	assert.Contains(t, page, "What failed 1")
	assert.Contains(t, page, "Last heard just now")
}

func TestACollectorThatSaysLittle(t *testing.T) {
	f, u := newTestUI(t)
	uid := uiUID(1)
	put(t, f, 1, &protobufs.AgentToServer{InstanceUid: uid.Bytes()})
	w := get(u, "/agents/"+uid.String())
	requireSafe(t, w)
	for _, want := range []string{
		"This collector does not report its health.", "This collector does not report its effective config.",
		"This collector does not tell what it is built of.", "This collector did not describe itself.", "It claims none.",
	} {
		assert.Contains(t, text(w), want)
	}
	put(t, f, 1, &protobufs.AgentToServer{
		InstanceUid: uid.Bytes(), SequenceNum: 1,
		Health:              &protobufs.ComponentHealth{},
		EffectiveConfig:     &protobufs.EffectiveConfig{},
		AvailableComponents: &protobufs.AvailableComponents{Hash: []byte{1, 2}},
	})
	w = get(u, "/agents/"+uid.String())
	requireSafe(t, w)
	for _, want := range []string{
		"The collector as a whole", "It gave no error.", "It reports its health as a whole", "It reported an empty one.",
		"It told only the hash of its list, 0102",
	} {
		assert.Contains(t, text(w), want)
	}
}

func TestHostileTextIsHarmless(t *testing.T) {
	const evil = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>\x1b[31m\x00\r\u202e{{.}}"
	f, u := newTestUI(t)
	msg := report(1, evil, evil, evil, evil)
	msg.AgentDescription.IdentifyingAttributes = append(msg.AgentDescription.IdentifyingAttributes, kv(evil, evil))
	msg.CustomCapabilities.Capabilities = []string{evil}
	msg.EffectiveConfig.ConfigMap.ConfigMap[evil] = &protobufs.AgentConfigObject{Body: []byte(evil + ": " + evil + " # " + evil)}
	msg.AvailableComponents.Components[evil] = &protobufs.ComponentDetails{
		SubComponentMap: map[string]*protobufs.ComponentDetails{evil: {
			Metadata: []*protobufs.KeyValue{kv(namespaceKey, evil+" "+evil)},
		}},
	}
	node := part(evil, evil, uiNow)
	node.Attributes = []*protobufs.KeyValue{kv(evil, evil)}
	msg.Health.ComponentHealthMap[evil] = node
	msg.Health.ComponentHealthMap["pipeline:"+evil] = node
	msg.Health.ComponentHealthMap["extensions"].ComponentHealthMap["extension:"+evil] = node
	put(t, f, 1, msg)
	for _, target := range []string{"/", "/agents", "/problems", "/configs", "/server", "/agents/" + uiUID(1).String(), "/agents?q=" + url.QueryEscape(evil)} {
		w := get(u, target)
		require.Equal(t, http.StatusOK, w.Code, target)
		requireSafe(t, w)
		assert.NotContains(t, w.Body.String(), "<script>alert")
		assert.NotContains(t, w.Body.String(), "<img src=x")
		if target != "/server" { // which says nothing of any collector
			assert.Contains(t, w.Body.String(), "&lt;script&gt;alert(1)", target)
		}
	}
	w := get(u, "/agents/"+uiUID(1).String()+"/config?name="+url.QueryEscape(evil))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
}

func TestABigHealthTreeIsCut(t *testing.T) {
	f, u := newTestUI(t)
	msg := report(1, "big", "", "StatusOK", "")
	for i := range 50 {
		branch := part("StatusOK", "", uiNow)
		branch.ComponentHealthMap = map[string]*protobufs.ComponentHealth{}
		for j := range 50 {
			branch.ComponentHealthMap[fmt.Sprint("exporter:", j)] = part("StatusOK", "", uiNow)
		}
		msg.Health.ComponentHealthMap[fmt.Sprint("pipeline:", i)] = branch
	}
	put(t, f, 1, msg)
	w := get(u, "/agents/"+uiUID(1).String())
	requireSafe(t, w)
	parts := 50*51 + 4 + 2
	assert.Contains(t, text(w), fmt.Sprintf("%d more parts are not shown here.", parts-maxHealthRows))
	assert.Equal(t, maxHealthRows, strings.Count(w.Body.String(), "<tr role=\"row\" class=\"is-")+strings.Count(w.Body.String(), "<tr role=\"row\" class=\"group"))
}

func TestWhatIsNotThere(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "a", "b", "StatusOK", ""))
	for target, says := range map[string]string{
		"/agents/" + uiUID(9).String():                         "No collector has this instance UID",
		"/agents/nobody":                                       "No collector has this instance UID",
		"/agents/" + uiUID(9).String() + "/config":             "No collector has this instance UID",
		"/agents/" + uiUID(1).String() + "/config?name=absent": "There is no such page",
		"/configs/0123":                                        "No collector runs this config",
		"/configs/x/diff?to=majority":                          "No collector runs this config",
		"/agents/x/y/z":                                        "There is no such page",
		"/index.html":                                          "There is no such page",
		"/templates/":                                          "There is no such page",
	} {
		w := get(u, target)
		assert.Equal(t, http.StatusNotFound, w.Code, target)
		requireSafe(t, w)
		assert.Contains(t, text(w), says, target)
		assert.Contains(t, w.Body.String(), `href="/agents">All collectors`)
	}
	w := httptest.NewRecorder()
	u.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
}

func TestTheConfigAsText(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "a", "b", "StatusOK", ""))
	w := get(u, "/agents/"+uiUID(1).String()+"/config?name=")
	assert.Equal(t, "receivers:\n  otlp: {}\n", w.Body.String())
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
}

func TestAssets(t *testing.T) {
	_, u := newTestUI(t)
	page := get(u, "/agents").Body.String()
	links := regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
	require.Len(t, links, 6)
	types := map[string]string{".css": "text/css", ".js?": "text/javascript", ".svg": "image/svg+xml"}
	for _, l := range links {
		w := get(u, l[1])
		assert.Equal(t, http.StatusOK, w.Code, l[1])
		assert.Equal(t, "public, max-age=31536000, immutable", w.Header().Get("Cache-Control"))
		ext := regexp.MustCompile(`\.(css|js\?|svg)`).FindString(l[1])
		assert.Contains(t, w.Header().Get("Content-Type"), types[ext])
	}
	assert.Equal(t, "no-store", get(u, "/assets/app.css?v=old").Header().Get("Cache-Control"),
		"a file of another build must not be kept under the address of this one")
	for _, target := range []string{
		"/assets/", "/assets/NOTICE", "/assets/..%2fui.go", "/assets/%2e%2e/ui.go", "/assets/app.css/", "/assets/none.js",
	} {
		assert.NotEqual(t, http.StatusOK, get(u, target).Code, target)
	}
	assert.Contains(t, text(get(u, "/assets/none.js")), "There is no such page")
}

func TestEveryStateHasABadge(t *testing.T) {
	for _, c := range fleet.Conditions() {
		assert.NotEmpty(t, conditionBadges[c].Word, c)
	}
	for _, l := range fleet.Livenesses() {
		assert.NotEmpty(t, livenessBadges[l].Word, l)
	}
	for _, k := range fleetsearch.SortKeys() {
		assert.NotEmpty(t, sortWords[k], k)
	}
	for _, tc := range []struct {
		healthy bool
		status  string
		want    badge
	}{
		{true, "StatusOK", badge{Word: "OK", Look: "ok"}},
		{true, "", badge{Word: "Healthy", Look: "ok"}},
		{false, "", badge{Word: "Unhealthy", Look: "bad"}},
		{false, "StatusFatalError", badge{Word: "Fatal error", Look: "bad"}},
		{false, "StatusRecoverableError", badge{Word: "Recoverable error", Look: "warn"}},
		{false, "StatusStopped", badge{Word: "Stopped", Look: "warn"}},
		{false, "StatusStarting", badge{Word: "Starting", Look: "busy"}},
		{false, "on fire\x1b", badge{Word: "on fire␛", Look: "bad"}},
	} {
		assert.Equal(t, tc.want, statusBadge(tc.healthy, tc.status))
	}
}

func TestPartsThatWereNotKeptAreNamed(t *testing.T) {
	f := fleet.New(fleet.Settings{MaxMemory: 1})
	u := New(f, Settings{})
	u.now = func() time.Time { return uiNow }
	put(t, f, 1, report(1, "gateway", "node", "StatusPermanentError", "it fails"))
	w := get(u, "/agents/"+uiUID(1).String())
	requireSafe(t, w)
	page := text(w)
	assert.Contains(t, page, "(limits.max_memory). Of this one it keeps only the gist of: health, effective config, components")
	assert.Contains(t, page, "Effective config It was not kept, for want of memory.")
	assert.Contains(t, page, "in its build They were not kept, for want of memory.")
	assert.NotContains(t, page, "does not report")
	assert.Contains(t, page, "gateway")
	assert.Contains(t, page, "it fails")
}

func TestALongStatusIsCut(t *testing.T) {
	f, u := newTestUI(t)
	put(t, f, 1, report(1, "odd", "node", "Status"+strings.Repeat("Unheard", 100), ""))
	page := get(u, "/agents/"+uiUID(1).String()).Body.String()
	assert.Contains(t, page, "StatusUnheard")
	assert.NotContains(t, page, strings.Repeat("Unheard", maxStatusWord/len("Unheard")+1))
}
