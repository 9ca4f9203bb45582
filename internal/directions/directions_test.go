// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package directions

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	modulePath = "github.com/otel-fleetview/fleetview"
	moduleRoot = "../.."
)

// Who may not import whom, by name.
const (
	shells    = "extension/... receiver/..."
	rooms     = "internal/..."
	pureRooms = "internal/opampwire internal/agentreport internal/redact internal/fleet internal/ingestprogress internal/wsframe internal/gatewaystatus " + insight
	insight   = "internal/fleet/fleetquery internal/fleet/fleetproblem internal/fleet/fleetconfig internal/fleet/fleetgraph " +
		"internal/fleet/fleetsearch"
	busyRooms = "internal/opampclient internal/opampdial internal/opampserver internal/agentidentity internal/componenthealth internal/custommessage " +
		"internal/gateway/... internal/listening internal/opampendpoint internal/tally " + told
	told = "internal/fleet/fleetstore/... internal/fleet/fleetbus/... internal/fleet/fleetapi/... internal/fleet/fleetui/... " +
		"internal/fleet/fleetsend/... internal/fleet/fleethistory internal/fleet/fleetindexer"
	agentRooms = "internal/opampclient internal/opampdial internal/agentidentity internal/agentreport internal/componenthealth " +
		"internal/custommessage"
	serverRooms = "internal/opampserver internal/fleet/..."
	transports  = "internal/opampclient internal/opampdial internal/opampserver"
	meaning     = "internal/agentidentity internal/agentreport internal/componenthealth internal/custommessage internal/fleet/..."
	product     = shells + " " + pureRooms + " " + busyRooms

	world       = "net net/http net/rpc/... os os/... database/sql/... syscall"
	loggers     = "log/... go.uber.org/zap/..."
	collector   = "go.opentelemetry.io/collector/..."
	testModules = "testing/... net/http/httptest github.com/stretchr/testify/... go.uber.org/goleak github.com/chromedp/..."
	otherOpAMP  = "github.com/open-telemetry/opamp-go/client github.com/open-telemetry/opamp-go/client/internal/... " +
		"github.com/open-telemetry/opamp-go/server/..."
)

// forbidden holds the imports that must not be, direct or through other packages, each with its reason.
var forbidden = map[edge]string{
	{shells, shells}:              "a shell is config, lifecycle and wiring: what two need of each other belongs in a room",
	{rooms, shells}:               "the Collector's API moves often and our logic should not, so a room lives without its shell",
	{pureRooms, busyRooms}:        "a pure room is proved by tables and golden files: it does no I/O",
	{pureRooms, world}:            "a pure room is proved by tables and golden files: it does no I/O",
	{pureRooms, loggers}:          "a pure room returns what happened, its caller decides what is worth a line",
	{"internal/opampwire", rooms}: "frames and identities are the ground that all others stand on",
	{"internal/fleet internal/opampwire " + insight, collector}:                                             "what is true of an agent does not depend on what the agent is built with",
	{"internal/fleet", "internal/fleet/*/..."}:                                                              "what is true of an agent does not depend on how it is kept or told",
	{"internal/fleet/fleetstore internal/fleet/fleetbus", "internal/fleet/fleetapi internal/fleet/fleetui"}: "how the fleet survives does not depend on how it is told",
	{"internal/gateway/...", "internal/fleet/..."}:                                                          "a relay forwards what it does not understand, a server understands and does not forward",
	{"internal/fleet/...", "internal/gateway/..."}:                                                          "a relay forwards what it does not understand, a server understands and does not forward",
	{"internal/gateway/...", "internal/agentreport internal/componenthealth internal/custommessage"}:        "a relay forwards what it does not understand: what is in a report is between the agent and the server",
	{"internal/gateway/...", collector}:                                                                     "the Collector's API moves often and our logic should not",
	{"internal/listening", "internal/gateway/... internal/fleet/..."}:                                       "a listener does not depend on what is behind it",
	{"internal/wsframe", rooms}:                                                                             "frames and identities are the ground that all others stand on",
	{agentRooms, serverRooms}:                                                                               "an agent and a server share frames and nothing else, so that each is usable alone",
	{serverRooms, agentRooms}:                                                                               "an agent and a server share frames and nothing else, so that each is usable alone",
	{transports, meaning}:                                                                                   "a transport carries reports and does not understand them",
	{product, otherOpAMP}:                                                                                   "messages are opamp-go's, the transport is ours: the other one is a partner in tests",
	{product, "internal/opamptest/..."}:                                                                     "it belongs to tests and must not be linked into a collector",
	{product, "internal/localaws internal/s3sample internal/s3test"}:                                        "it belongs to tests and the demo and must not be linked into a collector",
	{product, testModules}:                                                                                  "it belongs to tests and must not be linked into a collector",
}

func TestNoForbiddenImport(t *testing.T) {
	graph, err := readImports(moduleRoot, modulePath)
	require.NoError(t, err)
	require.Contains(t, graph, "internal/opampwire", "the module's packages were not found")
	assert.Empty(t, violations(graph, forbidden))
}

func TestPureRoomsHaveNoClockAndNoGoroutine(t *testing.T) {
	for _, room := range strings.Fields(pureRooms) {
		found, err := impurities(filepath.Join(moduleRoot, room))
		if os.IsNotExist(err) {
			continue // not every room of the list is built yet
		}
		require.NoError(t, err)
		assert.Empty(t, found)
	}
}

