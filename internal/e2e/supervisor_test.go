// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// supervisors are the programs that SUPERVISORS names, contrib's opampsupervisor in one version each.
func supervisors(t *testing.T) []string {
	t.Helper()
	files := strings.Fields(os.Getenv("SUPERVISORS"))
	require.NotEmpty(t, files, "SUPERVISORS names no program; run the tests with: make e2e")
	return files
}

// underEach runs a test of a collector once under each supervisor.
func underEach(t *testing.T, test func(t *testing.T, supervisor string)) {
	t.Helper()
	t.Parallel()
	for _, file := range supervisors(t) {
		t.Run(strings.TrimPrefix(filepath.Base(file), "opampsupervisor-"), func(t *testing.T) {
			t.Parallel()
			test(t, file)
		})
	}
}

const (
	// orphanInterval is how often a supervised collector looks for its supervisor.
	orphanInterval = time.Second
	supervisorYAML = `
server: {endpoint: 'ws://%s/v1/opamp'}
capabilities:
  accepts_remote_config: true
  reports_remote_config: true
  reports_effective_config: true
  reports_health: true
  reports_available_components: true
  reports_own_metrics: false
  reports_heartbeat: true
storage: {directory: '%s'}
agent:
  executable: '%s'
  args: ['--set=service::telemetry::metrics::level=none'] # whose port is the same for all
  bootstrap_timeout: 20s # for a machine that is busy with other tests
  orphan_detection_interval: %s
  use_hup_config_reload: %t
telemetry: {logs: {level: debug}}
`
)

// supervised is a collector below a supervisor, seen by a remote server.
type supervised struct {
	// Fixed at construction.
	program string // the supervisor's
	binary  string // the collector's
	remote  *reference
	dir     string // the supervisor's storage
	config  string // the supervisor's file

	supervisor *collector
	pid        int32 // the collector's, when it was last looked at
	told             // all that the supervisor has told the remote server since it was started
}

// supervise starts a supervisor and waits until its collector has told everything.
func supervise(t *testing.T, program, binary string, hup bool) *supervised {
	t.Helper()
	s := &supervised{program: program, binary: binary, dir: t.TempDir()}
	s.remote = startReference(t,
		protobufs.ServerCapabilities_ServerCapabilities_OffersRemoteConfig,
		protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)
	s.config = writeFile(t, t.TempDir(), "supervisor.yaml",
		fmt.Sprintf(supervisorYAML, s.remote.address, s.dir, binary, orphanInterval, hup))
	t.Cleanup(func() {
		if s.pid != 0 {
			_ = syscall.Kill(int(s.pid), syscall.SIGKILL) // if it is still there
		}
		if log, err := os.ReadFile(filepath.Join(s.dir, "agent.log")); err == nil && t.Failed() {
			t.Logf("the collector's log:\n%s", log)
		}
	})
	s.start(t)
	return s
}

func (s *supervised) start(t *testing.T) {
	t.Helper()
	s.supervisor = startOn(t, s.program, s.config)
	s.told = told{}
	s.await(t, "everything", func() bool { return complete(&s.told) && s.reports(t, "extensions", "opamp", "capabilities") })
	s.pid = s.child(t)
}

// await hears the supervisor until ok says that it is enough.
func (s *supervised) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	began := time.Now()
	s.remote.hear(t, &s.told, func(all *told) bool { return all.AgentToServer != nil && ok() })
	t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
}

// child is the process id of the collector.
func (s *supervised) child(t *testing.T) int32 {
	t.Helper()
	var pid int32
	eventually(t, "the supervisor has one child", func() bool {
		children, err := (&process.Process{Pid: int32(s.supervisor.cmd.Process.Pid)}).Children()
		if err != nil || len(children) != 1 {
			return false
		}
		pid = children[0].Pid
		return true
	})
	return pid
}

// offer has the server offer a configuration, and waits for what the supervisor says of it.
func (s *supervised) offer(t *testing.T, config string, want protobufs.RemoteConfigStatuses) {
	t.Helper()
	hash := sha256.Sum256([]byte(config))
	s.healths = nil
	s.remote.push(t, &protobufs.ServerToAgent{RemoteConfig: &protobufs.AgentRemoteConfig{
		Config: &protobufs.AgentConfigMap{ConfigMap: map[string]*protobufs.AgentConfigObject{
			"": {Body: []byte(config), ContentType: "text/yaml"},
		}},
		ConfigHash: hash[:],
	}})
	s.await(t, want.String(), func() bool {
		status := s.RemoteConfigStatus
		return string(status.GetLastRemoteConfigHash()) == string(hash[:]) &&
			status.GetStatus() != protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLYING
	})
	require.Equal(t, want, s.RemoteConfigStatus.GetStatus(), s.RemoteConfigStatus.GetErrorMessage())
}

