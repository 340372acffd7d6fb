"""What is made of journeys for people: a page, and comments on the packets of the capture.

page           one HTML page of a capture's journeys, with nothing to load from elsewhere
comments       what is said of which packet: `E: MX lookup of example.org at m-root`
annotate       a pcapng file gets such comments, and stays as it is otherwise

page           ladder: who had the message, as a picture      waterfall: where the time went
               levels: root, top level or domain              templates/: how it is laid out
comments       commenting: how they get into blocks           annotation: how they get into the file
visible        text that came over the wire, fit to be shown
"""

from __future__ import annotations

from captures.reports.annotation import annotate
from captures.reports.comments import comments
from captures.reports.page import page

__all__ = ["annotate", "comments", "page"]
