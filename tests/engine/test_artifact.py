"""What the compiler leaves on disk reads back as it was."""

from tinycore.dtype import dtypes
from tinycore.engine.artifact import Artifact, Part, from_bytes, to_bytes
from tinycore.runtime.program import Launch


def test_an_artifact_reads_back() -> None:
    first = Part("map_4", b"\x00code\n{", (0, 2), ("n",), Launch((4, 1, 1), (1, 1, 1), 64))
    second = Part("join", b"", (2, 1), (), Launch())
    artifact = Artifact((first, second), ((dtypes.float32, 12),))
    assert from_bytes(to_bytes(artifact)) == artifact
