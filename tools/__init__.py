"""The house's own tools: each checker is a function from a source tree to the list of its defects.

In: the path of a tree. Out: lines of text that name file, line and what is wrong. Next file:
budget.py, which counts.
"""
