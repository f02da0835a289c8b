#!/bin/sh
# make acme-rfc-conformance-test: what RFC 8555 asks for, tried with lego v4 against a running server.
#   conformance-lego.sh                                    starts a server of its own, with the twistd that is on the path
#   conformance-lego.sh DIRECTORY_URL ROOT.pem [DOMAIN]    an account in trust mode that may have names below DOMAIN
# Each step is a line that begins with ok or FAILED; the exit status is 1 if one failed.
# Functions are called by step.
# shellcheck disable=SC2317
set -u

work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; wait "$server"; fi 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failed=0
domain=${3:-conformance.internal}

own_server() {
    port=${CERTCTL_SERVER_PORT:-18443}
    export CERTCTL_STATE_DIR="$work/state" CERTCTL_SERVER_PORT="$port" CERTCTL_LOG_FORMAT=text \
        CERTCTL_ACME_SERVER_ENABLED=true CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID=prof-default \
        CERTCTL_ACME_SERVER_DNS01_RESOLVER=127.0.0.1:1 CERTCTL_ACME_SERVER_EGRESS_ALLOW=127.0.0.0/8 \
        CERTCTL_ACME_SERVER_RATE_LIMIT_CONCURRENT_ORDERS=0
    twistd --nodaemon --pidfile= certctl >"$work/server.log" 2>&1 &
    server=$!
    directory="https://127.0.0.1:$port/acme/profile/prof-default/directory"
    root="$work/state/root-ca.pem"
    tries=0
    until curl --silent --fail --cacert "$root" "https://127.0.0.1:$port/ready" >"$work/ready" 2>/dev/null; do
        tries=$((tries + 1))
        if [ $tries -gt 120 ] || ! kill -0 "$server"; then
            echo "the server does not start:" >&2
            cat "$work/server.log" >&2
            exit 1
        fi
        sleep 0.5
    done
}

# lego, as the account of a home of its own
client() {
    home=$1
    shift
    LEGO_CA_CERTIFICATES="$root" lego --server "$directory" --accept-tos --email "$home@example.com" \
        --path "$work/$home" --http --http.port "127.0.0.1:15080" "$@" >"$work/said" 2>&1
}

# step WORDS COMMAND...: the command must succeed
step() {
    words=$1
    shift
    if "$@"; then
        echo "ok      $words"
    else
        echo "FAILED  $words"
        sed 's/^/        /' "$work/said"
        failed=1
    fi
}

# refused PROBLEM COMMAND...: the command must fail, and name the problem
refused() {
    problem=$1
    shift
    if "$@"; then
        echo "(it succeeded)" >>"$work/said"
        return 1
    fi
    grep -q "urn:ietf:params:acme:error:$problem" "$work/said"
}

certificate() { echo "$work/$1/certificates/$2.crt"; }

has_names() {
    file=$1
    shift
    openssl x509 -in "$file" -noout -ext subjectAltName >"$work/said" 2>&1
    for each in "$@"; do
        grep -q "$each" "$work/said" || return 1
    done
}

chain_is_good() { openssl verify -CAfile "$root" -untrusted "${1%.crt}.issuer.crt" "$1" >"$work/said" 2>&1; }

another_after() {
    before=$(openssl x509 -in "$1" -noout -serial)
    shift 1
    "$@" || return 1
    [ "$before" != "$(openssl x509 -in "$(certificate one "one.$domain")" -noout -serial)" ]
}

if [ $# -eq 0 ]; then
    own_server
elif [ $# -ge 2 ]; then
    directory=$1
    root=$2
else
    sed -n '2,5p' "$0" >&2
    exit 2
fi

step "an account and an order of one name (RFC 8555 sections 7.3, 7.4)" client one --domains "one.$domain" run
step "the certificate has the name (section 7.4.2)" has_names "$(certificate one "one.$domain")" "DNS:one.$domain"
step "the chain ends in the root (section 9.1)" chain_is_good "$(certificate one "one.$domain")"
step "the same account again, several names" client one --domains "two.$domain" --domains "three.$domain" run
step "both names are in it" has_names "$(certificate one "two.$domain")" "DNS:two.$domain" "DNS:three.$domain"
for type in ec384 rsa2048 rsa4096; do
    step "a key of type $type" client "key-$type" --key-type "$type" --domains "$type.$domain" run
done
step "renewal makes another certificate" \
    another_after "$(certificate one "one.$domain")" client one --domains "one.$domain" renew --days 4000 --no-random-sleep
step "renewal with the same key" client one --domains "one.$domain" renew --days 4000 --no-random-sleep --reuse-key
step "revocation by the account, with a reason (section 7.6)" client one --domains "one.$domain" revoke --keep --reason 4
step "a second revocation is refused: alreadyRevoked" \
    refused alreadyRevoked client one --domains "one.$domain" revoke --keep --reason 4
step "a name that is none is refused (section 7.4): rejectedIdentifier" refused rejectedIdentifier client two --domains "under_score.$domain" run
if [ -n "$server" ]; then
    CERTCTL_API_KEY=$(cat "$work/state/api-key") certctl profile edit prof-default --set acme_auth_mode=challenge >"$work/said" 2>&1
    step "in challenge mode a name must be proved (section 8): one without an address is not" \
        refused dns client challenge --domains "nowhere.$domain" run
fi

if [ $failed = 0 ]; then echo "conformance: all steps are ok"; else echo "conformance: some steps FAILED"; fi
exit $failed
