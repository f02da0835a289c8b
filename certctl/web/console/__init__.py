"""The console under ``/console/``: pages for operators, of what the REST API says and does."""
