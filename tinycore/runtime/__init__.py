"""Everything that touches hardware: backends, devices, buffers, their errors and their registry.

In: entry points of installed packages. Out: open devices, buffers and programs for the engine.
Next: contract.py, what a device package gives; registry.py, how it is found.
"""
