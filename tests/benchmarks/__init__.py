"""Tests of the benchmarks: the machinery, never the speed."""
