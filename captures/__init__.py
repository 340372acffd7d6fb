"""What crossed the wires: the recorder, its file, and what is read from it.

Importing this package costs nothing: scapy, which takes a second, is imported in `captures.tap` and
`captures.packets` alone, and the recorder imports neither.
"""
