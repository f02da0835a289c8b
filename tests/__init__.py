"""The tests. Those with made-up input are judged by what comes out, not by the time a busy machine takes."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "certctl", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("certctl")
