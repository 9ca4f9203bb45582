// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package sqs reads the objects that the messages of a queue tell of: S3's own event notifications,
// the same through SNS or EventBridge, and those of stores that are compatible with S3.
//
// [Parse] is pure: the text of a message in, the objects it tells of out. A [Consumer] takes messages
// from one queue, hands each object to whoever reads it, and settles the message by what became of
// its objects: it is deleted when all of them are done, and left to the queue otherwise. While a
// message is in hand the queue is kept from giving it to anybody else, for as long as that takes.
//
// What is left to the queue comes back after its visibility timeout, and goes to the dead-letter
// queue when it has come too often. Objects that were done are not read again then.
package sqs
