"""Tests of what the RFCs say, by value."""

from hypothesis import settings

# Making an RSA key may take a second; what fails is printed and belongs into a test, not into a directory.
settings.register_profile("certctl", deadline=None, database=None)
settings.load_profile("certctl")
