# What services.filters and its tests use of authheaders 0.16.
from collections.abc import Callable

def dmarc_per_from(
    from_domain: str,
    spf_result: object = None,
    dkim_result: object = None,
    dnsfunc: Callable[[str], str | None] | None = None,
) -> tuple[str, str, str, str]: ...
