-- oldest code: 2
-- Who is signed in at the console: of each session the digest of its token, and the digest of the key that opened it.

CREATE TABLE console_sessions (
    digest BYTEA PRIMARY KEY,
    key_digest BYTEA NOT NULL,
    began_at TIMESTAMPTZ NOT NULL,
    good_until TIMESTAMPTZ NOT NULL,
    ends_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX console_sessions_of_key ON console_sessions (key_digest);
CREATE INDEX console_sessions_over ON console_sessions (good_until);
