"""Mail read over the network: an IMAP server on this host's Maildirs, and a mail program that reads.

Sources: RFC 3501 (IMAP4rev1), RFC 2177 (IDLE), RFC 4315 (UIDPLUS), RFC 2971 (ID), RFC 7888 (LITERAL+).
"""
