"""What all tests share: goldens, and caches that are not the user's."""

from collections.abc import Callable, Iterator

import pytest

pytest_plugins = ["pytester"]

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that rewrites goldens."""
    parser.addoption("--update-golden", action="store_true", help="write goldens anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that compares with a golden, so that `-m golden` selects them all."""
    for item in items:
        if "golden" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.golden)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare text with golden/<test>/<name>.txt beside the test; --update-golden writes it."""
    folder = request.path.parent / "golden" / request.path.stem.removeprefix("test_")

    def compare(text: str, name: str) -> None:
        path = folder / f"{name}.txt"
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"golden: {path.name} is missing; run pytest --update-golden"
        assert text == path.read_text(), f"golden: {path.name} differs; see --update-golden"

    return compare


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test, and the processes it starts, out of the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
