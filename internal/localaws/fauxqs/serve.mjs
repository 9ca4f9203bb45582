// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Serves SQS and S3 on a free port of the loopback interface (the program that fauxqs brings along
// listens on all interfaces) and prints its URL.

import { buildApp } from "fauxqs";

const app = buildApp({ logger: false });
console.log(await app.listen({ port: 0, host: "127.0.0.1" }));
