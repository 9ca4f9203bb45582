// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import "runtime"

// readMessage returns the payload of the next binary message, whole and unmasked.
// It is valid until dropMessage or the next readMessage. One that came in parts, for a
// session that takes it so, stays in message. Control frames on the way are dealt with;
// one that comes before a message is all that is read, and then complete is false.
func (c *conn) readMessage() (payload []byte, complete bool, err error) {
	for fragments := false; ; {
		head, err := c.readHeader()
		if err != nil {
			return nil, false, err
		}
		if head.Op.Control() {
			if err := c.readControl(head); err != nil || !fragments {
				return nil, false, err
			}
			continue
		}
		if err := c.admit(head, fragments); err != nil {
			return nil, false, err
		}
		if head.Fin && !fragments && head.Length <= int64(len(c.in)-maxInHeader) {
			payload, err := c.readInline(head)
			return payload, true, err
		}
		if err := c.readPayload(head); err != nil {
			return nil, false, err
		}
		if head.Fin {
			if !c.inParts() {
				c.server.budget.join(c.message)
			}
			return c.message.b, true, nil
		}
		fragments = true
	}
}

// readHeader reads the header of the next frame.
func (c *conn) readHeader() (frameHeader, error) {
	for want := 2; ; {
		b, err := c.need(want)
		if err != nil {
			return frameHeader{}, err
		}
		head, size, err := parseHeader(b)
		if err != nil {
			return frameHeader{}, closing(closeProtocol, ReasonProtocol, "%w", err)
		}
		if size <= len(b) {
			c.start += size
			return head, nil
		}
		want = size
	}
}

// admit decides on a data frame before any of its payload is read.
func (c *conn) admit(head frameHeader, within bool) error {
	most := c.server.settings.MaxMessageSize
	left := most + messageHeader - int64(c.arrived())
	switch {
	case within != (head.Op == opContinuation):
		return closing(closeProtocol, ReasonProtocol, "%w: fragments out of order", errFrame)
	case head.Op == opText:
		return closing(closeUnsupported, ReasonTextFrame, "text frame: OpAMP messages are binary")
	case head.Length > left:
		return closing(closeTooBig, ReasonTooLarge, "message of more than %d bytes", most)
	default:
		return nil
	}
}

// arrived is how much of the message there is already.
func (c *conn) arrived() int {
	if c.message == nil {
		return 0
	}
	return c.message.len()
}

// inParts says whether the message is handed over in parts.
func (c *conn) inParts() bool {
	if c.message == nil || len(c.message.full) == 0 {
		return false
	}
	_, ok := c.session.(PartsSession)
	return ok
}

// readInline reads a payload that fits into in, where it costs no buffer: most
// messages are heartbeats.
func (c *conn) readInline(head frameHeader) ([]byte, error) {
	b, err := c.need(int(head.Length))
	if err != nil {
		return nil, err
	}
	payload := b[:head.Length]
	unmask(payload, head.Mask)
	c.start += len(payload)
	return payload, nil
}

// readPayload appends the payload of a data frame to message, unmasked. The buffer grows
// with what arrives.
func (c *conn) readPayload(head frameHeader) error {
	if c.message == nil {
		buf, err := c.server.budget.get(c.info.RemoteAddr)
		if err != nil {
			return closing(closeTryAgainLater, ReasonMemory, "%w", err)
		}
		c.message = buf
	}
	mask := head.Mask
	for left := int(head.Length); left > 0; {
		n, err := c.readSome(left, c.toCome(left, head.Fin))
		if err != nil {
			return err
		}
		unmask(c.message.b[len(c.message.b)-n:], mask)
		mask = [4]byte{mask[n&3], mask[(n+1)&3], mask[(n+2)&3], mask[(n+3)&3]} // for what follows
		left -= n
	}
	return nil
}

// toCome is how much of the message may still come, when left bytes of a frame are. Room
// that is made for one frame of many only is made, and copied, for each of them.
func (c *conn) toCome(left int, last bool) int {
	if last {
		return left
	}
	return max(left, int(c.server.settings.MaxMessageSize)+messageHeader-c.arrived())
}

// readSome appends at least one and at most n bytes to message, of which so many are
// still to come.
func (c *conn) readSome(n, toCome int) (int, error) {
	buf := c.message
	if len(buf.b) == partSize {
		runtime.Gosched() // who sends much lets those go first who say little
	}
	if err := c.server.budget.grow(buf, toCome); err != nil {
		return 0, closing(closeTryAgainLater, ReasonMemory, "%w", err)
	}
	room := buf.b[len(buf.b):min(cap(buf.b), len(buf.b)+n)]
	got := copy(room, c.in[c.start:c.end])
	c.start += got
	if got == 0 {
		var err error
		if got, err = c.read(room); err != nil {
			return 0, err
		}
	}
	buf.b = buf.b[:len(buf.b)+got]
	return got, nil
}

// dropMessage releases the buffer of a message that has been dealt with.
func (c *conn) dropMessage() {
	if c.message != nil {
		c.server.budget.put(c.message)
		c.message = nil
	}
}

// readControl reads and answers a control frame, which may come between the
// fragments of a message.
func (c *conn) readControl(head frameHeader) error {
	payload, err := c.readInline(head)
	if err != nil {
		return err
	}
	switch head.Op {
	case opPing:
		return c.control(opPong, payload)
	case opClose:
		return c.answerClose(payload)
	default: // a pong: read has taken note of the sign of life
		return nil
	}
}

// answerClose answers a Close frame with its own code (RFC 6455 section 5.5.1).
func (c *conn) answerClose(payload []byte) error {
	code, err := parseClose(payload)
	if err != nil {
		return closing(closeProtocol, ReasonProtocol, "%w", err)
	}
	c.noteLeft()
	var body []byte
	if code != closeNoStatus {
		body = closePayload(code, "")
	}
	if err := c.control(opClose, body); err != nil {
		return err
	}
	return errPeerClosed
}

// need returns the unread bytes of in, at least n of them, which must not be more
// than fit. They are valid until the next call.
func (c *conn) need(n int) ([]byte, error) {
	for c.end-c.start < n {
		if c.start > 0 {
			c.end = copy(c.in[:], c.in[c.start:c.end])
			c.start = 0
		}
		got, err := c.read(c.in[c.end:])
		if err != nil {
			return nil, err
		}
		c.end += got
	}
	return c.in[c.start:c.end], nil
}