func TestForbiddenEdgesAreFound(t *testing.T) {
	tests := []struct {
		name  string
		graph imports
		want  []string // the ways found, without their reasons
	}{
		{
			name: "what is meant to be",
			graph: imports{
				"extension/opampextension": {"internal/opampclient", "internal/agentreport", "go.uber.org/zap"},
				"internal/opampclient":     {"internal/opampwire", "net/http", "go.uber.org/zap"},
				"internal/agentreport":     {"github.com/open-telemetry/opamp-go/protobufs", "time", "strings"},
				"internal/fleet/fleetapi":  {"internal/fleet", "net/http"},
				"internal/fleet":           {"internal/opampwire", "net/url", "time"},
			},
		},
		{
			name:  "a component may have packages of its own",
			graph: imports{"extension/opampextension": {"extension/opampextension/internal/metadata"}},
		},
		{
			name:  "shell to shell",
			graph: imports{"extension/opampextension": {"extension/opampserverextension"}},
			want:  []string{"extension/opampextension -> extension/opampserverextension"},
		},
		{
			name:  "shell to another kind of shell, deep inside",
			graph: imports{"receiver/awss3receiver": {"extension/opampextension/internal/metadata"}},
			want:  []string{"receiver/awss3receiver -> extension/opampextension/internal/metadata"},
		},
		{
			name:  "room to shell",
			graph: imports{"internal/opampserver": {"extension/opampserverextension"}},
			want:  []string{"internal/opampserver -> extension/opampserverextension"},
		},
		{
			name: "a pure room reaches the network through a room that it may import",
			graph: imports{
				"internal/fleet":     {"internal/opampwire"},
				"internal/opampwire": {"net/http"},
			},
			want: []string{
				"internal/fleet -> internal/opampwire -> net/http",
				"internal/opampwire -> net/http",
			},
		},
		{
			name:  "fleet logs",
			graph: imports{"internal/fleet": {"go.uber.org/zap/zapcore"}},
			want:  []string{"internal/fleet -> go.uber.org/zap/zapcore"},
		},
		{
			name:  "fleet knows how it is told",
			graph: imports{"internal/fleet": {"internal/fleet/fleetapi"}},
			want: []string{
				"internal/fleet -> internal/fleet/fleetapi",
				"internal/fleet -> internal/fleet/fleetapi",
			},
		},
		{
			name: "gateway and fleet, both ways",
			graph: imports{
				"internal/gateway":          {"internal/fleet"},
				"internal/fleet/fleetstore": {"internal/gateway/pool"},
			},
			want: []string{
				"internal/fleet/fleetstore -> internal/gateway/pool",
				"internal/gateway -> internal/fleet",
			},
		},
		{
			name:  "opamp-go's transport in the product",
			graph: imports{"internal/opampclient": {"github.com/open-telemetry/opamp-go/client", "github.com/open-telemetry/opamp-go/client/types"}},
			want:  []string{"internal/opampclient -> github.com/open-telemetry/opamp-go/client"},
		},
		{
			name:  "test support in the product",
			graph: imports{"internal/opampserver": {"internal/opamptest"}, "internal/opamptest": {"net"}},
			want:  []string{"internal/opampserver -> internal/opamptest"},
		},
		{
			name:  "an import ring ends",
			graph: imports{"internal/a": {"internal/b"}, "internal/b": {"internal/a"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ways []string
			for _, found := range violations(tt.graph, forbidden) {
				way, reason, _ := strings.Cut(found, ": ")
				assert.NotEmpty(t, reason)
				ways = append(ways, way)
			}
			assert.Equal(t, tt.want, ways)
		})
	}
}

func TestReadImports(t *testing.T) {
	root := t.TempDir()
	write(t, root, "internal/a/a.go", "package a\nimport (\n\"time\"\nb \"example.org/m/internal/b\"\n)\n")
	write(t, root, "internal/a/windows.go", "//go:build windows\n\npackage a\nimport \"syscall\"\n")
	write(t, root, "internal/a/a_test.go", "package a\nimport \"testing\"\n")
	write(t, root, "internal/a/testdata/x.go", "package x\nimport \"os\"\n")
	write(t, root, "internal/tools/go.mod", "module example.org/m/internal/tools\n")
	write(t, root, "internal/tools/t.go", "package t\nimport \"os\"\n")

	graph, err := readImports(root, "example.org/m")

	require.NoError(t, err)
	assert.Equal(t, imports{"internal/a": {"time", "internal/b", "syscall"}}, graph)
}

func TestImpurities(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pure.go", "package a\nimport \"time\"\nfunc f(now time.Time) time.Time { return now.Add(time.Second) }\n")
	pure, err := impurities(dir)
	require.NoError(t, err)
	assert.Empty(t, pure)

	write(t, dir, "clock.go", "package a\nimport \"time\"\nvar started = time.Now()\nfunc g() { go f(started) }\n")
	found, err := impurities(dir)
	require.NoError(t, err)
	require.Len(t, found, 2)
	assert.Contains(t, found[0], "clock.go:3:15: asks the clock: time.Now")
	assert.Contains(t, found[1], "clock.go:4:12: starts a goroutine")
}

func write(t *testing.T, root, name, content string) {
	t.Helper()
	name = filepath.Join(root, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
}
