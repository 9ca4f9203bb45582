// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package localaws

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// What every server takes. versitygw insists on the key, fauxqs takes any.
const (
	Region    = "us-east-1"
	AccessKey = "local-access-key"
	SecretKey = "local-secret-key"
)

// The ports that a gateway may get.
const (
	firstPort = 30000
	portCount = 2700
	portTries = 100
)

// readyLimit is how long a server may take to answer once it is started.
const readyLimit = 30 * time.Second

// Server is a running server. Its methods may be called at any time, by any goroutine.
type Server struct {
	process *process
	url     string
	dir     string // removed at the end, if not empty

	transport http.Transport // of this process's clients
}

// Gateway says how a versitygw is started.
type Gateway struct {
	// Tools is the folder that `make localaws` installs into.
	Tools string
	// Webhook gets each event of each bucket as a POST of JSON, if it is not empty. Whoever serves
	// it must do so before, for it is asked at once.
	Webhook string
}

// StartGateway starts a versitygw on a free loopback port, with an empty folder for its files.
func StartGateway(ctx context.Context, g Gateway) (*Server, error) {
	command := filepath.Join(g.Tools, "bin", "versitygw")
	if err := installed(command); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "versitygw-")
	if err != nil {
		return nil, err
	}
	s := &Server{url: "http://" + address, dir: dir}
	files, meta := filepath.Join(dir, "files"), filepath.Join(dir, "meta")
	for _, folder := range []string{files, meta} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return nil, err
		}
	}
	args := []string{"--access", AccessKey, "--secret", SecretKey, "--region", Region, "--port", address, "--quiet"}
	if g.Webhook != "" {
		args = append(args, "--event-webhook-url", g.Webhook)
	}
	args = append(args, "posix", "--sidecar", meta, files)
	s.process, err = start(nil, command, args...)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := s.process.wait(ctx, s.answers); err != nil {
		return nil, fmt.Errorf("%w (%w)", err, s.Stop())
	}
	return s, nil
}

// StartFauxQS starts a fauxqs on a free loopback port, with no queue and no bucket. tools is the
// folder that `make localaws` installs into.
func StartFauxQS(ctx context.Context, tools string) (*Server, error) {
	dir := filepath.Join(tools, "fauxqs")
	script := filepath.Join(dir, "serve.mjs")
	if err := installed(script); err != nil {
		return nil, err
	}
	urls := make(chan string, 1)
	p, err := start(urls, node(dir), script)
	if err != nil {
		return nil, err
	}
	s := &Server{process: p}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := p.wait(ctx, func(context.Context) bool {
		select {
		case s.url = <-urls:
			return s.url != ""
		default:
			return false
		}
	}); err != nil {
		return nil, fmt.Errorf("%w (%w)", err, s.Stop())
	}
	return s, nil
}

func installed(file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%w: install it with `make localaws`", err)
	}
	return nil
}

// node is the Node.js that came with fauxqs, or else the one on the PATH.
func node(dir string) string {
	found, err := filepath.Glob(filepath.Join(dir, "node_modules", "node-*", "bin", "node"))
	if err == nil && len(found) > 0 {
		return found[0]
	}
	if path, err := exec.LookPath("node"); err == nil {
		return path
	}
	return "node"
}

func (s *Server) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

// URL is the server's endpoint, without a path.
func (s *Server) URL() string { return s.url }

// S3 is a client of the server.
func (s *Server) S3() *s3.Client {
	return s3.NewFromConfig(s.config(), func(o *s3.Options) {
		o.UsePathStyle = true
		o.DisableLogOutputChecksumValidationSkipped = true
	})
}

// SQS is a client of the server, which must be a fauxqs.
func (s *Server) SQS() *sqs.Client { return sqs.NewFromConfig(s.config()) }

func (s *Server) config() aws.Config {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: &s.url,
		HTTPClient:   &http.Client{Transport: &s.transport},
		Credentials:  credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
	}
}

// Environment is what a program needs to have as well to reach the server by its URL.
func Environment() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Stop ends the server, removes what it stored and waits for both. Stopping twice is harmless.
func (s *Server) Stop() error {
	s.transport.CloseIdleConnections() // the gateway waits for them
	err := s.process.stop()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // it is below the folder for temporary files
	}
	return err
}

// freeAddress is a loopback address where nobody listens now. It is below the ports that the kernel
// takes for outgoing connections, so that none is taken between now and when the server listens.
func freeAddress(ctx context.Context) (string, error) {
	var err error
	for range portTries {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(portCount))
		var ln net.Listener
		if ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address); err == nil {
			return address, ln.Close()
		}
	}
	return "", err
}
