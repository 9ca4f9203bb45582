// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

const (
	// readBuffer is what a link reads at a time: hundreds of acknowledgements.
	readBuffer = 32 << 10
	// mostKept is the largest buffer of a link that is used again, in bytes.
	mostKept = 2 << 20
	// mostCopied is the largest message that is copied into a link's buffer. A larger one is
	// written from where it is, and its agent waits.
	mostCopied = 256 << 10
	// closeLimit bounds the WebSocket close handshake with the server.
	closeLimit = 500 * time.Millisecond
)

// How a link ends.
var (
	errSilent = errors.New("server is silent and does not answer a ping")
	errStuck  = errors.New("server does not read")
	errLeft   = errors.New("gateway is leaving")
	errIdle   = errors.New("no agent needs this connection")
)

// closedError is a Close frame of the server's.
type closedError struct {
	code uint16
	text string
}

func (e *closedError) Error() string {
	return fmt.Sprintf("server closed with %d %.200q", e.code, e.text)
}

// linkSettings bound a link. All are greater than 0.
type linkSettings struct {
	maxMessage   int64         // of the server's, in bytes
	maxQueue     int           // bytes that wait to be written; one message may, whatever its size
	pingInterval time.Duration // silence after which the server is pinged; a second one ends the link
	writeTimeout time.Duration
	onMessage    func(l *link, message []byte) // called by the reader; the message is valid during the call
	onWritten    func(waited time.Duration)    // called by the writer after each write: how long the oldest message in it had waited
}

// link is one WebSocket to the server. Whoever has something to send puts frames into a
// buffer; the writer takes all there is at a time, so a busy link makes few writes. One
// large message at a time is lent to the writer, who writes it after what is in the buffer.
type link struct {
	// Fixed at construction.
	set    linkSettings
	conn   io.ReadWriteCloser
	opened time.Time
	slot   *slot         // whose connection it is
	peer   *peer         // whom it serves alone; nil: many
	wake   chan struct{} // size 1: there is something to write
	gone   chan struct{} // closed when it has ended
	work   sync.WaitGroup

	used     atomic.Bool  // a message was put
	idle     atomic.Bool  // it was ended because nobody needs it
	lastRead atomic.Int64 // nanoseconds since opened; what the server has taken of a large message counts as well

	mu     sync.Mutex
	buf    []byte        // guarded by mu: frames to be written
	queued int           // guarded by mu: messages in it
	lent   *loan         // guarded by mu: a large message that waits for the writer, or that it has; nil if there is none
	oldest time.Time     // guarded by mu: when the first of them was put
	room   chan struct{} // guarded by mu: closed when buf has been taken; nil while nobody waits
	sizes  sizes         // guarded by mu: of messages that were put
	err    error         // guarded by mu: why it ended; nil while it has not

	unwritten atomic.Int64 // messages that a write did not bring out; set before gone is closed
}

func newLink(conn io.ReadWriteCloser, s *slot, set linkSettings) *link {
	return &link{
		set: set, conn: conn, opened: time.Now(), slot: s, peer: s.lane.peer,
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
		sizes: sizes{keep: max(suspicion, 3*set.pingInterval)}, // a server that finds it later than that is silent
	}
}

// run serves the link until it ends, and says why it did.
func (l *link) run() error {
	l.work.Go(l.write)
	l.work.Go(l.watch)
	l.end(l.read())
	l.work.Wait()
	return l.cause()
}

// end ends the link. The first reason counts.
func (l *link) end(err error) {
	if l.note(err) {
		_ = l.conn.Close() // whatever waits on it ends; not under mu, since TLS says goodbye first
	}
}

// note keeps the first reason, and says whether this is it.
func (l *link) note(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false
	}
	l.err = err
	close(l.gone)
	return true
}

func (l *link) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// leave says goodbye to the server and ends the link, within closeLimit.
func (l *link) leave() {
	l.put(wsframe.OpClose, wsframe.ClosePayload(wsframe.CloseNormal, ""), false)
	timer := time.NewTimer(closeLimit)
	defer timer.Stop()
	select {
	case <-l.gone: // the server has answered and closed
	case <-timer.C:
		l.end(errLeft)
	}
}

