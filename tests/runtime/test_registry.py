"""Which device is meant: names, the default, ranks, renderers, indexes, forks, loss."""

import gc
import os
import threading
import weakref

import pytest

from tests.runtime.fake_backend import FakeBackend
from tests.runtime.texts import exactly, starts
from tests.runtime.wheels import Site, entry_point, fake_source
from tinycore.config import Context
from tinycore.errors import DeviceError, IndexingError, TinycoreWarning
from tinycore.runtime.contract import BackendError, DeviceLost, Unsupported
from tinycore.runtime.plugins import Plugin
from tinycore.runtime.registry import Devices

WARNING = "tinycore:1: TinycoreWarning: "


def registry(*backends: FakeBackend) -> Devices:
    """A registry with these backends, all loaded; REF is built in."""
    plugins = {}
    for backend in backends:
        point = None if backend.name == "REF" else entry_point(backend.name)
        wheel = f"tinycore-{backend.name.lower()}"
        plugins[backend.name] = Plugin(backend.name, wheel, "1.2", point, backend=backend)
    return Devices(lambda: plugins)


def backend(name: str, priority: int = 0) -> FakeBackend:
    """A fake backend of another name and priority."""
    made = FakeBackend()
    made.name = name
    made.priority = priority
    made.aliases = ()
    return made


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("FAKE", "FAKE"),
        ("fake", "FAKE"),
        (" Fake:0 ", "FAKE"),
        ("fake:1", "FAKE:1"),
        ("FAKE:3", "FAKE:3"),
        ("faux:1", "FAKE:1"),
        ("FAKE:PLAIN", "FAKE"),
        ("fake:1:fancy", "FAKE:1"),
    ],
)
def test_a_device_has_one_canonical_name(devices: Devices, spelling: str, canonical: str) -> None:
    assert devices.canonicalize(spelling) == canonical
    assert devices[spelling].name == canonical


@pytest.mark.parametrize("name", ["", ":1", "FAKE:-1", "FAKE:1:2", "A B", "9FAKE", 3])
def test_what_is_no_device_name_is_said_to_be_none(devices: Devices, name: str) -> None:
    message = exactly(f"device: {name!r} is no device name; expected NAME or NAME:INDEX")
    with pytest.raises(DeviceError, match=message):
        devices[name]


def test_an_index_beyond_the_shared_ones_is_refused(devices: Devices) -> None:
    message = exactly("device: there is no FAKE:4; expected FAKE, with an index below 4")
    with pytest.raises(DeviceError, match=message):
        devices.canonicalize("FAKE:4")


def test_one_device_is_opened_once_even_by_many_threads(
    devices: Devices, fake: FakeBackend
) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(devices["fake"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(device) for device in found}) == 1
    assert fake.opened == [(0, "")]


def test_an_open_device_shows_what_the_contract_promises(devices: Devices) -> None:
    device = devices["FAKE"]
    assert [dtype.short for dtype in device.renderer.supported_dtypes()] == ["u8", "f32"]
    assert device.compiler.key == "fake compiler 1"
    assert device.count() == 2
    assert device.describe()["product"] == "Fake 3000 #0"
    assert repr(device) == "<device FAKE, tinycore-fake 1.2>"
    device.synchronize()
    devices.synchronize()
    assert devices.get_available_devices() == ["FAKE"]


def test_a_target_needs_no_device(devices: Devices, fake: FakeBackend) -> None:
    assert devices.plugins()["FAKE"].load().target("fake9").arch == "fake9"
    assert fake.opened == []


def test_the_best_priority_is_the_default() -> None:
    chosen = registry(backend("A"), backend("B", 5), backend("C", 3), backend("REF", 9))
    assert chosen.DEFAULT == "B"
    assert chosen.get_available_devices() == ["B", "C", "A", "REF"]


def test_a_tie_is_broken_by_name_and_told() -> None:
    message = exactly("B and C have the same priority, so B is used. Set DEV=B or DEV=C")
    with pytest.warns(TinycoreWarning, match=message):
        assert registry(backend("C", 1), backend("B", 1), backend("A")).DEFAULT == "B"


