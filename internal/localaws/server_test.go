// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package localaws

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
)

// A server that waits for its connections when it ends must not wait for those that nobody uses.
func TestStopLetsGoOfConnections(t *testing.T) {
	closed := make(chan struct{}, 1)
	store := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<ListAllMyBucketsResult/>"))
	}))
	store.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	store.Start()
	defer store.Close()
	p, err := start(nil, "sleep", "60")
	require.NoError(t, err)
	s := &Server{process: p, url: store.URL}
	_, err = s.S3().ListBuckets(t.Context(), &s3.ListBucketsInput{})
	require.NoError(t, err)
	require.NoError(t, s.Stop())
	<-closed
}
