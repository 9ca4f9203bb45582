// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetconfig reads effective configs: which of them are the same, what differs, what is in them and what in
// them is risky.
//
// # When two configs are the same
//
// There are three answers, each coarser than the one before:
//
//   - The hash ([fleet.Config.Hash]) is the same if every byte is.
//   - The variant is the same if nothing differs but order, comments, form, and what has to differ between instances:
//     the values of keys such as service.instance.id and host.name (also in lists of keys and values, as processors
//     have them), UUIDs and long hexadecimal numbers anywhere, the random ends of the names of pods, the host names
//     that clouds make out of addresses, and addresses to listen on but for loopback and all interfaces. Ports stay,
//     and so does where data is sent: who sends elsewhere has another config.
//   - The family is the same if the same signals go from the same types of receivers through the same types of
//     connectors to the same types of exporters. Exporters that only show data (debug, nop) don't count. It is what
//     operators call "the same config" while some agents have an old state of it: an agent has drifted if its variant
//     is not the one of most agents of its family.
//
// # Limits
//
// A config that is no YAML has its bytes as variant and its shape as family. Nesting and the number of nodes are bounded,
// aliases included; what is beyond has no structure. A diff of two texts that differ too much is coarse: one part out,
// one part in.
package fleetconfig
