"""Name servers and resolvers.

    names, records          names, types, codes; RRsets and their data as text
    master, zone            master files; zones
    answers                 what zones say to a question (pure)
    message                 messages on the wire, by hand where it counts and by dnslib elsewhere
    server                  UDP and TCP sockets around a function that answers messages
    authoritative           a server of zones

    asking, replies         one query, and what its reply means (pure)
    cache, servers, roster  what a resolver remembers of data and of servers (pure, the clock is passed in)
    resolution              from the roots down to who knows (sans-I/O)
    client                  sends one query and waits for its reply
    recursive               a recursive resolver
    stub                    what the other services ask with

The sources: RFC 1034, 1035, 2181, 2308, 4592, 5452, 6891, 7766, 8109, 9471.
"""
