INSERT INTO managed_certificate_names (certificate_id, reversed_name)
SELECT DISTINCT m.id, CAST(certctl_reverse(json_extract(n.value, '$.value')) AS BLOB)
FROM managed_certificates m, json_each(m.names) n;
