"""Source text compiled once: object code comes from the disk cache where it can.

In: a vendor's `Compiler` and source text. Out: object code. Next: `Device.load`.
"""

from tinycore import cache
from tinycore.config import CACHELEVEL, CCACHE
from tinycore.runtime.contract import Compiler

TABLE = "compiled"


def compile_cached(compiler: Compiler, source: str) -> bytes:
    """The object code of `source`, compiled only if no process did before with the same key.

    Raises: CompileError, which is never cached.
    """
    if not (CCACHE.value and CACHELEVEL.value):
        return compiler.compile(source)
    key = f"{compiler.key}\n{source}"
    found = cache.shared().get(TABLE, key)
    if found is None:
        found = compiler.compile(source)
        cache.shared().put(TABLE, key, found)
    return found
