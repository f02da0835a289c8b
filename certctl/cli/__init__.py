"""The operator's command ``certctl``."""
