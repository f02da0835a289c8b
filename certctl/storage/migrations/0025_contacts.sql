-- oldest code: 2
-- Each contact of accounts, backwards, in small letters (of ASCII, which all engines have alike), so that what ends
-- alike lies together: accounts are searched by the end of a contact. An account that older code makes meanwhile is
-- found by its contacts when it next changes them.
CREATE TABLE acme_account_contacts (
    account_id TEXT NOT NULL REFERENCES acme_accounts (id),
    reversed_contact BYTEA NOT NULL,
    PRIMARY KEY (account_id, reversed_contact)
);
CREATE INDEX acme_account_contacts_backwards ON acme_account_contacts (reversed_contact, account_id);
