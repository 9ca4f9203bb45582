// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package s3test

import (
	"encoding/xml"
	"net/http"
	"strings"
)

// tagging is the body of requests and answers about tags.
type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	TagSet  struct {
		Tag []tag `xml:"Tag"`
	} `xml:"TagSet"`
}

type tag struct {
	Key   string `xml:"Key"`
	Value string `xml:"Value"`
}

// serveTags keeps the tags of objects, which the store in this process does not know. As S3 does, it
// replaces all that an object has.
func (s *Server) serveTags(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var body tagging
	switch r.Method {
	case http.MethodPut:
		if err := xml.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetTags(key, pairs(body)...)
	case http.MethodGet:
		all := s.tagsOf(key)
		for i := 0; i+1 < len(all); i += 2 {
			body.TagSet.Tag = append(body.TagSet.Tag, tag{Key: all[i], Value: all[i+1]})
		}
		w.Header().Set("Content-Type", "application/xml")
		if err := xml.NewEncoder(w).Encode(body); err != nil {
			return // whoever asked is gone
		}
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func pairs(body tagging) (all []string) {
	for _, t := range body.TagSet.Tag {
		all = append(all, t.Key, t.Value)
	}
	return all
}

// SetTags gives an object the tags of these names and values, in turn, and no others.
func (s *Server) SetTags(key string, pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[key] = pairs
}

func (s *Server) tagsOf(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tags[key]
}

// TagsOf are the tags of an object.
func (s *Server) TagsOf(key string) map[string]string {
	all := map[string]string{}
	tags := s.tagsOf(key)
	for i := 0; i+1 < len(tags); i += 2 {
		all[tags[i]] = tags[i+1]
	}
	return all
}
