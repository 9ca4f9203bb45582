// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
)

//go:embed assets/app.css assets/app.js assets/htmx.min.js assets/idiomorph-ext.min.js assets/icon.svg
var assetFiles embed.FS

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assets are the files that pages load, by name. An address carries a hash of the content, so a browser keeps a file
// for as long as it is what the page means.
type assets map[string]asset

type asset struct {
	body, zipped []byte
	hash         string
}

func loadAssets() assets {
	out := assets{}
	entries, _ := assetFiles.ReadDir("assets") // an embedded folder can always be read
	for _, e := range entries {
		body, _ := assetFiles.ReadFile(path.Join("assets", e.Name()))
		sum := sha256.Sum256(body)
		out[e.Name()] = asset{body: body, zipped: compress(body, gzip.BestCompression), hash: hex.EncodeToString(sum[:8])}
	}
	return out
}

func (a assets) url(name string) string { return "/assets/" + name + "?v=" + a[name].hash }

func (u *UI) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	file, ok := u.assets[name]
	if !ok {
		u.nothing(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", assetTypes[path.Ext(name)])
	if r.URL.Query().Get("v") == file.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	send(w, r, http.StatusOK, file.body, file.zipped)
}
