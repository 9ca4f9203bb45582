// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Interop is opamp-go on either side of the wire, unmodified. It says on its standard output what it
// hears, a line each, and ends with SIGTERM, or after a while by itself.
//
//	interop agent URL UID     an agent that uses opamp-go's client, over WebSocket or plain HTTP
//	interop server ADDRESS    a server that uses opamp-go's server
//
// UID is 32 hexadecimal digits.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// lifetime is when it ends if nobody ends it.
const lifetime = 10 * time.Minute

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, lifetime)
	defer cancel()
	switch {
	case len(args) == 3 && args[0] == "agent":
		return beAgent(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "server":
		return beServer(ctx, args[1])
	}
	return errors.New("usage: interop agent URL UID | interop server ADDRESS")
}
