-- oldest code: 2
-- When this database was put back from a backup: what is published again with a number has a higher one since then.

CREATE TABLE restores (
    restored_at TIMESTAMPTZ PRIMARY KEY
);
