// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package measured

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
)

// Settings of [Serve]. All but Addr may be nil.
type Settings struct {
	// Addr is what the one who started this process is told first.
	Addr string
	// Counts adds to [Cost.Counts].
	Counts func() map[string]int64
	// Ask answers words that are the child's own, in a line.
	Ask func(words string) string
}

// Serve is the rest of a child's life: it answers until nobody asks any more.
func Serve(s Settings) {
	fmt.Println(s.Addr)
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		word, rest, _ := strings.Cut(asked.Text(), " ")
		switch word {
		case wordCollect:
			for range 3 { // a stack shrinks by half a collection
				runtime.GC()
			}
			debug.FreeOSMemory()
			fmt.Println(s.cost())
		case wordCount:
			fmt.Println(s.cost())
		case wordProfile:
			fmt.Println(profile(rest))
		case wordEnough:
			pprof.StopCPUProfile()
			fmt.Println(nil)
		default:
			fmt.Println(s.Ask(asked.Text()))
		}
	}
}

func (s Settings) cost() string {
	c := own()
	if s.Counts != nil {
		c.Counts = s.Counts()
	}
	line, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers alone
	}
	return string(line)
}

func profile(path string) error {
	f, err := os.Create(path) //nolint:gosec // of who runs the benchmark
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}