// offer implements carrier. It takes the payload of a frame.
func (l *link) offer(frame []byte) bool {
	if l.put(wsframe.OpBinary, frame, true) {
		l.nudge()
		return true
	}
	return false
}

// carry queues an encoded message, and waits for room if it must: until ctx ends, and
// not longer than so. A large one it sees written.
func (l *link) carry(ctx context.Context, so time.Duration, message body) error {
	if message.len() > mostCopied {
		return l.lend(ctx, so, message)
	}
	room, err := l.putMessage(message.first)
	if room == nil {
		return err
	}
	return l.await(ctx, so, room, func() (<-chan struct{}, error) { return l.putMessage(message.first) })
}

// await waits for room and tries again, until that is of use.
func (l *link) await(ctx context.Context, so time.Duration, room <-chan struct{}, try func() (<-chan struct{}, error)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, so)
	defer cancel()
	for room != nil {
		select {
		case <-room:
		case <-l.gone:
			return l.cause()
		case <-ctx.Done():
			return ctx.Err()
		}
		room, err = try()
	}
	return err
}

// putMessage queues a message. Where there is no room for it, it returns a channel that is
// closed when there may be.
func (l *link) putMessage(message []byte) (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if len(l.buf) > 0 && len(l.buf)+len(message) > l.set.maxQueue {
		return l.roomLocked(), nil
	}
	l.noteLocked(len(message))
	mask := newMask()
	l.buf = wsframe.AppendMaskedHeader(l.buf, wsframe.OpBinary, mask, len(message)+1)
	begin := len(l.buf)
	l.buf = append(append(l.buf, 0), message...) // the header of a message, and the message
	wsframe.Mask(l.buf[begin:], mask)
	l.nudge()
	return nil, nil
}

// roomLocked is closed when there may be room.
func (l *link) roomLocked() <-chan struct{} {
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.room
}

// loan is a large message that its agent lends to the writer.
type loan struct {
	message body
	since   time.Time
	err     error         // set before back is closed
	back    chan struct{} // closed when the writer needs the message no more
}

// lend has the writer write a message from where it is. However long that takes, the message
// is not given back before: its sender waits.
func (l *link) lend(ctx context.Context, so time.Duration, message body) error {
	loan := &loan{message: message, since: time.Now(), back: make(chan struct{})}
	room, err := l.putLoan(loan)
	if room != nil {
		err = l.await(ctx, so, room, func() (<-chan struct{}, error) { return l.putLoan(loan) })
	}
	if err != nil {
		return err
	}
	<-loan.back
	return loan.err
}

// putLoan is putMessage for a large message.
func (l *link) putLoan(loan *loan) (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return nil, l.err
	case l.lent != nil:
		return l.roomLocked(), nil
	}
	l.used.Store(true)
	l.sizes.note(loan.message.len(), time.Now())
	l.lent = loan
	l.nudge()
	return nil, nil
}

// put queues a frame. A bounded one needs room.
func (l *link) put(op wsframe.Opcode, payload []byte, bounded bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || bounded && len(l.buf)+len(payload) > l.set.maxQueue {
		return false
	}
	if op == wsframe.OpBinary {
		l.noteLocked(len(payload))
	}
	l.buf = wsframe.AppendMasked(l.buf, op, newMask(), payload)
	l.nudge()
	return true
}

func (l *link) noteLocked(size int) {
	if l.queued == 0 {
		l.oldest = time.Now()
		l.used.Store(true)
	}
	l.queued++
	l.sizes.note(size, time.Now())
}

// tooLarge is the size of a message that err may mean was too large for the server; 0: there is
// none. A server that closes while much is on the way to it often resets the connection, and
// its Close frame is lost: so a large message just before a reset is taken for the reason as well.
func (l *link) tooLarge(err error) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var closed *closedError
	switch {
	case errors.As(err, &closed) && closed.code == wsframe.CloseTooBig:
		return l.sizes.tooLarge()
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return l.sizes.reset(time.Now())
	default:
		return 0
	}
}

