INSERT INTO managed_certificate_names (certificate_id, reversed_name)
SELECT DISTINCT m.id, convert_to(reverse(n.value ->> 'value'), 'UTF8')
FROM managed_certificates m, jsonb_array_elements(m.names) n;
