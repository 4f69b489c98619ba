"""The suite every tinycore device must pass.

In: the name of a device. Out: a verdict for each case; none may skip. Next file: plugin.py, which
teaches pytest the option that names the device.
"""

__version__ = "0.1.0"