// newMask makes frames unlike what a proxy on the way could take for something else (RFC
// 6455 section 10.3): the bytes in them are an agent's.
func newMask() (mask [4]byte) {
	binary.LittleEndian.PutUint32(mask[:], rand.Uint32()) //nolint:gosec // ChaCha8, seeded by the system
	return mask
}

func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take takes what there is to write, and leaves spare in its place.
func (l *link) take(spare []byte) (buf []byte, messages int, oldest time.Time, lent *loan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	buf, messages, oldest, lent = l.buf, l.queued, l.oldest, l.lent
	l.buf, l.queued = spare[:0], 0
	l.makeRoomLocked()
	return buf, messages, oldest, lent
}

// makeRoomLocked wakes whoever waits for room.
func (l *link) makeRoomLocked() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// giveBack ends a loan.
func (l *link) giveBack(loan *loan, err error) {
	loan.err = err
	close(loan.back)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent = nil
	l.makeRoomLocked()
}

// write writes what is put, until the link ends.
func (l *link) write() {
	stuck := time.AfterFunc(time.Hour, func() { l.end(errStuck) })
	defer stuck.Stop()
	stuck.Stop()
	var spare []byte
	for {
		select {
		case <-l.wake:
		case <-l.gone:
			_, left, _, lent := l.take(nil)
			l.unwritten.Add(int64(left))
			if lent != nil {
				l.giveBack(lent, l.cause())
			}
			return
		}
		buf, messages, oldest, lent := l.take(spare)
		err := l.writeBuf(stuck, buf, messages, oldest)
		if lent != nil {
			if err == nil {
				err = l.writeLoan(stuck, lent)
			}
			l.giveBack(lent, err)
		}
		if err != nil {
			l.end(err)
			continue
		}
		if spare = buf; cap(spare) > mostKept {
			spare = nil
		}
	}
}

// writeBuf writes what was queued.
func (l *link) writeBuf(stuck *time.Timer, buf []byte, messages int, oldest time.Time) error {
	if len(buf) == 0 {
		return nil
	}
	if err := l.writePart(stuck, buf); err != nil {
		l.unwritten.Add(int64(messages))
		return err
	}
	if messages > 0 {
		l.set.onWritten(time.Since(oldest))
	}
	return nil
}

// writeLoan writes a large message as one frame, masked in its place.
func (l *link) writeLoan(stuck *time.Timer, lent *loan) error {
	mask := newMask()
	head := wsframe.AppendMaskedHeader(nil, wsframe.OpBinary, mask, lent.message.len()+1)
	at := 0
	write := func(part []byte) error {
		for begin := 0; begin < len(part); begin += mostCopied { // each with a write's time
			piece := part[begin:min(len(part), begin+mostCopied)]
			wsframe.Mask(piece, [4]byte{mask[at&3], mask[(at+1)&3], mask[(at+2)&3], mask[(at+3)&3]})
			at += len(piece)
			if err := l.writePart(stuck, piece); err != nil {
				return err
			}
			l.alive() // it reads; no ping can be written before the end of the frame
		}
		return nil
	}
	err := l.writePart(stuck, head)
	for _, part := range append([][]byte{{0}, lent.message.first}, lent.message.more...) {
		if err == nil {
			err = write(part)
		}
	}
	if err == nil {
		l.set.onWritten(time.Since(lent.since))
	}
	return err
}

// writePart makes one write, and gives the link up when that takes too long.
func (l *link) writePart(stuck *time.Timer, b []byte) error {
	stuck.Reset(l.set.writeTimeout)
	defer stuck.Stop()
	_, err := l.conn.Write(b)
	return err
}

func (l *link) alive() { l.lastRead.Store(int64(time.Since(l.opened))) }

// watch pings a server that has long said nothing, and ends the link where it goes on:
// a peer that froze leaves no other trace.
func (l *link) watch() {
	timer := time.NewTimer(l.set.pingInterval)
	defer timer.Stop()
	pinged := int64(-1) // what had been read when it was pinged
	for {
		select {
		case <-l.gone:
			return
		case <-timer.C:
		}
		read := l.lastRead.Load()
		idle := time.Since(l.opened) - time.Duration(read)
		switch {
		case idle < l.set.pingInterval:
			timer.Reset(l.set.pingInterval - idle)
		case pinged == read:
			l.end(errSilent)
		default:
			pinged = read
			l.put(wsframe.OpPing, nil, false)
			timer.Reset(max(2*l.set.pingInterval-idle, l.set.pingInterval/2))
		}
	}
}

