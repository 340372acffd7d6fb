"""The errors of the services.

Each message is one line, for the person who asked.

    ServiceError
    └── ConfigError     a configuration that cannot be served: the message names the file and the key
"""

from __future__ import annotations


class ServiceError(Exception):
    """A service cannot do what it was asked to do; the message is one line for the person who asked."""


class ConfigError(ServiceError):
    """The configuration is wrong: the message names the file, the key and what would be right."""
