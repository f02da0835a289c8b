"""The REST API of operators, under /api (and the same under /api/v1)."""
