"""What judges mail at a recipient's border: sender authentication, virus engine, spam engine.

Theory of operation. A mail server with a content filter asks about each message that it has taken, before any
next hop: first who sent it (`authentication`, in process), then the virus engine, then the spam engine, which
are processes of their own and speak clamd's and spamd's protocols. What comes out is a `Verdict`.
"""
