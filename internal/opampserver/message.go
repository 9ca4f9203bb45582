// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// messageHeader is the length of the header that precedes a message in a WebSocket
// frame and is no part of it (WebSocket Message Format).
const messageHeader = 1

// maxStack bounds the stack in a log line, in bytes.
const maxStack = 4 << 10

var errFault = errors.New("internal fault")

// decode reads one message. Nothing that is not an OpAMP message of a named agent
// gets past it: the instance_uid is 16 bytes and not zero (AgentToServer.instance_uid).
func decode(data []byte, parse func([]byte, proto.Message) error, msg *protobufs.AgentToServer) (Reason, error) {
	if err := parse(data, msg); errors.Is(err, opampwire.ErrTooLarge) {
		return ReasonTooLarge, err
	} else if err != nil {
		return ReasonMalformed, err
	}
	if _, err := opampwire.InstanceUIDFromBytes(msg.GetInstanceUid()); err != nil {
		return ReasonBadInstanceUID, err
	}
	return "", nil
}

// badRequest is the answer to what is no message. Nothing else may be set beside an
// error but whose it was, if there is no doubt about that: a relay has to know.
func badRequest(err error) *protobufs.ServerToAgent {
	reply := &protobufs.ServerToAgent{ErrorResponse: &protobufs.ServerErrorResponse{
		Type:         protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest,
		ErrorMessage: err.Error(),
	}}
	if bad := new(badMessageOf); errors.As(err, &bad) {
		reply.InstanceUid = bad.uid.Bytes()
	}
	return reply
}

// badMessageOf is what is wrong with a message that can't be read, and yet says whose it is.
type badMessageOf struct {
	error
	uid opampwire.InstanceUID
}

func (e *badMessageOf) Unwrap() error { return e.error }

// attributed adds to err whose data were, if they say it beyond doubt. They are a message, or its frame.
func attributed(data []byte, err error) error {
	m, failed := opampwire.ScanAgentMessage(data)
	if body, unframed := opampwire.Unframe(data); failed != nil && unframed == nil {
		m, failed = opampwire.ScanAgentMessage(body)
	}
	if failed != nil {
		return err
	}
	return &badMessageOf{error: err, uid: m.UID}
}

// heed decodes one message and asks the Handler. decoded is called once the data are
// not needed any more. What a message decodes to may take a hundred times its size, so
// those that are not small are dealt with a few at a time.
func (s *Server) heed(c ConnInfo, data []byte, parse func([]byte, proto.Message) error, decoded func(),
) (*protobufs.ServerToAgent, Reason, error) {
	if len(data) > smallMessage { // it is all here, so whoever holds a slot waits for no peer
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-s.ctx.Done():
			return nil, ReasonShutdown, errShuttingDown
		}
	}
	msg := new(protobufs.AgentToServer)
	reason, err := decode(data, parse, msg)
	if err != nil {
		err = attributed(data, err)
	}
	decoded() // decoding has copied what it kept
	if err != nil {
		return nil, reason, err
	}
	return s.reply(c, msg), "", nil
}

// reply asks the Handler.
func (s *Server) reply(c ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	if reply := s.handler.OnMessage(s.ctx, c, msg); reply != nil {
		return reply
	}
	return &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid()} // every message is answered
}

// sendable says whether a message of so many bytes may be sent (Message Size Limits).
func (s *Server) sendable(size int) error {
	if int64(size) > s.settings.MaxMessageSize {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrMessageTooLarge, size, s.settings.MaxMessageSize)
	}
	return nil
}

// contain is deferred by what serves a peer: it turns a panic into the end of that
// peer.
func (s *Server) contain(peer string, err *error) {
	fault := recover()
	if fault == nil {
		return
	}
	stack := debug.Stack()
	s.ledger.note(ReasonPanic, peer, fmt.Errorf("%w: %.200v", errFault, fault),
		zap.ByteString("stack", stack[:min(len(stack), maxStack)]))
	*err = &closeError{code: closeInternalError, err: errFault} // counted already
}

// closed tells the Handler, or the session, that a WebSocket has ended.
func (s *Server) closed(c *conn) {
	var err error
	defer s.contain(c.info.RemoteAddr, &err)
	if c.session != nil {
		c.session.Closed()
		return
	}
	s.handler.OnClose(c.info)
}
