"""Renderers: lowered programs to the text of a compiler.

In: `Lowered`. Out: text. Vendors subclass what is here; llvm.py writes LLVM IR.
"""
