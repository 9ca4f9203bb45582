// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// An agent as somebody writes it who has the specification and no client: `node ws.mjs URL UID`, with
// the package ws as it comes (it offers compression), every message in two fragments, and a field that
// nobody knows yet. It says on its standard output what it hears, and goodbye with SIGTERM. UID is 32
// hexadecimal digits.

import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import WebSocket from 'ws';

const [url, uid] = process.argv.slice(2);
const proto = protobuf.loadSync(fileURLToPath(new URL('opamp.proto', import.meta.url)));
const AgentToServer = proto.lookupType('AgentToServer');
const ServerToAgent = proto.lookupType('ServerToAgent');

const reportFullState = 1;
const reportAvailableComponents = 2;
// ReportsStatus, ReportsEffectiveConfig, ReportsHealth, ReportsHeartbeat, ReportsAvailableComponents.
const capabilities = 0x1 | 0x4 | 0x800 | 0x2000 | 0x4000;
const heartbeatMillis = 500;

const config = {
  'inputs.cpu': { percpu: true },
  'outputs.http': { url: 'https://otel:hush-ws-url@metrics.example.com/write', password: 'hush-ws-password' },
};
// Of which nobody can know where its secrets are.
const template = '[outputs.http]\n  password = "hush-ws-template"\n';

const text = (key, stringValue) => ({ key, value: { stringValue } });

const now = () => protobuf.util.Long.fromString(String(BigInt(Date.now()) * 1_000_000n), true);

function health(children) {
  return { healthy: true, status: 'StatusOK', startTimeUnixNano: now(), statusTimeUnixNano: now(), componentHealthMap: children };
}

function everything() {
  return {
    agentDescription: {
      identifyingAttributes: [text('service.name', 'plain-ws'), text('service.version', '7.1.0')],
      nonIdentifyingAttributes: [
        text('host.name', 'plain-ws.example.com'),
        text('team', 'media'),
        { key: 'cpus', value: { intValue: 8 } },
        { key: 'roles', value: { arrayValue: { values: [{ stringValue: 'edge' }, { boolValue: true }] } } },
      ],
    },
    health: health({ 'input:cpu': health({}), 'output:http': health({}) }),
    effectiveConfig: { configMap: { configMap: {
      'agent.json': { body: Buffer.from(JSON.stringify(config)), contentType: 'application/json' },
      'agent.toml': { body: Buffer.from(template), contentType: 'text/toml' },
    } } },
    customCapabilities: { capabilities: ['com.example.ping'] },
    availableComponents: { hash: Buffer.from([1, 2, 3]) },
    ofALaterVersion: 'which may be ignored',
  };
}

function components() {
  const kind = (name) => ({ subComponentMap: { [name]: { metadata: [text('code.namespace', `example.com/${name}`)] } } });
  return { availableComponents: { hash: Buffer.from([1, 2, 3]), components: { inputs: kind('cpu'), outputs: kind('http') } } };
}

let sequenceNum = 0;
let ws;

function say(what) {
  const message = AgentToServer.encode({ instanceUid: Buffer.from(uid, 'hex'), sequenceNum: sequenceNum++, capabilities, ...what }).finish();
  ws.send(Buffer.from([0]), { binary: true, fin: false }); // the header
  ws.send(message, { binary: true, fin: true });
}

function hear(data) {
  if (data[0] !== 0) {
    console.log('error no header');
    return;
  }
  const message = ServerToAgent.decode(data.subarray(1));
  for (const offer of ['remoteConfig', 'connectionSettings', 'packagesAvailable', 'agentIdentification', 'command']) {
    if (message[offer]) {
      console.log(`offer of ${offer}`);
    }
  }
  if (message.errorResponse) {
    console.log(`error ${message.errorResponse.errorMessage}`);
  }
  if (message.customMessage) {
    console.log(`custom ${Buffer.from(message.customMessage.data).toString()}`);
  }
  const flags = Number(message.flags);
  if (flags & reportFullState) {
    say(everything());
  }
  if (flags & reportAvailableComponents) {
    say(components());
  }
}

function connect() {
  ws = new WebSocket(url);
  ws.on('open', () => {
    console.log('connected');
    say(everything());
  });
  ws.on('message', hear);
  ws.on('error', (err) => console.log(`failed ${err.message}`));
  ws.on('close', () => setTimeout(connect, 100));
}

connect();
setInterval(() => ws.readyState === WebSocket.OPEN && say({}), heartbeatMillis);
process.on('SIGTERM', () => {
  say({ agentDisconnect: {} });
  ws.on('close', () => process.exit(0));
  ws.close();
});
setTimeout(() => process.exit(1), 600_000); // if nobody ends it
