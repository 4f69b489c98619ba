"""BEAM on this processor: plans that compute the same, candidates that cannot harm, and a cache."""

from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest

from tests.ir.cases import by_launches
from tinycore.codegen.optimize.actions import Actions
from tinycore.config import Context
from tinycore.engine import tune
from tinycore.engine.plan import Artifact
from tinycore.engine.tune import Tuner, Worker, plan_of
from tinycore.engine.worker import Bench
from tinycore.runtime.device import OpenDevice
from tinycore.runtime.ref import check_kernel
from tinycore.runtime.registry import Device
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel, Plan
from tinycore.util import np

ROWS = """
kernel k(b0 f32[24,40], b1 f32[24])
  par i0:24
    buf b2 f32[] reg = sum
    red i1:40: b2 += b0[i0,i1]
    b1[i0] = b2
"""
FAR = """
kernel k(b0 f32[24,40], b1 f32[24])
  par i0:24: b1[i0+90000000000000] = b0[i0,0]
"""
ENDLESS = """
kernel k(b0 f32[24,40], b1 f32[24])
  par i0:24
    buf b2 f32[] reg = sum
    red i1:1000000000000000000: b2 += b0[i0, i1 % 40] * b2
    b1[i0] = b2
"""
WRONG = ROWS.replace("b1[i0] = b2", "b1[i0] = b2 + 1.0")


@pytest.fixture
def device() -> OpenDevice:
    return Device["CPU"]


@pytest.fixture
def tuner(device: OpenDevice) -> Iterator[Tuner]:
    with Context(PARALLEL=1), closing(Tuner(read(ROWS), device)) as made:
        yield made


def read(text: str) -> Kernel:
    """The one kernel of a text."""
    kernel = parse(text)["k"]
    assert isinstance(kernel, Kernel)
    return kernel


def assert_sums_rows(plan: Plan) -> None:
    """`plan` computes ROWS."""
    data = np().random.default_rng(0).integers(-9, 9, (24, 40)).astype("float32")
    sums = np().full(24, np().nan, "float32")
    by_launches(check_kernel)(plan, [data, sums])
    assert (sums == data.sum(1)).all()


def test_beam_finds_a_plan_that_computes_the_same_and_remembers_it(
    device: OpenDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Context(BEAM=2, PARALLEL=1):
        plan = plan_of(read(ROWS), device)
        monkeypatch.setattr(tune, "search", None)
        assert plan_of(read(ROWS), device) == plan
    with Context(BEAM=1):
        assert plan_of(read(ROWS), device) == plan
    assert_sums_rows(plan)


def test_a_candidate_that_crashes_hangs_errs_or_is_refused_costs_itself_alone(
    tuner: Tuner, device: OpenDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "RUN_S", 4.0)
    monkeypatch.setattr(tune, "LEAST_S", 3.0)  # once (), which is fast, has run
    for name, text in (("FAR", FAR), ("ENDLESS", ENDLESS), ("WRONG", WRONG)):
        artifact = Bench.compile("CPU", device.target.arch, text, ())
        tuner.compiled[(name,)] = artifact
    asked = [("FAR",), (), ("ENDLESS",), ("JUMP(i0)",), ("WRONG",), ("SPLIT(i1, 8)",)]
    far, plain, endless, refused, wrong, split = tuner.evaluate(asked)
    assert far == "the candidate crashed"
    assert endless == "the candidate ended after 3 s"
    assert str(refused).startswith("Illegal: 'JUMP(i0)' is no action")
    assert wrong == "output 1 differs"
    assert isinstance(plain, float)
    assert isinstance(split, float)


def test_the_fastest_of_many_that_are_close_are_measured_again(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {(f"{number}",): 1.2 - number / 50 for number in range(10)}
    raced: list[Actions] = []
    monkeypatch.setattr(tuner, "_compiled", lambda actions: actions)
    monkeypatch.setattr(tuner, "_seconds", seconds.__getitem__)
    monkeypatch.setattr(tuner, "_raced", lambda close: raced.extend(close) or {})
    tuner.evaluate([*seconds])
    assert raced == sorted(seconds, key=seconds.__getitem__)[: tune.FINALISTS]


def test_a_worker_that_is_lost_is_started_anew() -> None:
    worker = Worker("it")
    answer = worker.ask(0.01, "compile", "CPU", "native", ROWS, ())
    assert answer in ("it ended after 0.01 s", "it crashed")
    assert isinstance(worker.ask(60.0, "compile", "CPU", "native", ROWS, ()), Artifact)
    worker.close()


def test_a_device_that_workers_cannot_open_falls_back(device: OpenDevice) -> None:
    settings = Context(BEAM=3, PARALLEL=1, CACHELEVEL=0, TINYCORE_PLUGINS="none")
    with settings, pytest.warns(match="CPU cannot be tuned"):
        assert_sums_rows(plan_of(read(ROWS), device))


def test_a_worker_has_the_settings_that_hold_here(
    device: OpenDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYCORE_PLUGINS", "none")
    with Context(TINYCORE_PLUGINS=""), closing(Worker("it")) as worker:
        answer = worker.ask(60.0, "compile", "CPU", device.target.arch, ROWS, ())
    assert isinstance(answer, Artifact)


def test_a_search_runs_in_any_thread(device: OpenDevice) -> None:
    found: list[Plan] = []

    def run() -> None:
        with Context(BEAM=1, PARALLEL=1, CACHELEVEL=0):
            found.append(plan_of(read(ROWS), device))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert_sums_rows(found[0])