def test_the_cores_own_device_is_the_default_only_where_nothing_else_is_ready() -> None:
    absent = backend("A", 5)
    absent.count = lambda: 0  # type: ignore[method-assign]
    text = (
        "no device package is ready (A: tinycore-a 1.2 finds no such device on this machine. "
        "Run `tinycore doctor A`), so REF is used, which interprets and is slow. "
        "Do `pip install tinycore-<device>`, or set DEV=REF"
    )
    with pytest.warns(TinycoreWarning, match=exactly(text)):
        assert registry(absent, backend("REF")).DEFAULT == "REF"
    text = "no device package is installed, so REF is used, which interprets and is slow. "
    with pytest.warns(TinycoreWarning, match=starts(text)):
        assert registry(backend("REF")).DEFAULT == "REF"


def test_nothing_ready_says_where_to_look() -> None:
    absent = backend("A")
    absent.count = lambda: 0  # type: ignore[method-assign]
    message = starts(
        "device: none is ready; expected at least one of A. Run `tinycore devices` to see"
    )
    with pytest.raises(DeviceError, match=message):
        _ = registry(absent).DEFAULT


def test_the_choice_goes_context_then_assignment_then_variable_then_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("ARG", "CTX", "SET", "VAR", "FLAG", "BEST")
    chosen = registry(*(backend(name, name == "BEST") for name in names))
    assert chosen.DEFAULT == "BEST"
    monkeypatch.setenv("FLAG", "1")
    chosen = registry(*(backend(name, name == "BEST") for name in names))
    assert chosen.DEFAULT == "FLAG"
    with Context(DEV="var:1"):
        assert chosen.DEFAULT == "VAR:1"
    chosen.DEFAULT = "set"
    assert chosen.DEFAULT == "SET"
    with Context(DEV="CTX"):
        assert chosen.DEFAULT == chosen.canonicalize() == "CTX"
        assert chosen.canonicalize("ARG") == "ARG"
    assert chosen.DEFAULT == "SET"


def test_a_default_that_does_not_exist_is_refused_where_it_is_assigned(devices: Devices) -> None:
    with pytest.raises(
        DeviceError, match=starts("device: NOSUCH is not installed; installed are FAKE")
    ):
        devices.DEFAULT = "NOSUCH"
    assert devices.DEFAULT == "FAKE"


def test_only_the_value_1_is_a_flag_and_two_flags_are_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A", "refs/heads/main")
    monkeypatch.setenv("B", "0")
    assert registry(backend("A"), backend("B"), backend("C", 1)).DEFAULT == "C"
    monkeypatch.setenv("A", "1")
    monkeypatch.setenv("B", "1")
    message = exactly("device: A=1 and B=1 are all set; expected one. Unset the others")
    with pytest.raises(DeviceError, match=message):
        _ = registry(backend("A"), backend("B")).DEFAULT


def test_a_renderer_is_chosen_before_the_device_is_opened(
    devices: Devices, fake: FakeBackend
) -> None:
    with Context(DEV="FAKE:FANCY"):
        assert devices.DEFAULT == "FAKE"
        assert devices["FAKE"].name == "FAKE"
        assert devices["FAKE:1"].name == "FAKE:1"
    assert fake.opened == [(0, "FANCY"), (1, "")]
    assert devices.canonicalize("FAKE:1:PLAIN") == "FAKE:1"  # the usual one
    message = starts(
        "device: FAKE is open with another renderer than PLAIN; expected the choice before"
    )
    with pytest.raises(DeviceError, match=message):
        devices.canonicalize("FAKE:PLAIN")
    with pytest.raises(
        DeviceError, match=exactly("device: FAKE has no renderer PTX; expected PLAIN and FANCY")
    ):
        devices.canonicalize("FAKE:PTX")


def test_what_vendor_code_raises_carries_the_devices_name(devices: Devices) -> None:
    device = devices["FAKE"]
    with (
        pytest.raises(
            BackendError, match=exactly("FAKE: step failed with ValueError: no")
        ) as caught,
        device.guard("step"),
    ):
        raise ValueError("no")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(Unsupported, match=exactly("FAKE: sin is missing")), device.guard("step"):
        raise Unsupported("sin is missing")
    with (
        pytest.raises(MemoryError, match=exactly("FAKE: step: out of memory")),
        device.guard("step"),
    ):
        raise MemoryError
    with pytest.raises(KeyboardInterrupt), device.guard("step"):
        raise KeyboardInterrupt


