// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonCodec reads OTLP JSON: one document, or many one after the other, on a line each or not. It
// takes the documents apart itself and has the Collector's unmarshaler read a batch of resources at
// a time; that one would read the first document and ignore the rest.
type jsonCodec[T any] struct{ kind Kind[T] }

func (jsonCodec[T]) Format() string { return "otlp_json" }

func (c jsonCodec[T]) Decode(r io.Reader, limits Limits, yield func(T) error) error {
	reading := jsonReading[T]{kind: c.kind, in: newScanner(r, limits.DocumentBytes), yield: yield}
	err := reading.documents()
	if flushed := reading.flush(); flushed != nil {
		// What came before an error was not delivered, and that came first.
		return flushed
	}
	return err
}

// jsonReading is one object being read.
type jsonReading[T any] struct {
	kind  Kind[T]
	in    *scanner
	yield func(T) error
	batch pieces
	wrap  []byte
}

func (j *jsonReading[T]) documents() error {
	for {
		c, err := j.in.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case c == 0x1e: // RFC 7464 puts it before each document
			j.in.skip()
			continue
		case c != '{':
			return j.in.unexpected(c, "a document")
		}
		if err := j.document(); err != nil {
			return err
		}
	}
}

// document reads one, and notices if it holds something else than it should.
func (j *jsonReading[T]) document() error {
	found, other, empty := false, "", true
	err := j.in.members(func(name string) error {
		empty = false
		signal := fields[name]
		c, err := j.in.next()
		switch {
		case err != nil:
			return err
		case signal == j.kind.Signal && c == '[':
			found = true
			return j.in.elements(j.resource)
		case signal == j.kind.Signal && c != 'n':
			return j.in.unexpected(c, "the list of "+name)
		case signal != "" && signal != j.kind.Signal && c == '[':
			other = signal
		case signal == j.kind.Signal:
			found = true
		}
		_, err = j.in.value(nil, true)
		return err
	})
	switch {
	case err != nil:
		return err
	case found || empty:
		return nil
	case other != "":
		return fmt.Errorf("%w: %s", ErrWrongSignal, other)
	}
	return fmt.Errorf("%w: there is no %s in a document", ErrUndecodable, j.kind.field)
}

// resource takes one into the batch.
func (j *jsonReading[T]) resource() error {
	j.batch.begin()
	data, err := j.in.value(append(j.batch.data, ','), false)
	j.batch.data = data
	if err != nil {
		j.batch.drop()
		return err
	}
	if j.batch.size() >= batchBytes {
		return j.flush()
	}
	return nil
}

func (j *jsonReading[T]) flush() error {
	return flush(&j.batch, j.decode, func(_ []byte, err error) error {
		return fmt.Errorf("%w: OTLP JSON of %s: %w", ErrUndecodable, j.kind.Signal, err)
	}, j.yield)
}

// decode reads resources, each with a comma before it, as the one document they could be of.
func (j *jsonReading[T]) decode(resources []byte) (T, error) {
	j.wrap = append(j.wrap[:0], `{"`+j.kind.field+`":[`...)
	j.wrap = append(j.wrap, resources[1:]...)
	j.wrap = append(j.wrap, `]}`...)
	batch, err := j.kind.fromJSON(j.wrap)
	if cap(j.wrap) > 4*batchBytes {
		j.wrap = nil
	}
	return batch, err
}

// scanner finds the values of JSON in a stream. It knows brackets and strings; what is between them
// is looked at by who reads the values.
type scanner struct {
	r      io.Reader
	buffer []byte
	window []byte // of buffer: read and not taken
	err    error
	limit  int64
	offset int64 // of the end of window
}

func newScanner(r io.Reader, limit int64) *scanner {
	return &scanner{r: r, buffer: make([]byte, 64<<10), limit: limit}
}

// fill has at least one byte in the window, or an error.
func (s *scanner) fill() error {
	for len(s.window) == 0 {
		if s.err != nil {
			return s.err
		}
		n, err := s.r.Read(s.buffer)
		s.window, s.err = s.buffer[:n], err
		s.offset += int64(n)
	}
	return nil
}

// within is fill where the end would be too early.
func (s *scanner) within() error {
	if err := s.fill(); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends in the middle of a document: %w", ErrUndecodable, io.ErrUnexpectedEOF)
		}
		return err
	}
	return nil
}

func (s *scanner) skip() { s.window = s.window[1:] }

// next is the next byte that is not space; it is not taken.
func (s *scanner) next() (byte, error) {
	for {
		if err := s.fill(); err != nil {
			return 0, err
		}
		for i, c := range s.window {
			switch c {
			case ' ', '\t', '\r', '\n':
			case 0xef, 0xbb, 0xbf: // a byte order mark, which editors put in front
				if s.offset-int64(len(s.window))+int64(i) > 2 {
					s.window = s.window[i:]
					return c, nil
				}
			default:
				s.window = s.window[i:]
				return c, nil
			}
		}
		s.window = nil
	}
}

// inside is next within a document.
func (s *scanner) inside() (byte, error) {
	c, err := s.next()
	if errors.Is(err, io.EOF) {
		err = s.within()
	}
	return c, err
}

func (s *scanner) unexpected(c byte, instead string) error {
	at := s.offset - int64(len(s.window))
	return fmt.Errorf("%w: at byte %d there is %q in place of %s", ErrUndecodable, at, c, instead)
}

