"""The virus engine: what is malware, and a service that says so in clamd's words.

    scanner                 looks at a message and all that it holds (pure)
    entities                MIME, message/rfc822, uuencode (pure)
    archives, zips, packed  tar; zip; gzip, bzip2, xz (pure)
    signatures, patterns    what is known: hashes and patterns, in files that ClamAV reads too (pure)
    limits                  how much a message may cost (pure, the clock is passed in)
    protocol                clamd's protocol (sans-I/O)
    engine                  the service

`python -m services.filters.virus FILE…` scans files.
"""
