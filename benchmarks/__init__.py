"""Measurements of tinycore: each module is one table of docs/performance."""