def test_our_own_errors_pass_the_guard_unchanged(devices: Devices) -> None:
    device = devices["FAKE"]
    for error in (IndexingError("index 7"), Unsupported("sin", "OTHER")):
        with pytest.raises(type(error)) as caught, device.guard("outer"), device.guard("inner"):
            raise error
        assert caught.value is error


def test_a_lost_device_stays_lost_and_says_why(devices: Devices) -> None:
    device = devices["FAKE"]
    with pytest.raises(DeviceLost), device.guard("step"):
        raise DeviceLost("kernel k0 did not end in 10 s")
    for _ in range(2):
        with pytest.raises(DeviceLost, match=starts("FAKE: kernel k0 did not end in 10 s")):
            devices["FAKE"]
    assert devices.plugins()["FAKE"].state == "lost"


def test_a_device_without_code_generation_says_so(devices: Devices) -> None:
    device = devices["FAKE"]
    object.__setattr__(device.target, "renderer", None)
    object.__setattr__(device.target, "compiler", None)
    with pytest.raises(
        Unsupported, match=exactly("FAKE: renderer: this device runs no generated code")
    ):
        _ = device.renderer
    with pytest.raises(
        Unsupported, match=exactly("FAKE: compiler: this device runs no generated code")
    ):
        _ = device.compiler


def in_child(check: object) -> str:
    """What a function returns, as text, in a forked child."""
    assert callable(check)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(check()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as pipe:
        return pipe.read()


def test_after_a_fork_an_open_device_raises_and_never_hangs(
    devices: Devices, fake: FakeBackend
) -> None:
    devices["FAKE"]

    def use() -> str:
        try:
            return repr(devices["FAKE"])
        except DeviceError as error:
            return str(error)

    assert in_child(use) == (
        "FAKE: it was opened before this process was forked; expected a process of its own. "
        "Start workers with multiprocessing's spawn method"
    )
    fake.fork_safe = True
    assert in_child(use) == "<device FAKE, tinycore-fake 1.2>"


def test_closing_gives_each_device_back_once(devices: Devices) -> None:
    opened = [devices["FAKE"], devices["FAKE:1"]]
    devices.close()
    devices.close()
    assert all(device.device.closed for device in opened)  # type: ignore[attr-defined]


def test_open_devices_are_closed_at_exit(site: Site) -> None:
    told = ("self.closed = True", "print('closed')")
    site.add("FOO", fake_source("FOO", told))
    code = "from tinycore.runtime.registry import Device; Device['FOO']; Device['FOO:1']"
    assert site.run(code).stdout == "closed\nclosed\n"


def test_what_is_opened_is_told_at_debug_1(site: Site) -> None:
    site.add("FOO", fake_source("FOO"))
    result = site.run("from tinycore.runtime.registry import Device; Device['FOO']", DEBUG="1")
    assert result.stdout == "opened FOO: tinycore-foo 1.2, fake1\n"


def test_a_hook_may_pick_the_default(site: Site) -> None:
    site.add("FOO", fake_source("FOO"))
    site.add("BAR", fake_source("BAR", ('version = "1.2"', 'version = "1.2"\n    priority = 5')))
    hook = "def tinycore_select_default(candidates):\n    return candidates[-1]\n"
    (site.folder / "picker.py").write_text(hook)
    site.add_metadata("picker", "[tinycore.hooks]\npicker = picker\n")
    code = "from tinycore.runtime.registry import Device; print(Device.DEFAULT)"
    assert site.run(code).stdout == "FOO\n"
    assert site.run(code, TINYCORE_PLUGINS="FOO,BAR").stdout == "BAR\n"


def test_what_a_guard_raises_keeps_nothing_alive(devices: Devices) -> None:
    class Held:
        """Stands for a buffer of the caller."""

    def fail() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        with devices["FAKE"].guard("step"):
            raise ValueError("no")

    seen: list[weakref.ref[Held]] = []
    gc.disable()
    try:
        with pytest.raises(BackendError):
            fail()
        assert seen[0]() is None
    finally:
        gc.enable()
