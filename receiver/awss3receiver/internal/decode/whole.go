// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"errors"
	"fmt"
	"io"
	"reflect"
)

// wholeCodec reads with an extension that wants an object in one piece.
type wholeCodec[T any] struct {
	name      string
	unmarshal func([]byte) (T, error)
}

func (c wholeCodec[T]) Format() string { return c.name }

func (c wholeCodec[T]) Decode(r io.Reader, limits Limits, yield func(T) error) error {
	data, err := io.ReadAll(io.LimitReader(r, limits.DocumentBytes+1))
	switch {
	case err != nil:
		return err
	case int64(len(data)) > limits.DocumentBytes:
		return fmt.Errorf("%w: limits.document_bytes, for encoding %q reads an object in one piece", ErrTooLarge, c.name)
	}
	batch, err := c.unmarshal(data)
	if err != nil {
		return fmt.Errorf("%w: encoding %q: %w", ErrUndecodable, c.name, err)
	}
	return yield(batch)
}

// streamCodec reads with an extension that reads by itself and gives a batch at a time.
type streamCodec[T any] struct {
	name string
	open func(io.Reader) (func() (T, error), error)
}

func (c streamCodec[T]) Format() string { return c.name }

func (c streamCodec[T]) Decode(r io.Reader, _ Limits, yield func(T) error) error {
	source := &remembering{r: r}
	next, err := c.open(source)
	for err == nil {
		var batch T
		if batch, err = next(); err == nil {
			if err := yield(batch); err != nil {
				return err
			}
		}
	}
	switch {
	case source.err != nil:
		return source.err // the extension may have put it in its own words
	case errors.Is(err, io.EOF):
		return nil
	}
	return fmt.Errorf("%w: encoding %q: %w", ErrUndecodable, c.name, err)
}

// remembering knows why reading ended, other than at the end.
type remembering struct {
	r   io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// newStreamCodec looks at an extension for a method like
//
//	NewLogsDecoder(r io.Reader, options ...Option) (Decoder, error)
//
// whose Decoder has DecodeLogs() (plog.Logs, error). The types of options and decoders are of
// modules that come in as many versions as there are distributions, and Go would have them
// identical. So the method is called by name, with a reader and no options.
func newStreamCodec[T any](kind Kind[T], name string, extension any) (Codec[T], bool) {
	if extension == nil {
		return nil, false
	}
	method := reflect.ValueOf(extension).MethodByName(kind.newDecoder)
	if !method.IsValid() || !opensDecoder(kind, method.Type()) {
		return nil, false
	}
	open := func(r io.Reader) (func() (T, error), error) {
		out := method.Call([]reflect.Value{reflect.ValueOf(&r).Elem()})
		if err, _ := out[1].Interface().(error); err != nil {
			return nil, err
		}
		decoder := out[0].Interface()
		if decoder == nil {
			return nil, errors.New("it gave no decoder")
		}
		return kind.next(decoder), nil
	}
	return streamCodec[T]{name, open}, true
}

// opensDecoder reports whether a method can be called with a reader and gives a decoder of the kind.
func opensDecoder[T any](kind Kind[T], method reflect.Type) bool {
	optional := method.NumIn() == 2 && method.IsVariadic()
	return (method.NumIn() == 1 || optional) && method.In(0) == reflect.TypeFor[io.Reader]() &&
		method.NumOut() == 2 && method.Out(0).Implements(kind.decoderType) && method.Out(1) == reflect.TypeFor[error]()
}
