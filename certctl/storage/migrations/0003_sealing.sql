-- oldest code: 2
-- Which secret sealed what this database holds sealed: the servers on it must all have the same one.

CREATE TABLE sealing (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
