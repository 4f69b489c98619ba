"""Hook plugins: each answers for itself, and one that raises is switched off alone."""

from tests.runtime.wheels import Site

CALL = """
from tinycore.runtime.hooks import hooks
for _ in range(2):
    print(hooks().call("tinycore_select_default", candidates=("A", "B")))
"""


def add_hook(site: Site, name: str, source: str) -> None:
    """Install a hook plugin."""
    (site.folder / f"{name}.py").write_text(source)
    site.add_metadata(f"{name}-wheel", f"[tinycore.hooks]\n{name} = {name}\n", "0.3")


def answer(text: str) -> str:
    """A plugin whose hook answers with an expression."""
    return f"def tinycore_select_default(candidates):\n    return {text}\n"


def test_every_plugin_answers_and_none_is_no_answer(site: Site) -> None:
    add_hook(site, "one", answer("candidates[0]"))
    add_hook(site, "two", answer("None"))
    add_hook(site, "three", answer("candidates[1]"))
    result = site.run(CALL)
    assert [sorted(eval(line)) for line in result.stdout.splitlines()] == [["A", "B"]] * 2


def test_a_plugin_that_raises_is_switched_off_and_its_siblings_are_heard(site: Site) -> None:
    add_hook(site, "good", answer("candidates[0]"))
    add_hook(site, "bad", answer("1 / 0"))
    result = site.run(CALL)
    assert result.stdout == "['A']\n['A']\n"
    assert result.stderr == (
        "tinycore:1: TinycoreWarning: hooks: bad of bad-wheel 0.3 is switched off: "
        "tinycore_select_default failed with ZeroDivisionError: division by zero\n"
    )


def test_a_plugin_that_cannot_be_imported_is_left_out(site: Site) -> None:
    add_hook(site, "good", answer("candidates[0]"))
    add_hook(site, "bad", "import sys; sys.exit(7)")
    result = site.run(CALL)
    assert result.stdout == "['A']\n['A']\n"
    assert result.stderr == (
        "tinycore:1: TinycoreWarning: hooks: bad of bad-wheel 0.3 is switched off: "
        "import failed with SystemExit: 7\n"
    )


def test_plugins_are_configured_once_before_anything_else(site: Site) -> None:
    source = "def tinycore_configure():\n    print('configured')\n"
    add_hook(site, "one", source + answer("candidates[0]"))
    assert site.run(CALL).stdout == "configured\n['A']\n['A']\n"


def test_the_allow_list_holds_for_hooks_too(site: Site) -> None:
    add_hook(site, "one", answer("candidates[0]"))
    assert site.run(CALL, TINYCORE_PLUGINS="none").stdout == "[]\n[]\n"
