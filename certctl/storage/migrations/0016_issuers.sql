-- oldest code: 14
-- Several issuers side by side, and one in the place of another. Older code can run beside it: it signs for the
-- first issuer, and refuses for others.

ALTER TABLE issuers ADD COLUMN root BYTEA;
ALTER TABLE issuers ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE issuers ADD COLUMN successor_id TEXT REFERENCES issuers (id);
ALTER TABLE issuers ADD COLUMN switch_at TIMESTAMPTZ;
ALTER TABLE issuers ADD COLUMN switched_at TIMESTAMPTZ;
ALTER TABLE issuers ADD COLUMN renew_by TIMESTAMPTZ;
ALTER TABLE issuers ADD COLUMN retired_at TIMESTAMPTZ;

-- A key that waits for its certificate. It is no issuer yet, so that no profile can name it.
CREATE TABLE issuer_requests (
    id TEXT PRIMARY KEY,
    request BYTEA NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- Other chains for what an issuer signed, by certificates of the same CA under another one.
CREATE TABLE issuer_chains (
    issuer_id TEXT NOT NULL REFERENCES issuers (id),
    sha256 TEXT NOT NULL,
    chain BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (issuer_id, sha256)
);
