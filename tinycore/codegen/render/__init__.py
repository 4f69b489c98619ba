"""Renderers: lowered programs to the text of a compiler.

Comes in: `Lowered`. Goes out: text. Vendors subclass what is here; llvm.py writes LLVM IR.
"""
