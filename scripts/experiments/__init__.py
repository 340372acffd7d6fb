"""Experiments: each is a program on top of `mailbed.Lab`, run with `python -m scripts.experiments.NAME`."""
