INSERT INTO acme_account_contacts (account_id, reversed_contact)
SELECT DISTINCT a.id, convert_to(
    reverse(translate(n.value, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')), 'UTF8')
FROM acme_accounts a, jsonb_array_elements_text(a.contact) n;
