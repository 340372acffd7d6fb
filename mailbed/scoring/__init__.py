"""How well a content filter judges: a labelled corpus goes through a lab, once with each spam engine.

    trial     a lab whose filter is taught and then gets the corpus's testing messages, each on its own way
    outcome   what the filter said of each, from the lab's events
    rates     false positives and false negatives by category, and the rules behind them
    picture   the same as a page

What a message is comes from the corpus, what the filter did from its events; the filter knows nothing of the
former.
"""
