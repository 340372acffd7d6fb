"""The errors of captures.

CaptureError
├── RecordingFailed     the recorder cannot start: an interface cannot be captured or the file not be made
├── NotACapture         the file is no pcapng, or is damaged other than by being cut short
├── Sealed              a TLS session cannot be opened: the message says why in a sentence
└── Malformed           the octets are no message of their protocol: the message says what is wrong
"""

from __future__ import annotations


class CaptureError(Exception):
    """A capture cannot be made or read; the message is one line for the person who asked."""


class RecordingFailed(CaptureError):
    """The recorder cannot start: the message names the interface or the file, and the reason."""


class NotACapture(CaptureError):
    """The bytes are no pcapng: the message says what is wrong and where."""


class Sealed(CaptureError):
    """A TLS session cannot be opened: the message is the reason, as a sentence."""


class Malformed(CaptureError):
    """The octets are no message of the protocol they should be: the message says what is wrong."""
