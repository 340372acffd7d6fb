"""Mailing lists: who is on one, what comes to its addresses, and what it makes of a post.

    settings    MailingList: what one list is told; its addresses, and those of VERP
    roster      members, requests that wait for a confirmation, bounces; changed by entries alone
    journal     the entries, on disk
    automatic   what no person sent
    posts       a post as members get it: List-* fields, subject tag, footer, From rewritten
    notices     what the list itself writes
    decisions   what comes of a message that came to one of the addresses

RFC 2369 and RFC 2919 (List-* fields), RFC 3834 (answers by machines). Nothing here sends or receives: the
mail server takes the mail in and puts what is decided into its queue (`services.smtp.listagent`).
"""
