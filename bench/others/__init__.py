"""Other servers, for comparison: run only where ``BENCH_OTHERS_PYTHON`` names an interpreter
that has what ``requirements.txt`` lists."""
