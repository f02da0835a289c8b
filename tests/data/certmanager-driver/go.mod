module certctl.test/certmanager-driver

go 1.22.0

// What cert-manager v1.15.0 builds on.
require golang.org/x/crypto v0.23.0
