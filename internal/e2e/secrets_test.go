// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
)

// secretsConfig has a secret in each place where a person may put one in a Collector that is built of
// what the distribution has. %[1]s is the OpAMP server, %[2]s the address of zpages, %[3]s a file.
const secretsConfig = `
service:
  extensions: [basicauth/client, bearertokenauth, zpages, opamp]
  telemetry:
    logs: {level: info, encoding: json, sampling: {enabled: false}}
    metrics: {level: none}
    resource:
      attributes:
        - {name: service.name, value: secretive}
        - {name: vendor.api_key, value: hush-resource-01}
extensions:
  zpages: {endpoint: '%[2]s', expvar: {enabled: true}}
  basicauth/client: {client_auth: {username: otel, password: hush-basicauth-02}}
  bearertokenauth: {token: '${env:HUSH_TOKEN}'}
  opamp:
    server: {ws: {endpoint: '%[1]s?access_token=hush-endpoint-03', headers: {Authorization: 'Bearer hush-header-04', X-Key: '${env:HUSH_HEADER:-hush-default-05}'}}}
    reports_raw_config: true
    agent_description:
      include_resource_attributes: true
      identifying_attributes: {vendor.token: hush-identifying-06}
      non_identifying_attributes: {team: payments, deploy.password: hush-describing-07}
exporters:
  otlp_http/map: {endpoint: 'http://otel:hush-url-08@127.0.0.1:1', headers: {X-Vendor: hush-map-09}}
  otlp_http/list: {endpoint: 'http://127.0.0.1:1/?sig=hush-query-10', headers: [{name: X-Vendor, value: hush-list-11}]}
  otlp_grpc: {endpoint: '127.0.0.1:1', headers: {x-vendor: '${env:HUSH_PLAIN}'}, tls: {insecure: true}}
  debug: {verbosity: '${env:HUSH_SETTING:-basic}'}
processors:
  batch/tenants: {metadata_keys: [x-tenant]}
receivers:
  otlp: {protocols: {http: {endpoint: '127.0.0.1:0', cors: {allowed_origins: ['https://${file:%[3]s}@example.com']}}}}
`

// TestNoSecretLeavesTheCollector looks for every secret of a configuration in everything that a
// collector says: to the server, in its log and on its status page.
func TestNoSecretLeavesTheCollector(t *testing.T) {
	for variable, value := range map[string]string{"HUSH_TOKEN": "hush-env-12", "HUSH_PLAIN": "hush-env-13"} {
		t.Setenv(variable, value)
	}
	file := writeFile(t, t.TempDir(), "user", "hush-file-14")
	r := startReference(t, protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)
	zpages := freeAddress(t)
	exporter, config := newExporter(t)
	dir := t.TempDir()
	c := startOn(t, testDistribution(t), writeFile(t, dir, "base.yaml", base), writeFile(t, dir, "exporter.yaml", config),
		writeFile(t, dir, "secrets.yaml", fmt.Sprintf(secretsConfig, "ws://"+r.address+"/v1/opamp", zpages, file)))

	var all told
	var said strings.Builder
	hear := func(enough func(*told) bool) {
		r.hear(t, &all, func(all *told) bool {
			if all.AgentToServer != nil {
				said.WriteString(prototext.Format(all.last) + "\n")
			}
			return enough(all)
		})
	}
	hear(complete)
	for n, failure := range []string{
		"Post http://otel:hush-url-08@127.0.0.1:1: refused", "the token hush-env-12 has expired", "header hush-env-13 is wrong",
		"the server said hush-default-05", "no tenant for hush-map-09",
	} {
		mark := fmt.Sprintf("failure %d: ", n)
		exporter.report(t, "StatusRecoverableError", mark+failure)
		hear(func(all *told) bool {
			failing := all.GetHealth().GetComponentHealthMap()["pipeline:metrics"].GetComponentHealthMap()["exporter:status"]
			return strings.HasPrefix(failing.GetLastError(), mark)
		})
	}
	page, err := http.Get("http://" + zpages + "/debug/expvarz") //nolint:noctx // bounded by the test
	require.NoError(t, err)
	status, err := io.ReadAll(page.Body)
	require.NoError(t, page.Body.Close())
	require.NoError(t, err)
	require.Contains(t, string(status), `"summary":"connected for`)
	all.leaving = true
	c.stop(t)

	raw := all.GetEffectiveConfig().GetConfigMap().GetConfigMap()["raw"].GetBody()
	require.Contains(t, string(raw), "${env:HUSH_TOKEN}", "references stay")
	require.Contains(t, said.String(), "payments", "what is no secret is told")
	var log strings.Builder
	for _, line := range c.matching(func(line logLine) bool { return line.ID == "opamp" }) {
		log.WriteString(withoutResource(t, line.Raw) + "\n")
	}
	require.Contains(t, log.String(), "Connected to the OpAMP server")
	for where, text := range map[string]string{
		"on the wire": said.String(), "in the extension's log": log.String(), "on the status page": opampOf(string(status)),
	} {
		for n := 1; n <= 14; n++ {
			assert.NotRegexp(t, fmt.Sprintf(`hush-[a-z]+-%02d`, n), text, where)
		}
	}
}

// withoutResource is a line of the log without what the Collector adds to each, whoever wrote it.
func withoutResource(t *testing.T, line string) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &fields))
	delete(fields, "resource")
	return fmt.Sprint(fields)
}

// opampOf is what the page of all expvars says of the opamp extensions. It also has the command line.
func opampOf(page string) string {
	_, after, _ := strings.Cut(page, `"opamp"`)
	return after
}
