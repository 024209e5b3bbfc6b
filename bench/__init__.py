"""Benchmarks of h3py against a plain C server, side by side: ``python -m bench.run``."""
