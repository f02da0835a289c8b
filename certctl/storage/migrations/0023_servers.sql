-- oldest code: 2
-- The servers on this database: when each was seen, and when it swept.

CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    swept_at TIMESTAMPTZ,
    certificate_ends_at TIMESTAMPTZ
);
