-- oldest code: 2
-- What an order replaces (RFC 9773 section 5): the certID, once among the orders that are not invalid.

ALTER TABLE acme_orders ADD COLUMN replaces TEXT;
CREATE UNIQUE INDEX acme_orders_replacing ON acme_orders (replaces)
    WHERE replaces IS NOT NULL AND status <> 'invalid';
