// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/json"
	"net/http"
)

// failure is the body of every answer that is an error.
type failure struct {
	Error failureDetail `json:"error"`
}

type failureDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func answer(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		fail(w, http.StatusInternalServerError, "internal", "the answer can't be written as JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the client is gone if this fails
}

// Refuse answers a request that does not get as far as the API, in the way of the API.
func Refuse(w http.ResponseWriter, status int, code, message string) { fail(w, status, code, message) }

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, failure{failureDetail{Code: code, Message: message}})
}

func badRequest(w http.ResponseWriter, err error) {
	fail(w, http.StatusBadRequest, "bad_request", err.Error())
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "not_found", "there is nothing at this path; see /api/v1/openapi.yaml")
}

func methodNotAllowed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "this can only be read: use GET")
}
