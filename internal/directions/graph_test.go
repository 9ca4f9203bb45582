// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package directions

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// imports maps each package of the module, named by its folder below the root ("internal/fleet"), to
// what its product code imports: packages of the module by folder, all others by import path. Test
// files are left out, and files of every build tag and platform are in.
type imports map[string][]string

// readImports parses the import clauses of every Go package below root.
func readImports(root, modulePath string) (imports, error) {
	graph := imports{}
	err := eachGoFile(root, func(dir string, name string) error {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			target, err := importedFrom(spec, modulePath)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !slices.Contains(graph[dir], target) {
				graph[dir] = append(graph[dir], target)
			}
		}
		return nil
	})
	return graph, err
}

// importedFrom is the imported path, as a folder if it is in our module.
func importedFrom(spec *ast.ImportSpec, modulePath string) (string, error) {
	target, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(target, modulePath+"/"), nil
}

// eachGoFile calls visit with the folder (relative to root, with slashes) and the name of each
// product file. Folders that hold other modules, built things or what only tests use are left out.
func eachGoFile(root string, visit func(dir, name string) error) error {
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			if name != root && isOutside(name, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(dir), name)
	})
}

// isOutside tells whether a folder holds no product code of this module.
func isOutside(name, base string) bool {
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" {
		return true
	}
	if base == "metadatatest" {
		return true // mdatagen's help for tests
	}
	ownModules, _ := filepath.Glob(filepath.Join(name, "go.mod"))
	return len(ownModules) > 0 || base == "build"
}

// edge is an import that must not be. Each end is one or more patterns of matches, with spaces between.
type edge struct{ from, to string }

func (e edge) matches(from, to string) bool {
	return matchesAny(e.from, from) && matchesAny(e.to, to)
}

func matchesAny(patterns, pkg string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(pattern string) bool { return matches(pattern, pkg) })
}

// matches tells whether a package is meant by a pattern: a name means itself, "name/..." also all
// below it, and a "*" stands for one element of the path.
func matches(pattern, pkg string) bool {
	if prefix, below := strings.CutSuffix(pattern, "/..."); below {
		depth := strings.Count(prefix, "/") + 1
		elements := strings.Split(pkg, "/")
		return len(elements) >= depth && matches(prefix, strings.Join(elements[:depth], "/"))
	}
	ok, err := path.Match(pattern, pkg)
	return err == nil && ok
}

// sameShell tells whether both packages are of one component, which may import what is its own.
func sameShell(from, to string) bool {
	return matchesAny(shells, to) && slices.Equal(firstTwo(from), firstTwo(to))
}

func firstTwo(pkg string) []string {
	elements := strings.Split(pkg, "/")
	return elements[:min(2, len(elements))]
}

// violations names every way, direct or through other packages of the module, on which a forbidden
// edge is walked.
func violations(graph imports, forbidden map[edge]string) []string {
	var found []string
	for _, from := range slices.Sorted(maps.Keys(graph)) {
		ways := waysFrom(graph, from)
		for _, to := range slices.Sorted(maps.Keys(ways)) {
			for rule, reason := range forbidden {
				if rule.matches(from, to) && !sameShell(from, to) {
					found = append(found, fmt.Sprintf("%s: %s", strings.Join(ways[to], " -> "), reason))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// waysFrom is the shortest chain of imports from one package to each that it reaches. Packages
// outside the module are ends: what they import in turn is their own matter.
func waysFrom(graph imports, from string) map[string][]string {
	ways := map[string][]string{}
	for queue := [][]string{{from}}; len(queue) > 0; queue = queue[1:] {
		way := queue[0]
		for _, next := range graph[way[len(way)-1]] {
			if _, seen := ways[next]; seen || next == from {
				continue
			}
			ways[next] = append(slices.Clone(way), next)
			queue = append(queue, ways[next])
		}
	}
	return ways
}

// impurities names each place below one package's folder that starts a goroutine or asks the clock.
// Time comes into a pure room as a parameter.
func impurities(dir string) ([]string, error) {
	var found []string
	err := eachGoFile(dir, func(sub, name string) error {
		if sub != "." {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if what := impurity(n); what != "" {
				found = append(found, fmt.Sprintf("%s: %s", fset.Position(n.Pos()), what))
			}
			return true
		})
		return nil
	})
	return found, err
}

func impurity(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "starts a goroutine"
	case *ast.SelectorExpr:
		pkg, ok := n.X.(*ast.Ident)
		if ok && pkg.Name == "time" && slices.Contains(clockFunctions, n.Sel.Name) {
			return "asks the clock: time." + n.Sel.Name
		}
	}
	return ""
}

var clockFunctions = []string{
	"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until",
}
