"""The ACME resources (RFC 8555 section 7.1): one route table, one file for each resource."""
