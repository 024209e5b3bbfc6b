"""The tests of h3py: ``tests/`` mirrors ``src/h3py/``; ``tests/support/`` is what they share."""
