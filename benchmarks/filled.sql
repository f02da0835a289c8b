-- A piece of the certificates of 90 days, from %(first)s to %(last)s of %(certificates)s, and what certctl keeps beside
-- each. Every fourth is the first of its names, the others are renewals; one in a hundred was revoked after an hour;
-- one in fifty had an order before it that failed, and one in a hundred one that was refused.

CREATE TEMP TABLE IF NOT EXISTS piece (
    i BIGINT, at TIMESTAMPTZ, time TEXT, account TEXT, name TEXT, names JSONB, managed TEXT, ord TEXT, authz TEXT,
    chall TEXT, cv TEXT, replaced TEXT
);
TRUNCATE piece;
INSERT INTO piece
SELECT i, at, time, account, name, jsonb_build_array(jsonb_build_object('type', 'dns', 'value', name)),
    'mc-' || substr(md5(name), 1, 32), 'acme-ord-' || time || md5(i || 'o'), 'acme-authz-' || time || md5(i || 'a'),
    'acme-chall-' || time || md5(i || 'h'), 'cv-' || time || md5(i || 'c'),
    CASE WHEN i > quarter THEN 'cv-' || time_before || md5((i - quarter) || 'c') END
FROM (
    SELECT i, quarter, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS time,
        lpad(to_hex((extract(epoch FROM at - interval '22.5 days') * 1000)::bigint), 12, '0') AS time_before,
        'acme-acc-' || lpad(to_hex(mod(host, %(accounts)s)), 12, '0') || md5(mod(host, %(accounts)s) || 'u') AS account,
        'host-' || host || '.team-' || mod(host, 500) || '.filled.internal' AS name
    FROM generate_series(%(first)s::bigint, %(last)s) i,
        LATERAL (SELECT greatest(%(certificates)s / 4, 1) AS quarter) q, LATERAL (SELECT mod(i, quarter) AS host) h,
        LATERAL (SELECT %(now)s::timestamptz - interval '90 days' * (1 - i / %(certificates)s::float8) AS at) moment
) made;

INSERT INTO acme_orders (id, profile_id, account_id, status, identifiers, expires_at, certificate_id, replaces,
    replaces_id, created_at, updated_at)
SELECT ord, 'prof-default', account, 'valid', names, at + interval '1 day', cv,
    substr(md5(managed), 1, 27) || '.' || substr(md5(replaced), 1, 27), replaced, at, at FROM piece ORDER BY i;

INSERT INTO acme_authorizations (id, profile_id, account_id, identifier_type, identifier_value, wildcard, status, proved,
    expires_at, created_at, updated_at)
SELECT authz, 'prof-default', account, 'dns', name, FALSE,
    CASE WHEN at + interval '1 day' < %(now)s THEN 'expired' ELSE 'valid' END, FALSE, at + interval '1 day', at, at
FROM piece ORDER BY i;

INSERT INTO acme_order_authorizations SELECT ord, 0, authz FROM piece ORDER BY i;

INSERT INTO acme_challenges (id, authorization_id, type, token, status, validated_at, created_at, updated_at)
SELECT chall, authz, 'http-01', substr(md5(ord) || md5(authz), 1, 43), 'valid', at, at, at FROM piece ORDER BY i;

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
FROM piece, issuers ORDER BY i;

-- What came to nothing, a minute before.
CREATE TEMP TABLE IF NOT EXISTS failed (LIKE piece);
TRUNCATE failed;
INSERT INTO failed
SELECT i, at - interval '1 minute', time, account, name, names, NULL, 'acme-ord-' || time || md5(i || 'fo'),
    'acme-authz-' || time || md5(i || 'fa'), 'acme-chall-' || time || md5(i || 'fh')
FROM piece WHERE mod(i, 50) = 0;

INSERT INTO acme_orders (id, profile_id, account_id, status, identifiers, expires_at, error, created_at, updated_at)
SELECT ord, 'prof-default', account, 'invalid', names, at + interval '1 day',
    '{"type": "urn:ietf:params:acme:error:connection", "status": 400, "detail": "nobody listens there"}', at, at
FROM failed ORDER BY i;

INSERT INTO acme_authorizations (id, profile_id, account_id, identifier_type, identifier_value, wildcard, status, proved,
    expires_at, created_at, updated_at)
SELECT authz, 'prof-default', account, 'dns', name, FALSE, 'invalid', FALSE, at + interval '1 day', at, at
FROM failed ORDER BY i;

INSERT INTO acme_order_authorizations SELECT ord, 0, authz FROM failed ORDER BY i;

INSERT INTO acme_challenges (id, authorization_id, type, token, status, error, created_at, updated_at)
SELECT chall, authz, 'http-01', substr(md5(ord) || md5(authz), 1, 43), 'invalid',
    '{"type": "urn:ietf:params:acme:error:connection", "status": 400, "detail": "nobody listens there"}', at, at
FROM failed ORDER BY i;

INSERT INTO audit_events (created_at, actor, action, resource_type, resource_id, details)
SELECT at, actor, action, resource_type, resource_id, details FROM (
    SELECT at, n, 'acme:' || account AS actor,
        (ARRAY['acme_order_created', 'acme_order_finalized', 'acme_challenge_processing', 'acme_challenge_completed',
            'acme_authorization_created'])[n] AS action,
        (ARRAY['acme_order', 'acme_order', 'acme_challenge', 'acme_challenge', 'acme_authorization'])[n] AS resource_type,
        (ARRAY[ord, ord, chall, chall, authz])[n] AS resource_id,
        jsonb_build_object('profile', 'prof-default', 'mode', 'trust_authenticated', 'rule', 'any name',
            'identifiers', jsonb_build_array(name)) AS details
    FROM piece, generate_series(1, %(events)s) n
    UNION ALL
    SELECT at, n, 'acme:' || account,
        (ARRAY['acme_order_created', 'acme_challenge_processing', 'acme_challenge_completed', 'acme_order_failed'])[n],
        (ARRAY['acme_order', 'acme_challenge', 'acme_challenge', 'acme_order'])[n], (ARRAY[ord, chall, chall, ord])[n],
        jsonb_build_object('profile', 'prof-default', 'identifiers', jsonb_build_array(name))
    FROM failed, generate_series(1, 4) n WHERE %(events)s > 0
    UNION ALL
    SELECT at, 0, 'acme:' || account, 'acme_order_refused', 'certificate_profile', 'prof-default',
        jsonb_build_object('identifiers', jsonb_build_array(name), 'unrecorded', 0)
    FROM piece WHERE mod(i, 100) = 1 AND %(events)s > 0
    UNION ALL
    SELECT at, 9, 'api-key:admin', 'certificate_revoked', 'certificate', cv, '{"reason": "keyCompromise"}'
    FROM piece WHERE mod(i, 100) = 0 AND %(events)s > 0
) made ORDER BY at, n;
