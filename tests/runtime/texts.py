"""Messages as patterns for `pytest.raises(match=...)`."""

import re


def exactly(text: str) -> str:
    """Matches this text and no other."""
    return f"^{re.escape(text)}$"


def starts(text: str) -> str:
    """Matches every text that starts so."""
    return f"^{re.escape(text)}"
