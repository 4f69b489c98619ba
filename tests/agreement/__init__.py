"""Optimised, NOOPT=1 and REF agree: on random graphs, on the benchmarks, and for each action."""
