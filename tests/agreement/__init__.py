"""Optimised, NOOPT=1 and REF agree: on random graphs, on the benchmarks, and for each action.

graphs.py makes programs from seeds and compares them in each way of ways.py; fired.py says what has
to fire in them, and `python -m tests.agreement` prints how often it did. actions.py takes each
action alone, test_benchmarks.py runs the cases of benchmarks/. AGREE=CL compares another device.
"""
