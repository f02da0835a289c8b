"""Measurements of certctl and other ACME servers: what a certificate costs, and how long a client waits."""
