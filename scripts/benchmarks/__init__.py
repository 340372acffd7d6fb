"""Benchmarks: each runs Mailbed and a real peer in one command and compares them (scripts/bench)."""
