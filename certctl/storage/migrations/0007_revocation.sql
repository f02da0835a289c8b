-- oldest code: 2
-- In which order certificates of an issuer were revoked: 1, 2, 3, ... in the order of the commits, so that whoever has
-- seen a number has seen all below it. Triggers give the numbers, in each engine's own part, whoever revokes.

ALTER TABLE certificate_versions ADD COLUMN revocation_number BIGINT;

UPDATE certificate_versions SET revocation_number = numbered.number FROM (
    SELECT id AS version_id, row_number() OVER (PARTITION BY issuer_id ORDER BY revoked_at, id) AS number
    FROM certificate_versions WHERE revoked_at IS NOT NULL
) AS numbered WHERE numbered.version_id = certificate_versions.id;

CREATE UNIQUE INDEX certificate_versions_revoked ON certificate_versions (issuer_id, revocation_number)
    WHERE revocation_number IS NOT NULL;
