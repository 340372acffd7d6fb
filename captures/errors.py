"""The errors of captures.

CaptureError
├── RecordingFailed     the recorder cannot start: an interface cannot be captured or the file not be made
└── NotACapture         the file is no pcapng, or is damaged other than by being cut short
"""

from __future__ import annotations


class CaptureError(Exception):
    """A capture cannot be made or read; the message is one line for the person who asked."""


class RecordingFailed(CaptureError):
    """The recorder cannot start: the message names the interface or the file, and the reason."""


class NotACapture(CaptureError):
    """The bytes are no pcapng: the message says what is wrong and where."""
