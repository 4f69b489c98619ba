"""Everything that touches hardware: backends, devices, buffers, their errors and their registry.

In: entry points of installed packages. Out: devices, buffers and programs. Next file: contract.py.
"""
