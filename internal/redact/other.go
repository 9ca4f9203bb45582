// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"encoding"
	"fmt"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"
)

// other copies a value of a type that confmap doesn't make by itself: what a component
// has put into its configuration. It is masked as it would be printed.
func (w *walk) other(v any, from written, p place) any {
	switch v := v.(type) {
	case time.Duration:
		return w.keepUnless(p.denied, v)
	case *yaml.Node:
		w.node(v, p)
		return v
	}
	rv := reflect.ValueOf(v)
	if isNil(rv) {
		return v
	}
	if m, ok := v.(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return w.cut(v)
		}
		if _, ok := v.(time.Time); ok {
			return w.text(v, string(text), from, p) // YAML has a form of its own for it
		}
		return w.string(string(text), from, p)
	}
	switch rv.Kind() {
	case reflect.Pointer:
		p.depth++
		return w.value(rv.Elem().Interface(), from, p)
	case reflect.String:
		return w.text(v, rv.String(), from, p)
	case reflect.Bool:
		return w.keepUnless(p.denied, v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16,
		reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return w.number(v, p)
	case reflect.Slice, reflect.Array:
		return w.anyList(rv, from, p)
	case reflect.Map:
		return w.anyMap(rv, from, p)
	case reflect.Struct:
		return w.structure(v, from, p)
	default:
		return w.cut(v)
	}
}

func isNil(rv reflect.Value) bool {
	switch rv.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return rv.IsNil()
	default:
		return false
	}
}

// text masks text; v, which it is the text of, is returned where nothing changes.
func (w *walk) text(v any, text string, from written, p place) any {
	if out := w.string(text, from, p); out != text {
		return out
	}
	return v
}

func (w *walk) anyList(rv reflect.Value, from written, p place) any {
	if rv.Type().Elem().Kind() == reflect.Uint8 && rv.Kind() == reflect.Slice {
		text := rv.Bytes()
		return w.text(append([]byte{}, text...), string(text), from, p)
	}
	list := make([]any, min(rv.Len(), maxNodes))
	for i := range list {
		list[i] = rv.Index(i).Interface()
	}
	return w.list(list, from.opened(), p)
}

func (w *walk) anyMap(rv reflect.Value, from written, p place) any {
	m := make(map[string]any, rv.Len())
	keys := make(map[string]any, rv.Len())
	text := true
	for it := rv.MapRange(); it.Next(); {
		key := it.Key().Interface()
		_, isString := key.(string)
		text = text && isString
		name := fmt.Sprint(key)
		for _, taken := m[name]; taken; _, taken = m[name] {
			name += "_" // 1 and "1" are two keys
		}
		m[name], keys[name] = it.Value().Interface(), key
	}
	out := w.mapping(m, from.opened(), p)
	if text {
		return out
	}
	mixed := make(map[any]any, len(out))
	for name, v := range out {
		mixed[keys[name]] = v
	}
	return mixed
}

// structure reads a struct as YAML prints it.
func (w *walk) structure(v any, from written, p place) (out any) {
	defer func() {
		if recover() != nil { // what can't be printed can't leave either
			out = w.cut(v)
		}
	}()
	text, err := yaml.Marshal(v)
	if err != nil {
		return w.cut(v)
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return w.cut(v)
	}
	p.depth++
	return w.value(tree, from, p)
}