// effective is the configuration that was last told.
func (s *supervised) effective(t *testing.T) map[string]any {
	t.Helper()
	var tree map[string]any
	require.NoError(t, yaml.Unmarshal(s.EffectiveConfig.GetConfigMap().GetConfigMap()[""].GetBody(), &tree))
	return tree
}

// reports tells whether there is something at a path of the configuration that was last told.
func (s *supervised) reports(t *testing.T, path ...string) bool {
	t.Helper()
	return at(s.effective(t), path...) != nil
}

// at is what stands at a path of a configuration, nil for nothing.
func at(tree map[string]any, path ...string) any {
	var found any = tree
	for _, key := range path {
		below, _ := found.(map[string]any)
		found = below[key]
	}
	return found
}

// end has the supervisor end, which ends the collector first.
func (s *supervised) end(t *testing.T) {
	t.Helper()
	began := time.Now()
	s.supervisor.signal(t, os.Interrupt)
	select {
	case <-s.supervisor.done:
	case <-time.After(reapLimit):
		require.Fail(t, "the supervisor does not end")
	}
	t.Logf("supervisor and collector ended after %v", time.Since(began).Round(time.Millisecond))
	assert.Equal(t, 0, s.supervisor.cmd.ProcessState.ExitCode(), "exit code of the supervisor")
	assert.False(t, runs(t, s.pid), "the collector has ended too")
}

// runs tells whether a process is there and has not ended. One that nobody waits for stays.
func runs(t *testing.T, pid int32) bool {
	t.Helper()
	exists, err := process.PidExistsWithContext(t.Context(), pid)
	require.NoError(t, err)
	states, err := (&process.Process{Pid: pid}).StatusWithContext(t.Context())
	return exists && (err != nil || !slices.Contains(states, process.Zombie))
}

// hidden is a password that an operator put where the Collector itself does not mask it.
const hidden = "Tr0ub4dor-and-3"

// pipelineNamed is a configuration of one pipeline.
func pipelineNamed(name string) string {
	return fmt.Sprintf(`
receivers: {nop: {}}
processors: {batch: {}}
exporters: {nop: {}, otlp_http: {endpoint: 'http://collector:%s@127.0.0.1:1'}}
service:
  pipelines:
    %s: {receivers: [nop], processors: [batch], exporters: [nop, otlp_http]}
`, hidden, name)
}

// TestUnderASupervisor is what the operator of a supervisor relies on, in the order of a collector's
// life.
func TestUnderASupervisor(t *testing.T) {
	underEach(t, func(t *testing.T, program string) {
		for name, hup := range map[string]bool{"restart": false, "hup": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := supervise(t, program, distribution(t), hup)
				t.Run("identity", s.checkIdentity)
				t.Run("components", s.checkComponents)
				t.Run("config", s.checkConfig)
				s.checkWell(t)

				before := s.pid
				for _, pipeline := range []string{"logs/first", "metrics/second"} {
					s.offer(t, pipelineNamed(pipeline), protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLIED)
					s.pid = s.child(t)
					s.checkRuns(t, pipeline)
				}
				assert.Equal(t, hup, before == s.pid, "the same process")

				s.offer(t, "receivers: {nosuch: {}}\n", protobufs.RemoteConfigStatuses_RemoteConfigStatuses_FAILED)
				s.offer(t, pipelineNamed("traces/third"), protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLIED)
				s.pid = s.child(t)
				s.checkRuns(t, "traces/third")
				s.end(t)
			})
		}
	})
}

// uid is the agent's instance UID in text.
func (s *supervised) uid(t *testing.T) string {
	t.Helper()
	uid, err := opampwire.InstanceUIDFromBytes(s.first.GetInstanceUid())
	require.NoError(t, err)
	return uid.String()
}

