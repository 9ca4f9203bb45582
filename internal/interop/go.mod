// Programs of others that tests talk to, in a module of its own: what they depend on is not the
// product's.
module github.com/otel-fleetview/fleetview/internal/interop

go 1.25.0

require github.com/open-telemetry/opamp-go v0.24.0

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/elastic/proxy-connect-dialer-go v0.1.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/stretchr/testify v1.12.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

// The dialer for HTTPS proxies under its former name, which is where all of its code is.
replace github.com/elastic/proxy-connect-dialer-go => github.com/michel-laterman/proxy-connect-dialer-go v0.1.0