// read reads messages until the link ends, and says why it did.
func (l *link) read() error {
	r := &linkReader{link: l, in: bufio.NewReaderSize(l.conn, readBuffer)}
	for {
		message, err := r.next()
		if err != nil {
			return err
		}
		if err := l.hand(message); err != nil {
			return err
		}
	}
}

// errFault says that a message met a fault of this process. It costs the connection, not
// the Collector.
var errFault = errors.New("internal fault")

// hand hands a message over.
func (l *link) hand(message []byte) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %.200v", errFault, fault)
		}
	}()
	l.set.onMessage(l, message)
	return nil
}

// linkReader reads the frames of a server. Owned by read.
type linkReader struct {
	link    *link
	in      *bufio.Reader
	message []byte // the payload so far
}

// next is the payload of the next binary message, reassembled. It is valid until the next
// call.
func (r *linkReader) next() ([]byte, error) {
	if cap(r.message) > mostKept {
		r.message = nil
	}
	r.message = r.message[:0]
	for fragments := false; ; {
		head, err := r.header()
		if err != nil {
			return nil, err
		}
		if head.Op.Control() {
			if err := r.control(head); err != nil {
				return nil, err
			}
			continue
		}
		switch {
		case fragments != (head.Op == wsframe.OpContinuation):
			return nil, fmt.Errorf("%w: fragments out of order", wsframe.ErrFrame)
		case head.Op == wsframe.OpText:
			return nil, fmt.Errorf("%w: text, where OpAMP is binary", wsframe.ErrFrame)
		case head.Length > r.link.set.maxMessage+1-int64(len(r.message)):
			return nil, fmt.Errorf("%w: a message of more than %d bytes", errTooLarge, r.link.set.maxMessage)
		}
		if err := r.payload(int(head.Length), head.Fin); err != nil {
			return nil, err
		}
		if head.Fin {
			return r.message, nil
		}
		fragments = true
	}
}

// header reads the header of the next frame.
func (r *linkReader) header() (wsframe.Header, error) {
	for want := 2; ; {
		b, err := r.in.Peek(want)
		if err != nil {
			return wsframe.Header{}, err
		}
		r.link.alive()
		head, size, err := wsframe.ParseHeader(b, wsframe.FromServer)
		if err != nil {
			return wsframe.Header{}, err
		}
		if size <= len(b) {
			_, err = r.in.Discard(size)
			return head, err
		}
		want = size
	}
}

// payload appends n bytes to message, the last ones or not. The buffer grows with what
// arrives, not with what is announced, and not with each of many small frames.
func (r *linkReader) payload(n int, last bool) error {
	for n > 0 {
		if len(r.message) == cap(r.message) {
			most := len(r.message) + n
			if !last {
				most = max(most, int(r.link.set.maxMessage)+1)
			}
			grown := make([]byte, len(r.message), min(most, max(2*cap(r.message), readBuffer)))
			copy(grown, r.message)
			r.message = grown
		}
		room := r.message[len(r.message):min(cap(r.message), len(r.message)+n)]
		got, err := r.in.Read(room)
		r.message = r.message[:len(r.message)+got]
		n -= got
		if err != nil {
			return err
		}
		r.link.alive()
	}
	return nil
}

// control deals with a control frame.
func (r *linkReader) control(head wsframe.Header) error {
	payload := make([]byte, head.Length)
	if _, err := io.ReadFull(r.in, payload); err != nil {
		return err
	}
	switch head.Op {
	case wsframe.OpPing:
		r.link.put(wsframe.OpPong, payload, true)
	case wsframe.OpClose:
		code, err := wsframe.ParseClose(payload)
		if err != nil {
			return err
		}
		text := ""
		if len(payload) > 2 {
			text = string(payload[2:])
		}
		return &closedError{code: code, text: text}
	}
	return nil
}
