"""A labelled corpus of mail, made from templates by a seed.

    generate    the corpus: messages of six categories, for training and for testing
    templates   what people, lists, shops and crooks write (`texts/`); for testing others than for training
    wording     how a template becomes a text, with what `stock` has
    composing   how a text becomes a message: mail programs, MIME parts, attachments

What a message is stands nowhere in it: mail programs, identifiers and forms of dates come from one stock for
all categories, with different odds where senders really differ. All names end in `.example` or are the lab's.
"""
