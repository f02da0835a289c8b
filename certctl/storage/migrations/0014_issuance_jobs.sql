-- oldest code: 14
-- Orders that are processing: what is to be signed for them, under which id their issuer is asked for it, and when next.
-- The certificate will have that id. Older code would let such an order expire under its job.

CREATE TABLE issuance_jobs (
    order_id TEXT PRIMARY KEY REFERENCES acme_orders (id),
    certificate_id TEXT NOT NULL UNIQUE,
    issuer_id TEXT NOT NULL REFERENCES issuers (id),
    template JSONB NOT NULL,
    attempts INTEGER NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    deadline TIMESTAMPTZ NOT NULL,
    last_error TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX issuance_jobs_due ON issuance_jobs (due_at);
