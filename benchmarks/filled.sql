-- A piece of the certificates of 90 days, from %(first)s to %(last)s of %(certificates)s, and what certctl keeps beside
-- each. Every fourth is the first of its names, the others are renewals; one in a hundred was revoked after an hour.

CREATE TEMP TABLE IF NOT EXISTS piece (
    i BIGINT, at TIMESTAMPTZ, account TEXT, name TEXT, names JSONB, managed TEXT, ord TEXT, authz TEXT, chall TEXT, cv TEXT
);
TRUNCATE piece;
INSERT INTO piece
SELECT i, at, account, name, jsonb_build_array(jsonb_build_object('type', 'dns', 'value', name)), 'mc-' || md5(name),
    'acme-ord-' || time || md5(i || 'o'), 'acme-authz-' || time || md5(i || 'a'),
    'acme-chall-' || time || md5(i || 'h'), 'cv-' || time || md5(i || 'c')
FROM (
    SELECT i, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS time,
        'acme-acc-' || lpad(to_hex(mod(i, %(accounts)s)), 44, '0') AS account,
        'host-' || mod(i, %(certificates)s / 4) || '.filled.internal' AS name
    FROM generate_series(%(first)s, %(last)s) i,
        LATERAL (SELECT now() - interval '90 days' * (1 - i / %(certificates)s::float8) AS at) moment
) made;

INSERT INTO acme_orders (id, profile_id, account_id, status, identifiers, expires_at, certificate_id, created_at, updated_at)
SELECT ord, 'prof-default', account, 'valid', names, at + interval '1 day', cv, at, at FROM piece;

INSERT INTO acme_authorizations (id, profile_id, account_id, identifier_type, identifier_value, wildcard, status, proved,
    expires_at, created_at, updated_at)
SELECT authz, 'prof-default', account, 'dns', name, FALSE,
    CASE WHEN at + interval '1 day' < now() THEN 'expired' ELSE 'valid' END, FALSE, at + interval '1 day', at, at
FROM piece;

INSERT INTO acme_order_authorizations SELECT ord, 0, authz FROM piece;

INSERT INTO acme_challenges (id, authorization_id, type, token, status, validated_at, created_at, updated_at)
SELECT chall, authz, 'http-01', substr(md5(ord) || md5(authz), 1, 43), 'valid', at, at, at FROM piece;

INSERT INTO managed_certificates (id, profile_id, account_id, names, newest_version_id, not_after, created_at, updated_at)
SELECT DISTINCT ON (managed) managed, 'prof-default', account, names, cv, at + interval '90 days', at, at
FROM piece ORDER BY managed, i DESC
ON CONFLICT (id) DO UPDATE SET newest_version_id = excluded.newest_version_id, not_after = excluded.not_after;

INSERT INTO managed_certificate_names
SELECT managed, convert_to(reverse(name), 'UTF8') FROM piece ON CONFLICT DO NOTHING;

INSERT INTO certificate_versions (id, certificate_id, order_id, profile_id, account_id, issuer_id, serial_number,
    certificate, not_before, not_after, created_at, revoked_at, revocation_reason, revocation_number)
SELECT cv, managed, ord, 'prof-default', account, issuers.id, substr(md5(cv) || md5(ord), 1, 40), certificate,
    at, at + interval '90 days', at, CASE WHEN mod(i, 100) = 0 THEN at + interval '1 hour' END,
    CASE WHEN mod(i, 100) = 0 THEN 1 END, CASE WHEN mod(i, 100) = 0 THEN i / 100 END
FROM piece, issuers;

INSERT INTO audit_events (created_at, actor, action, resource_type, resource_id, details)
SELECT at, 'acme:' || account,
    (ARRAY['acme_order_created', 'acme_order_finalized', 'acme_challenge_processing', 'acme_challenge_completed',
        'acme_authorization_created'])[n],
    'acme_order', ord,
    jsonb_build_object('profile', 'prof-default', 'mode', 'trust_authenticated', 'rule', 'any name',
        'identifiers', jsonb_build_array(name))
FROM piece, generate_series(1, %(events)s) n ORDER BY i, n;
