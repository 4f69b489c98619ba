"""From a scheduled kernel to the text of a program: optimize, lower, render.

In: a kernel tree. Out: a `Plan`, a `Lowered` program, text.
"""