// members calls f for each name of the object that is next. f has to take the value.
func (s *scanner) members(f func(name string) error) error {
	s.skip()
	for first := true; ; first = false {
		c, err := s.inside()
		if err != nil {
			return err
		}
		switch {
		case c == '}' && first:
			s.skip()
			return nil
		case c != '"':
			return s.unexpected(c, "a name")
		}
		raw, err := s.text(nil, maxName, false)
		if err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return fmt.Errorf("%w: %w", ErrUndecodable, err)
		}
		if c, err = s.inside(); err != nil {
			return err
		} else if c != ':' {
			return s.unexpected(c, "a colon")
		}
		s.skip()
		if _, err := s.inside(); err != nil {
			return err
		}
		if err := f(name); err != nil {
			return err
		}
		if end, err := s.more('}'); err != nil || end {
			return err
		}
	}
}

// elements calls f for each element of the list that is next. f has to take it.
func (s *scanner) elements(f func() error) error {
	s.skip()
	for first := true; ; first = false {
		c, err := s.inside()
		if err != nil {
			return err
		}
		switch {
		case c == ']' && first:
			s.skip()
			return nil
		case c != '{' && c != 'n':
			return s.unexpected(c, "a resource")
		}
		if err := f(); err != nil {
			return err
		}
		if end, err := s.more(']'); err != nil || end {
			return err
		}
	}
}

// more takes what is between two values: a comma, or the end.
func (s *scanner) more(last byte) (end bool, err error) {
	c, err := s.inside()
	switch {
	case err != nil:
		return false, err
	case c != ',' && c != last:
		return false, s.unexpected(c, "a comma")
	}
	s.skip()
	return c == last, nil
}

// maxName is how long the name of a member may be.
const maxName = 1 << 10

// value appends the value that is next. With skim it is gone through and not kept, however large.
func (s *scanner) value(to []byte, skim bool) ([]byte, error) {
	c, err := s.inside()
	switch {
	case err != nil:
		return to, err
	case c == '{' || c == '[':
		return s.composite(to, skim)
	case c == '"':
		return s.text(to, s.limit, skim)
	}
	for {
		if err := s.within(); err != nil {
			return to, err
		}
		i := bytes.IndexAny(s.window, ",]} \t\r\n")
		if i == 0 && len(to) == 0 && !skim {
			return to, s.unexpected(s.window[0], "a value")
		}
		end := i
		if i < 0 {
			end = len(s.window)
		}
		if to, err = s.take(to, end, skim, s.limit, len(to)); err != nil || i >= 0 {
			return to, err
		}
	}
}

// take moves bytes from the window. began is how long to was when the value began.
func (s *scanner) take(to []byte, n int, skim bool, limit int64, began int) ([]byte, error) {
	if !skim {
		if int64(len(to)-began+n) > limit {
			return to, fmt.Errorf("%w: limits.document_bytes, for one value of it is larger", ErrTooLarge)
		}
		to = append(to, s.window[:n]...)
	}
	s.window = s.window[n:]
	return to, nil
}

// text appends the string that is next, quotes and escapes as they are.
func (s *scanner) text(to []byte, limit int64, skim bool) ([]byte, error) {
	began, state := len(to), inText
	first := true
	for {
		if err := s.within(); err != nil {
			return to, err
		}
		i := 0
		if first {
			i, first = 1, false // the quote that it begins with
		}
		for ; i < len(s.window); i++ {
			if state, i = state.step(s.window, i); state == outside {
				return s.take(to, i+1, skim, limit, began)
			}
		}
		var err error
		if to, err = s.take(to, len(s.window), skim, limit, began); err != nil {
			return to, err
		}
	}
}

// textState is where a scan stands as to strings.
type textState int

const (
	outside textState = iota
	inText
	escaped // the byte before was a backslash within a string
)

// step goes over the byte at i of a string, or to the next that matters.
func (t textState) step(window []byte, i int) (textState, int) {
	if t == escaped {
		return inText, i
	}
	j := i
	for j < len(window) && window[j] != '"' && window[j] != '\\' {
		j++
	}
	switch {
	case j == len(window):
		return inText, j
	case window[j] == '"':
		return outside, j
	}
	return escaped, j
}

// composite appends the object or list that is next.
func (s *scanner) composite(to []byte, skim bool) ([]byte, error) {
	began, depth, objects, state := len(to), 0, 0, outside
	for {
		if err := s.within(); err != nil {
			return to, err
		}
		for i := 0; i < len(s.window); i++ {
			if state != outside {
				state, i = state.step(s.window, i)
				continue
			}
			switch s.window[i] {
			case '"':
				state = inText
			case '{', '[':
				depth++
				objects++
				if !skim && (depth > maxDepth || objects > maxObjects) {
					return to, fmt.Errorf("%w: more than %d values, or more than %d in each other, in one resource",
						ErrTooLarge, maxObjects, maxDepth)
				}
			case '}', ']':
				if depth--; depth == 0 {
					return s.take(to, i+1, skim, s.limit, began)
				}
			}
		}
		var err error
		if to, err = s.take(to, len(s.window), skim, s.limit, began); err != nil {
			return to, err
		}
	}
}
