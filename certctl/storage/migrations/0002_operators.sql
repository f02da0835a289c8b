-- oldest code: 2
-- What operators add: API keys, external account bindings, and what they change of profiles and accounts.

ALTER TABLE certificate_profiles ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE certificate_profiles ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE certificate_profiles ADD COLUMN archived_at TIMESTAMPTZ;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('read-only', 'operator', 'admin')),
    digest BYTEA NOT NULL UNIQUE,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);
CREATE INDEX api_keys_of_name ON api_keys (name);

CREATE TABLE eab_keys (
    id TEXT PRIMARY KEY,
    profile_id TEXT NOT NULL REFERENCES certificate_profiles (id),
    name TEXT NOT NULL,
    sealed_key BYTEA NOT NULL,
    single_use BOOLEAN NOT NULL,
    policy JSONB NOT NULL,
    uses BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);
CREATE INDEX eab_keys_of_profile ON eab_keys (profile_id, id);

ALTER TABLE acme_accounts ADD COLUMN eab_key_id TEXT REFERENCES eab_keys (id);
ALTER TABLE acme_accounts ADD COLUMN policy JSONB NOT NULL DEFAULT '{}';
ALTER TABLE acme_accounts ADD COLUMN paused_at TIMESTAMPTZ;
CREATE INDEX acme_accounts_of_eab_key ON acme_accounts (eab_key_id) WHERE eab_key_id IS NOT NULL;
