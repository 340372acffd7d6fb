"""What the hosts of a lab run: name servers, resolvers, mail servers, filters, lists, mailboxes.

A service knows no plan and no lab. It takes a frozen configuration of its own, read from a TOML file,
and tells what happens through a `Notices`. So each one also runs alone, on any machine:

    python -m services.dns zones/
    python -m services.smtp --config mx.toml
"""
