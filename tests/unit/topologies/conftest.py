"""Generated plans take a while to make, and longer on a busy machine: no example is too slow."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("plans", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plans")
