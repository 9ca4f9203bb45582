// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"errors"
	"net/http"
	"slices"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// askPart is the button that asks a collector for the progress of its replays, and when it was last used.
type askPart struct {
	URL     string
	Asked   moment
	Waiting bool   // the question waits for the collector's poll
	Until   string // and until when
}

// newAskPart is nil where a question would lead nowhere.
func (u *UI) newAskPart(a *fleet.Agent, announced bool) *askPart {
	if u.settings.Sender == nil || !announced || !a.Present() {
		return nil
	}
	if len(a.Ingests) > 0 && !slices.ContainsFunc(a.Ingests, func(in *fleet.Ingest) bool { return in.Detailed }) {
		return nil // contrib's receiver takes no questions
	}
	out := &askPart{URL: "/agents/" + a.UID.String() + "/report"}
	if c := a.Channel(ingestprogress.Capability); c != nil {
		i := slices.IndexFunc(c.Last, func(m *fleet.Message) bool {
			return m.Type == ingestprogress.TypeReport && m.Fate == fleet.MessageDelivered
		})
		if i >= 0 {
			out.Asked = ago(c.Last[i].At, u.now())
		}
	}
	for _, l := range a.Mail {
		if l.Type == ingestprogress.TypeReport && l.Capability == ingestprogress.Capability {
			out.Waiting, out.Until = true, l.Expires.UTC().Format("15:04:05 UTC")
			out.Asked = ago(l.At, u.now())
		}
	}
	return out
}

// answers to a question that could not be asked, by what is in the address of the page that says so.
var answers = []struct {
	err  error
	word string
	text string
}{
	{nil, "sent", ""},
	{fleet.ErrNotConnected, "not-connected", "The collector is not connected, so it can't be asked."},
	{fleet.ErrNotAnnounced, "not-announced", "The collector does not take this question any more."},
	{fleet.ErrTooManyPosts, "too-often", "It was asked a moment ago. Wait a little before you ask again."},
	{fleet.ErrMailboxFull, "mailbox-full", "Too many messages wait for the collector's next polls already."},
	{fleetsend.ErrBusy, "busy", "The collector reads slower than it is sent to. Try again in a while."},
}

// ask asks a collector to tell the progress of its replays now. It works without a script: the answer leads back.
func (u *UI) ask(w http.ResponseWriter, r *http.Request) {
	if err := u.settings.MaySend(r); err != nil {
		u.render(w, r, http.StatusForbidden, "missing.html", page{
			Title: "Not permitted", Body: missing{Heading: "This may not be asked from here", Text: err.Error() + "."},
		})
		return
	}
	uid, err := opampwire.ParseInstanceUID(r.PathValue("uid"))
	if err != nil {
		u.unknownAgent(w, r)
		return
	}
	_, err = u.settings.Sender.Send(uid, fleet.Posting{
		Capability: ingestprogress.Capability, Type: ingestprogress.TypeReport,
	})
	if errors.Is(err, fleet.ErrUnknownAgent) {
		u.unknownAgent(w, r)
		return
	}
	for _, a := range answers {
		if (err == nil && a.err == nil) || (a.err != nil && errors.Is(err, a.err)) {
			there := "/agents/" + uid.String() + "?asked=" + a.word + "#ingests"
			http.Redirect(w, r, there, http.StatusSeeOther) //nolint:gosec // a path of ours: the UID is parsed and written anew
			return
		}
	}
	http.Error(w, "the question can't be sent", http.StatusInternalServerError)
}

// answerText says what the address says became of a question.
func answerText(word string) string {
	for _, a := range answers {
		if a.word == word {
			return a.text
		}
	}
	return ""
}
