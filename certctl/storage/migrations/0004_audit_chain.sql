-- oldest code: 2
-- What makes the audit trail tamper-evident: batches of events, each with the hash of the one before, and signatures
-- over their ends. That the three tables are append-only is in each engine's own part of this migration.

CREATE TABLE audit_batches (
    id BIGINT PRIMARY KEY CHECK (id > 0),
    created_at TIMESTAMPTZ NOT NULL,
    ranges JSONB NOT NULL,
    last_event_id BIGINT NOT NULL,
    digests BYTEA NOT NULL,
    previous BYTEA NOT NULL,
    hash BYTEA NOT NULL
);

CREATE TABLE audit_checkpoints (
    batch_id BIGINT NOT NULL REFERENCES audit_batches (id),
    hash BYTEA NOT NULL,
    last_event_id BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    public_key BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    PRIMARY KEY (batch_id, public_key)
);
