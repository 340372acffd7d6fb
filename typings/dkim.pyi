# What services.filters and its tests use of dkimpy 1.1.
import logging
from collections.abc import Callable, Sequence

class DKIMException(Exception): ...
class MessageFormatError(DKIMException): ...
class ValidationError(DKIMException): ...

class DKIM:
    headers: list[tuple[bytes, bytes]]
    signature_fields: dict[bytes, bytes]
    def __init__(self, message: bytes | None = None, logger: logging.Logger | None = None) -> None: ...
    def verify(self, idx: int = 0, dnsfunc: Callable[..., bytes | None] = ...) -> bool: ...

class ARC:
    def __init__(self, message: bytes | None = None, logger: logging.Logger | None = None) -> None: ...
    def verify(self, dnsfunc: Callable[..., bytes | None] = ...) -> tuple[bytes | None, list[dict[str, object]], str]: ...

def verify(message: bytes, dnsfunc: Callable[..., bytes | None] = ...) -> bool: ...
def sign(
    message: bytes,
    selector: bytes,
    domain: bytes,
    privkey: bytes,
    canonicalize: tuple[bytes, bytes] = ...,
    signature_algorithm: bytes = ...,
    include_headers: Sequence[bytes] | None = None,
) -> bytes: ...
def arc_sign(
    message: bytes,
    selector: bytes,
    domain: bytes,
    privkey: bytes,
    srv_id: bytes,
    signature_algorithm: bytes = ...,
    include_headers: Sequence[bytes] | None = None,
    timestamp: int | None = None,
    logger: logging.Logger | None = None,
) -> list[bytes]: ...
