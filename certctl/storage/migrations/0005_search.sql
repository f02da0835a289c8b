-- oldest code: 5
-- What operators search by. Lists are walked newest first by their ids, which have the time in front; the indexes that
-- begin with the id hold all that is filtered by, so that a walk reads no rows. Older code must not run on this: it
-- would issue certificates whose names are not found.

-- Each name of managed certificates, backwards, so that what ends alike lies together. Octets, which sort the same
-- under every collation.
CREATE TABLE managed_certificate_names (
    certificate_id TEXT NOT NULL REFERENCES managed_certificates (id),
    reversed_name BYTEA NOT NULL,
    PRIMARY KEY (certificate_id, reversed_name)
);
CREATE INDEX managed_certificate_names_backwards ON managed_certificate_names (reversed_name, certificate_id);
CREATE INDEX managed_certificates_ending ON managed_certificates (not_after);
CREATE INDEX managed_certificates_made ON managed_certificates (created_at);

CREATE INDEX certificate_versions_listed
    ON certificate_versions (id, profile_id, account_id, issuer_id, certificate_id, not_after, revoked_at);
CREATE INDEX certificate_versions_of_account ON certificate_versions (account_id, id);
CREATE INDEX certificate_versions_revoked_at ON certificate_versions (revoked_at) WHERE revoked_at IS NOT NULL;

-- Not by all states: each index that has the state is written again whenever it changes.
CREATE INDEX acme_orders_of_profile ON acme_orders (profile_id, id);
CREATE INDEX acme_orders_invalid ON acme_orders (id) WHERE status = 'invalid';
CREATE INDEX acme_authorizations_listed ON acme_authorizations (id, profile_id, account_id, status);
CREATE INDEX acme_authorizations_of_account ON acme_authorizations (account_id, id);
CREATE INDEX acme_authorizations_of_identifier ON acme_authorizations (identifier_value, id);
CREATE INDEX acme_challenges_invalid ON acme_challenges (updated_at) WHERE status = 'invalid';

CREATE INDEX audit_events_of_actor ON audit_events (actor, id);
-- Two of three events are of these actions: they are found by walking.
CREATE INDEX audit_events_of_action ON audit_events (action, id)
    WHERE action NOT IN ('acme_order_created', 'acme_order_finalized');
CREATE INDEX audit_events_of_resource ON audit_events (resource_id, id);
CREATE INDEX audit_events_at ON audit_events (created_at, id);
