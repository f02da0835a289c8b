#!/bin/sh
# Makes the bootstrap certificates in this directory anew: a root whose key is thrown away, and a server certificate for
# the service of the integration test. FOR TESTS ONLY: the server's key is public.
set -eu

cd "$(dirname "$0")"
name=${1:-certctl-test.default.svc.cluster.local}
short=${name%%.*}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/root.key" -out ca.crt -days 7300 \
    -subj "/O=certctl TEST ONLY/CN=certctl TEST ONLY root" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out "$work/server.csr" \
    -subj "/O=certctl TEST ONLY" 2>/dev/null
cat >"$work/extensions" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = critical, DNS:$name, DNS:$short, DNS:$short.default, DNS:$short.default.svc, DNS:localhost, IP:127.0.0.1
END
openssl x509 -req -in "$work/server.csr" -CA ca.crt -CAkey "$work/root.key" -set_serial "0x$(openssl rand -hex 16)" \
    -days 7300 -extfile "$work/extensions" -out server.crt 2>/dev/null
chmod 0644 ca.crt server.crt
chmod 0600 server.key
echo "made for $name: ca.crt, server.crt, server.key"
