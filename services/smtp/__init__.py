"""Mail transfer: one process is MTA, MSA and MDA as its configuration says.

    mta         the service: configuration in, listeners and queue runner up
    mua         a client that submits a message as a person's mail program does

The standards: RFC 5321 (SMTP), 6409 (submission), 3207 (STARTTLS), 4954 (AUTH), 1870 (SIZE), 6152
(8BITMIME), 3030 (CHUNKING), 6531 (SMTPUTF8), 2034 and 3463 (enhanced status codes), 3461 and 3464 (DSN), 7505
(null MX), 2920 (PIPELINING); of RFC 821 the source routes, where a relay is open.
"""
