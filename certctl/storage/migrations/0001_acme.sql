-- oldest code: 1
-- One text for both engines. SQLite takes the types for affinities and certctl's converters.

CREATE TABLE issuers (
    id TEXT PRIMARY KEY,
    certificate BYTEA NOT NULL,
    chain BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE certificate_profiles (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    issuer_id TEXT NOT NULL REFERENCES issuers (id),
    enabled BOOLEAN NOT NULL,
    acme_auth_mode TEXT NOT NULL CHECK (acme_auth_mode IN ('trust_authenticated', 'challenge')),
    max_ttl_seconds BIGINT NOT NULL CHECK (max_ttl_seconds > 0),
    policy JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE acme_accounts (
    id TEXT PRIMARY KEY,
    profile_id TEXT NOT NULL REFERENCES certificate_profiles (id),
    thumbprint TEXT NOT NULL,
    jwk TEXT NOT NULL,
    contact JSONB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('valid', 'deactivated', 'revoked')),
    terms_agreed BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (profile_id, thumbprint)
);

CREATE TABLE acme_orders (
    id TEXT PRIMARY KEY,
    profile_id TEXT NOT NULL REFERENCES certificate_profiles (id),
    account_id TEXT NOT NULL REFERENCES acme_accounts (id),
    status TEXT NOT NULL CHECK (status IN ('pending', 'ready', 'processing', 'valid', 'invalid')),
    identifiers JSONB NOT NULL,
    not_before TIMESTAMPTZ,
    not_after TIMESTAMPTZ,
    expires_at TIMESTAMPTZ NOT NULL,
    error JSONB,
    certificate_id TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX acme_orders_of_account ON acme_orders (account_id, id);
CREATE INDEX acme_orders_open_of_account ON acme_orders (account_id)
    WHERE status IN ('pending', 'ready', 'processing');
CREATE INDEX acme_orders_open ON acme_orders (expires_at) WHERE status IN ('pending', 'ready', 'processing');

CREATE TABLE acme_authorizations (
    id TEXT PRIMARY KEY,
    profile_id TEXT NOT NULL REFERENCES certificate_profiles (id),
    account_id TEXT NOT NULL REFERENCES acme_accounts (id),
    identifier_type TEXT NOT NULL CHECK (identifier_type IN ('dns', 'ip')),
    identifier_value TEXT NOT NULL,
    wildcard BOOLEAN NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked')),
    proved BOOLEAN NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX acme_authorizations_usable ON acme_authorizations (account_id, identifier_value)
    WHERE status IN ('pending', 'valid');
CREATE INDEX acme_authorizations_open ON acme_authorizations (expires_at) WHERE status IN ('pending', 'valid');

CREATE TABLE acme_order_authorizations (
    order_id TEXT NOT NULL REFERENCES acme_orders (id),
    position INTEGER NOT NULL,
    authorization_id TEXT NOT NULL REFERENCES acme_authorizations (id),
    PRIMARY KEY (order_id, position)
);
CREATE INDEX acme_order_authorizations_reverse ON acme_order_authorizations (authorization_id);

CREATE TABLE acme_challenges (
    id TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL REFERENCES acme_authorizations (id),
    type TEXT NOT NULL CHECK (type IN ('http-01', 'dns-01', 'tls-alpn-01')),
    token TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'valid', 'invalid')),
    validated_at TIMESTAMPTZ,
    error JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX acme_challenges_of_authorization ON acme_challenges (authorization_id);
CREATE INDEX acme_challenges_processing ON acme_challenges (updated_at) WHERE status = 'processing';

CREATE TABLE acme_validation_failures (
    account_id TEXT NOT NULL REFERENCES acme_accounts (id),
    identifier TEXT NOT NULL,
    failures INTEGER NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, identifier)
);
CREATE INDEX acme_validation_failures_old ON acme_validation_failures (updated_at);

CREATE TABLE rate_limits (
    bucket TEXT PRIMARY KEY,
    empty_at BIGINT NOT NULL
);
CREATE INDEX rate_limits_empty ON rate_limits (empty_at);

CREATE TABLE managed_certificates (
    id TEXT PRIMARY KEY,
    profile_id TEXT NOT NULL REFERENCES certificate_profiles (id),
    account_id TEXT NOT NULL REFERENCES acme_accounts (id),
    names JSONB NOT NULL,
    newest_version_id TEXT NOT NULL,
    not_after TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE certificate_versions (
    id TEXT PRIMARY KEY,
    certificate_id TEXT NOT NULL REFERENCES managed_certificates (id),
    order_id TEXT NOT NULL UNIQUE REFERENCES acme_orders (id),
    profile_id TEXT NOT NULL REFERENCES certificate_profiles (id),
    account_id TEXT NOT NULL REFERENCES acme_accounts (id),
    issuer_id TEXT NOT NULL REFERENCES issuers (id),
    serial_number TEXT NOT NULL,
    certificate BYTEA NOT NULL,
    not_before TIMESTAMPTZ NOT NULL,
    not_after TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    revocation_reason INTEGER,
    UNIQUE (serial_number, issuer_id)
);
CREATE INDEX certificate_versions_of_certificate ON certificate_versions (certificate_id);

CREATE TABLE audit_events (
    id $SERIAL PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    details JSONB NOT NULL
);
