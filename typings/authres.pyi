# What the tests use of authres 1.2.
class SPFAuthenticationResult:
    def __init__(self, result: str, smtp_mailfrom: str | None = None) -> None: ...

class DKIMAuthenticationResult:
    def __init__(self, result: str, header_d: str | None = None) -> None: ...

class AuthenticationResultsHeader:
    authserv_id: str
    results: list[AuthenticationResult]
    @classmethod
    def parse(cls, string: str) -> AuthenticationResultsHeader: ...

class AuthenticationResult:
    method: str
    result: str
