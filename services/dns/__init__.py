"""Name servers and resolvers.

    names, records          names, types, codes; RRsets and their data as text
    master, zone            master files; zones
    fields, structured      the data of records as text, type by type (pure)
    answers                 what zones say to a question (pure)
    message                 messages on the wire, by hand where it counts and by dnslib elsewhere
    server                  UDP and TCP sockets around a function that answers messages
    identity                what a server says of itself (pure)
    authoritative           a server of zones

    serials, presentation   serial numbers (RFC 1982); records from the wire as lines of master files
    transfer, notify        zones as a whole, given and taken (AXFR); NOTIFY (pure)
    secondary               when a secondary asks its primary, and when it stops serving (pure, the clock is
                            passed in)
    copies, peering         a secondary's copy, its file and its task; questions among servers on the wire
    replication             the zones of one server, and the other servers of these zones
    editing                 changes to master files

    asking, replies         one query, and what its reply means (pure)
    cache, entry            what a resolver remembers of data (pure, the clock is passed in)
    servers, roster         what it knows of servers, and in which order it asks them (pure, likewise)
    knowledge               what the cache means to a resolution: findings and delegations (pure)
    resolution              from the roots down to who knows (sans-I/O)
    special                 names that a resolver answers itself (pure)
    client                  sends one query and waits for its reply
    recursive               a recursive resolver
    showing                 what it tells of its cache
    stub                    what the other services ask with

The sources: RFC 1034, 1035, 1982, 1995, 1996, 2181, 2308, 3597, 4592, 5001, 5452, 5936, 6672, 6891, 7766,
8109, 8482, 8914, 9471, 9520, 9609.
"""
