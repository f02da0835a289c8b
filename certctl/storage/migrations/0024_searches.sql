-- oldest code: 2
-- For searches that found little or nothing only after a walk over all there is. Where there are millions of rows,
-- CREATE INDEX CONCURRENTLY beforehand, one by one, spares the servers the wait.

-- By the end of certificates: what a search by it finds comes in that order.
CREATE INDEX IF NOT EXISTS certificate_versions_ending ON certificate_versions (not_after, id);
CREATE INDEX IF NOT EXISTS certificate_versions_of_profile ON certificate_versions (profile_id, id);
CREATE INDEX IF NOT EXISTS certificate_versions_of_issuer ON certificate_versions (issuer_id, id);
CREATE INDEX IF NOT EXISTS certificate_versions_revoked_listed ON certificate_versions (id)
    WHERE revoked_at IS NOT NULL;

-- States in which an authorization is seldom; most are valid, and then expired.
CREATE INDEX IF NOT EXISTS acme_authorizations_ended ON acme_authorizations (status, id)
    WHERE status IN ('invalid', 'deactivated', 'revoked');

CREATE INDEX IF NOT EXISTS acme_accounts_of_status ON acme_accounts (status, id);
CREATE INDEX IF NOT EXISTS acme_accounts_of_thumbprint ON acme_accounts (thumbprint);

-- Most events are about orders: those are found by walking.
CREATE INDEX IF NOT EXISTS audit_events_of_type ON audit_events (resource_type, id)
    WHERE resource_type <> 'acme_order';
