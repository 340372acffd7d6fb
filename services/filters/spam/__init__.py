"""Is this message spam? Rules that each look at one thing, and a classifier that has been taught.

Theory of operation. A message is read once (`message`, `markup`, `urls`, `trace`), into an `Examined`. What
DNS knows of its origin is asked in parallel and within a limit (`findings`, `lookups`).
Then every rule is asked for its evidence (`rules`), and the weights of those that have any are added
(`score`): at 5.0 or more it is spam. A classifier that was taught with spam and ham adds its own (`bayes`,
`database`).

    octets ─ message ┬ markup ─ urls ┐
                     ├ trace ────────┼ examined ─ lookups (DNS) ─ rules ─ score ─ report
                     └ results ──────┘                 bayes ──┘

`server` answers in spamd's protocol (`protocol`), so that whoever can ask SpamAssassin can ask this engine.

What stands in the header is the sender's word, but for what servers of ours wrote: Received fields down to
the first client that is not trusted, and Authentication-Results with our own authserv-id.
"""
