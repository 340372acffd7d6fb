# What services.dns uses of dnslib 0.9: the codec, not its servers or resolvers.
from collections.abc import Sequence
from typing import Any, Self

class DNSError(Exception): ...
class DNSLabelError(Exception): ...
class BufferError(Exception): ...
class BimapError(Exception): ...

class DNSLabel:
    label: tuple[bytes, ...]
    def __init__(self, label: DNSLabel | Sequence[bytes] | bytes | str) -> None: ...

class DNSBuffer:
    data: bytearray
    offset: int
    names: dict[tuple[bytes, ...], int]
    def __init__(self, data: bytes = b"") -> None: ...
    def encode_name(self, name: DNSLabel | Sequence[bytes]) -> None: ...
    def encode_name_nocompress(self, name: DNSLabel | Sequence[bytes]) -> None: ...
    def decode_name(self, last: int = -1) -> DNSLabel: ...
    def append(self, s: bytes) -> None: ...
    def pack(self, fmt: str, *args: int) -> None: ...

class DNSHeader:
    id: int
    bitmap: int
    q: int
    a: int
    auth: int
    ar: int
    qr: int
    opcode: int
    aa: int
    tc: int
    rd: int
    ra: int
    rcode: int

class DNSQuestion:
    qname: DNSLabel
    qtype: int
    qclass: int
    def __init__(self, qname: DNSLabel | None = None, qtype: int = 1, qclass: int = 1) -> None: ...
    def pack(self, buffer: DNSBuffer) -> None: ...

class RD:
    data: Any  # bytes here; each kind of record keeps its own
    def __init__(self, data: bytes = b"") -> None: ...
    @classmethod
    def parse(cls, buffer: DNSBuffer, length: int) -> Self: ...
    def pack(self, buffer: DNSBuffer) -> None: ...

class A(RD):
    data: tuple[int, int, int, int]
    def __init__(self, data: str | tuple[int, ...]) -> None: ...

class AAAA(RD):
    data: tuple[int, ...]
    def __init__(self, data: str | tuple[int, ...]) -> None: ...

class CNAME(RD):
    label: DNSLabel
    def __init__(self, label: DNSLabel | None = None) -> None: ...

class NS(CNAME): ...
class PTR(CNAME): ...
class DNAME(CNAME): ...

class MX(RD):
    label: DNSLabel
    preference: int
    def __init__(self, label: DNSLabel | None = None, preference: int = 10) -> None: ...

class SOA(RD):
    mname: DNSLabel
    rname: DNSLabel
    times: tuple[int, int, int, int, int]
    def __init__(
        self,
        mname: DNSLabel | None = None,
        rname: DNSLabel | None = None,
        times: tuple[int, int, int, int, int] | None = None,
    ) -> None: ...

class SRV(RD):
    priority: int
    weight: int
    port: int
    target: DNSLabel
    def __init__(
        self, priority: int = 0, weight: int = 0, port: int = 0, target: DNSLabel | None = None
    ) -> None: ...

class TXT(RD):
    data: list[bytes]
    def __init__(self, data: str | bytes | Sequence[str | bytes]) -> None: ...

class CAA(RD):
    flags: int
    tag: str
    value: str
    def __init__(self, flags: int, tag: str, value: str) -> None: ...

class RR:
    rname: DNSLabel
    rtype: int
    rclass: int
    ttl: int
    rdata: RD
    edns_rcode: int
    edns_len: int
    def __init__(
        self,
        rname: DNSLabel | None = None,
        rtype: int = 1,
        rclass: int = 1,
        ttl: int = 0,
        rdata: RD | None = None,
    ) -> None: ...
    def pack(self, buffer: DNSBuffer) -> None: ...

class DNSRecord:
    header: DNSHeader
    questions: list[DNSQuestion]
    rr: list[RR]
    auth: list[RR]
    ar: list[RR]
    @classmethod
    def parse(cls, packet: bytes) -> DNSRecord: ...

class Bimap:
    def get(self, k: int) -> str: ...

QTYPE: Bimap
RDMAP: dict[str, type[RD]]
