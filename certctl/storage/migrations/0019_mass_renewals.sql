-- oldest code: 2
-- Renewals of many certificates at once: which certificates an operator means, until when, and why. What is asked for
-- never changes; a renewal ends once.

CREATE TABLE mass_renewals (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    drill BOOLEAN NOT NULL,
    profile_id TEXT,
    issuer_id TEXT,
    account_id TEXT,
    serials JSONB NOT NULL,
    issued_before TIMESTAMPTZ NOT NULL,
    starts_at TIMESTAMPTZ NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    explanation TEXT NOT NULL,
    explanation_url TEXT,
    created_by TEXT NOT NULL,
    ended_at TIMESTAMPTZ,
    outcome TEXT CHECK (outcome IN ('finished', 'cancelled'))
);
CREATE INDEX mass_renewals_running ON mass_renewals (id) WHERE ended_at IS NULL;

-- The certificate that an order replaces, beside its certID. Orders from before have none.
ALTER TABLE acme_orders ADD COLUMN replaces_id TEXT;
CREATE INDEX acme_orders_replacing_id ON acme_orders (replaces_id) WHERE replaces_id IS NOT NULL;
