// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Runs Elastic's client, unmodified, as `node elastic.mjs URL UID`. It says on its standard output what
// it hears, and shuts down with SIGTERM. UID is 32 hexadecimal digits.

import diagnostics from 'node:diagnostics_channel';
import opamp from '@elastic/opamp-client-node';

const [url, uid] = process.argv.slice(2);
const { AgentCapabilities: can } = opamp;
const client = opamp.createOpAMPClient({
  endpoint: url,
  instanceUid: new Uint8Array(Buffer.from(uid, 'hex')),
  heartbeatIntervalSeconds: 0.2,
  capabilities: can.AgentCapabilities_AcceptsRemoteConfig | can.AgentCapabilities_ReportsRemoteConfig,
  diagEnabled: true,
});

let answers = 0;
diagnostics.subscribe(opamp.DIAG_CH_SEND_SUCCESS, ({ s2a }) => {
  for (const offer of ['remoteConfig', 'connectionSettings', 'packagesAvailable', 'agentIdentification', 'command']) {
    if (s2a[offer]) {
      console.log(`offer of ${offer}`);
    }
  }
  answers++;
  if (answers <= 3) {
    console.log(`answer ${answers}`);
  }
});
diagnostics.subscribe(opamp.DIAG_CH_SEND_FAIL, ({ err }) => console.log(`failed ${err}`));

client.setAgentDescription({
  identifyingAttributes: { 'service.name': 'elastic', 'service.version': '0.5.0' },
  nonIdentifyingAttributes: { 'host.name': 'elastic.example.com', team: 'search' },
});
client.start();
process.on('SIGTERM', async () => {
  await client.shutdown();
  process.exit(0);
});
setTimeout(() => process.exit(1), 600_000); // if nobody ends it
