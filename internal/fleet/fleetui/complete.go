// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"net/http"
	"strconv"
	"unicode/utf8"
)

// suggestion is a way in which the query may go on: the text before the cursor, and after it.
type suggestion struct {
	ID            string
	Word, Help    string
	Count         int // -1 where it says nothing
	Before, After string
}

// maxSuggestions is how many are shown at a time.
const maxSuggestions = 12

// complete suggests how a query (?q=) goes on at the cursor (?at=, in bytes), as a piece of a page.
func (u *UI) complete(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("q")
	at, err := strconv.Atoi(r.URL.Query().Get("at"))
	if err != nil || at < 0 || at > len(text) || !utf8.ValidString(text) {
		http.Error(w, "at is not a place in q", http.StatusBadRequest)
		return
	}
	var list []suggestion
	for i, s := range u.index.Complete(text, at, u.now()) {
		if i == maxSuggestions {
			break
		}
		list = append(list, suggestion{
			ID: "suggestion-" + strconv.Itoa(i), Word: clean(short(s.Text, 120)), Help: s.Help, Count: s.Count,
			Before: text[:s.Start] + s.Text, After: text[s.End:],
		})
	}
	u.render(w, r, http.StatusOK, "suggestions", page{Body: list})
}
