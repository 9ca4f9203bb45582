// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opamptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestsIn are the names of the tests of the packages in some directories, each behind the prefix of its directory: a
// catalogue of what is proved holds its own against them.
func TestsIn(t testing.TB, dirs map[string]string) map[string]bool {
	t.Helper()
	return namesIn(t, dirs, "Test")
}

// ProofsIn are the names of [TestsIn], and those of benchmarks and fuzz targets.
func ProofsIn(t testing.TB, dirs map[string]string) map[string]bool {
	t.Helper()
	return namesIn(t, dirs, "Test", "Benchmark", "Fuzz")
}

func namesIn(t testing.TB, dirs map[string]string, kinds ...string) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	for prefix, dir := range dirs {
		for _, name := range functionsIn(t, dir) {
			if slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(name, kind) }) {
				there[prefix+name] = true
			}
		}
	}
	return there
}

// functionsIn are the names of the functions in the tests of the package in dir.
func functionsIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
