"""What is made once for all processes: object code comes from the disk cache where it can.

In: a key, and how to make what belongs to it; or a vendor's `Compiler` and source text. Out: bytes.
Next: `Device.load`.
"""

from collections.abc import Callable

from tinycore import cache
from tinycore.config import CACHELEVEL, CCACHE
from tinycore.runtime.contract import Compiler


def cached(table: str, key: str, make: Callable[[], bytes]) -> bytes:
    """What `make` gave in this process or another for the same key. What raises is not kept."""
    if not (CCACHE.value and CACHELEVEL.value):
        return make()
    found = cache.shared().get(table, key)
    if found is None:
        found = make()
        cache.shared().put(table, key, found)
    return found


def compiler_key(compiler: Compiler) -> str:
    """What the object code depends on besides its source: the compiler's key, the vendor's code."""
    package = type(compiler).__module__.partition(".")[0]
    return f"{compiler.key}|{cache.source_key(package)}"


def compile_cached(compiler: Compiler, source: str) -> bytes:
    """The object code of `source`, compiled only if no process did before with the same key.

    Raises: CompileError, which is never cached.
    """
    key = f"{compiler_key(compiler)}\n{source}"
    return cached("compiled", key, lambda: compiler.compile(source))