// checkIdentity holds that the collector calls itself what the supervisor calls it.
func (s *supervised) checkIdentity(t *testing.T) {
	identity := map[string]string{}
	for _, kv := range s.GetAgentDescription().GetIdentifyingAttributes() {
		identity[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	assert.Equal(t, s.uid(t), identity["service.instance.id"])
	assert.Equal(t, filepath.Base(s.binary), identity["service.name"])
	assert.NotEmpty(t, identity["service.version"])
}

func (s *supervised) checkComponents(t *testing.T) {
	parts := s.GetAvailableComponents()
	assert.Equal(t, componentsHash(parts.GetComponents()), hex.EncodeToString(parts.GetHash()))
	assertListed(t, parts.GetComponents(), components(t, s.binary))
}

// checkConfig holds that what is told is the collector's own view of its configuration.
func (s *supervised) checkConfig(t *testing.T) {
	config := s.effective(t)
	assert.Equal(t, s.uid(t), at(config, "extensions", "opamp", "instance_uid"))
	assert.EqualValues(t, s.supervisor.cmd.Process.Pid, at(config, "extensions", "opamp", "ppid"))
	assert.Equal(t, true, at(config, "extensions", "opamp", "capabilities", "reports_health"), "defaults are filled in")
}

// checkRuns holds that the collector runs this pipeline and no other, and is well.
func (s *supervised) checkRuns(t *testing.T, pipeline string) {
	t.Helper()
	s.await(t, pipeline+" runs", func() bool {
		running, _ := at(s.effective(t), "service", "pipelines").(map[string]any)
		return len(running) == 1 && running[pipeline] != nil && s.GetHealth().GetHealthy()
	})
	assert.Equal(t, "StatusOK", s.GetHealth().GetComponentHealthMap()["pipeline:"+pipeline].GetComponentHealthMap()["receiver:nop"].GetStatus())
	s.checkWell(t)
}

// checkWell holds that the collector is well, in all that is told of it. Before there is a remote
// configuration the supervisor gives it no pipeline or one, as it finds the feature gate for that
// in time or not.
func (s *supervised) checkWell(t *testing.T) {
	t.Helper()
	t.Run("status", func(t *testing.T) {
		assert.Equal(t, "StatusOK", s.GetHealth().GetStatus())
		extension := s.GetHealth().GetComponentHealthMap()["extensions"].GetComponentHealthMap()["extension:opamp"]
		assert.Equal(t, "StatusOK", extension.GetStatus())
	})
	t.Run("start time", func(t *testing.T) { assertOneStart(t, s.GetHealth()) })
	t.Run("steady health", func(t *testing.T) {
		wasWell := false
		for _, well := range s.healths {
			assert.False(t, wasWell && !well, "well and then not: %v", s.healths)
			wasWell = wasWell || well
		}
	})
	t.Run("no secret told", func(t *testing.T) { assert.NotContains(t, s.EffectiveConfig.String(), hidden) })
}

// TestOrphan kills a supervisor, which can then not end its collector. The collector ends by itself,
// and leaves the port to the next supervisor.
func TestOrphan(t *testing.T) {
	underEach(t, func(t *testing.T, program string) {
		s := supervise(t, program, distribution(t), false)
		before := s.first.GetInstanceUid()

		s.supervisor.kill()
		killed := time.Now()
		eventually(t, "the collector ends by itself", func() bool { return !runs(t, s.pid) })
		t.Logf("the collector looks every %v and was gone %v after its supervisor",
			orphanInterval, time.Since(killed).Round(time.Millisecond))

		s.start(t)
		assert.Equal(t, before, s.first.GetInstanceUid(), "the same agent")
		s.checkIdentity(t)
		s.checkWell(t)
		s.end(t)
	})
}

// TestSupervisedPing has a component exchange custom messages with the remote server, through the
// supervisor. The supervisor drops what comes while ten wait in it.
func TestSupervisedPing(t *testing.T) {
	underEach(t, func(t *testing.T, program string) {
		const hellos, pings = 100, 20
		s := supervise(t, program, testDistribution(t), false)
		s.offer(t, fmt.Sprintf(`
receivers: {nop: {}}
processors: {ping: {hellos: %d}}
exporters: {nop: {}}
service: {pipelines: {metrics: {receivers: [nop], processors: [ping], exporters: [nop]}}}
`, hellos), protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLIED)
		s.await(t, "every hello", func() bool { return len(s.customs) >= hellos })
		for i := range hellos {
			s.checkSaid(t, i, "hello", strconv.Itoa(i))
		}
		s.await(t, "the capability", func() bool {
			return slices.Contains(s.GetCustomCapabilities().GetCapabilities(), pingCapability)
		})
		for i := range pings {
			data := strconv.Itoa(i)
			s.remote.push(t, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{
				Capability: pingCapability, Type: "ping", Data: []byte(data),
			}})
			s.await(t, "pong "+data, func() bool { return len(s.customs) > hellos+i })
			s.checkSaid(t, hellos+i, "pong", data)
		}
		s.pid = s.child(t)
		s.end(t)
	})
}

// checkSaid holds what the i-th custom message was.
func (s *supervised) checkSaid(t *testing.T, i int, kind, data string) {
	t.Helper()
	said := s.customs[i]
	require.Equal(t, pingCapability+" "+kind+" "+data, said.GetCapability()+" "+said.GetType()+" "+string(said.GetData()))
}
