"""From a scheduled kernel to the text of a program: optimize, lower, render.

Comes in: a kernel tree. Goes out: a Plan (optimize), a `Lowered` program (lower), text (render).
"""
