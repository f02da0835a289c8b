INSERT INTO acme_account_contacts (account_id, reversed_contact)
SELECT DISTINCT a.id, CAST(certctl_reverse(lower(n.value)) AS BLOB)
FROM acme_accounts a, json_each(a.contact) n;
