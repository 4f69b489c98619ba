"""The drivers rewrite to a fixpoint or once, without recursion, and stop what does not end."""

import threading
from collections.abc import Iterator

import pytest

from tinycore.dtype import dtypes
from tinycore.errors import SpecError
from tinycore.uop import Ops, PatternMatcher, UOp, UPat, graph_rewrite
from tinycore.uop.index import axis, gather
from tinycore.uop.ops import Interning, toposort
from tinycore.uop.tree import Access, buffer, load
from tinycore.uop.upat import COUNTERS, Rule, sweep

x, y = UPat.var("x"), UPat.var("y")
A = UOp(Ops.VARIABLE, dtypes.int32, (), ("a", 0, 9))
B = UOp(Ops.VARIABLE, dtypes.int32, (), ("b", 0, 9))
ONE, TWO = A.const_like(1), A.const_like(2)
FOLD = PatternMatcher(
    [
        Rule("zero", UPat(Ops.ADD, src=(x, UPat.const(None, 0))), lambda x: x),
        Rule("square", UPat(Ops.MUL, src=(x, x)), lambda x: x << 1),
        Rule("double", x + x, lambda x: x * 2),
    ]
)


@pytest.fixture(autouse=True)
def fresh_counters() -> Iterator[None]:
    """Every test counts from zero."""
    COUNTERS.clear()
    yield
    COUNTERS.clear()


def raw(op: Ops, *src: UOp) -> UOp:
    """A node that the constructor does not fold."""
    return UOp(op, dtypes.int32, src)


def swept(root: UOp, pm: PatternMatcher, name: str = "sweep") -> UOp:
    """What one sweep makes of all nodes under `root`."""
    return sweep([root], pm, name=name)[0]


def named(number: int) -> UOp:
    """A fresh leaf."""
    return UOp(Ops.VARIABLE, dtypes.int32, (), (f"v{number}", 0, 9))


def test_rewriting_goes_on_until_no_rule_fits() -> None:
    node = raw(Ops.ADD, raw(Ops.ADD, A, A.const_like(0)), A)
    assert graph_rewrite(node, FOLD) is A * 2


def test_a_graph_that_no_rule_fits_is_given_back() -> None:
    node = A * 2 + B
    assert graph_rewrite(node, FOLD) is node
    assert swept(node, FOLD) is node


def test_rules_see_sources_that_are_already_done() -> None:
    seen = []

    def note(n: UOp) -> None:
        seen.append(n)

    pm = FOLD + PatternMatcher([(UPat(Ops.NEG, name="n"), note)])
    graph_rewrite(-raw(Ops.ADD, A, A), pm)
    assert seen == [-(A * 2)]


def test_the_context_reaches_every_rule() -> None:
    found: list[UOp] = []
    pm = PatternMatcher([(UPat(Ops.VARIABLE, name="x"), lambda ctx, x: ctx.append(x))])
    graph_rewrite(A + B, pm, found)
    assert set(found) == {A, B}


def test_tags_and_arguments_survive_new_sources() -> None:
    node = UOp(Ops.BLOCK, dtypes.void, (raw(Ops.ADD, A, A),), "arg", "tag")
    for new in (graph_rewrite(node, FOLD), swept(node, FOLD)):
        assert (new.src, new.arg, new.tag) == ((A * 2,), "arg", "tag")


def test_a_sweep_offers_each_node_once_over_its_new_sources() -> None:
    node = raw(Ops.ADD, raw(Ops.ADD, A, A), raw(Ops.ADD, A, A))
    assert swept(node, FOLD) is A * 2 * 2
    twice = raw(Ops.MUL, A, A)
    both = PatternMatcher([(x * y, lambda x, y: x << y), (x << y, lambda x: x)])
    assert swept(twice, both) is A << A
    assert graph_rewrite(twice, both) is A


def test_a_sweep_reaches_what_an_index_gathers() -> None:
    source, ids = buffer("X", dtypes.float32, (9,)), buffer("I", dtypes.int32, (9,))
    number = load(ids, Access((axis("i", 9),)))
    gathered = load(source, Access((gather(raw(Ops.ADD, number, number), 9),)))
    pm = PatternMatcher([*FOLD.rules])
    assert swept(gathered, pm) is load(source, Access((gather(number * 2, 9),)))


def test_deep_graphs_need_no_recursion() -> None:
    node = A
    for number in range(20_000):
        node = raw(Ops.ADD, node, named(number % 7))
    pm = PatternMatcher([(UPat(Ops.VARIABLE, name="x", arg=("v3", 0, 9)), lambda x: B)])
    deep = graph_rewrite(node, pm)
    assert named(3) not in toposort([deep])
    assert swept(node, pm) is deep


def test_a_deep_graph_shared_everywhere_takes_linear_time() -> None:
    node = A
    for _ in range(500):
        node = raw(Ops.MUL, node, -node)
    graph_rewrite(node, FOLD, name="shared")
    assert COUNTERS["shared"].visits == 1_001


def test_counters_are_kept_by_pass() -> None:
    node = raw(Ops.ADD, raw(Ops.ADD, A, A.const_like(0)), A)
    graph_rewrite(node, FOLD, name="fold")
    counters = COUNTERS["fold"]
    assert (counters.visits, counters.attempts, counters.fired.total()) == (6, 3, 2)
    assert counters.fired == {"zero": 1, "double": 1}
    graph_rewrite(node, FOLD, name="fold")
    assert (counters.visits, counters.fired.total()) == (12, 4)


def test_counters_count_created_nodes() -> None:
    leaf = UOp(Ops.VARIABLE, dtypes.int32, (), ("only here", 0, 9))
    before = Interning.created
    swept(raw(Ops.ADD, leaf, leaf), FOLD, name="made")
    assert COUNTERS["made"].created == Interning.created - before - 1 == 1


def test_rules_that_undo_each_other_are_stopped_and_named() -> None:
    there = Rule("there", x * y, lambda x, y: x + y)
    back = Rule("back", x + y, lambda x, y: x * y)
    with pytest.raises(SpecError) as error:
        graph_rewrite(A * B, PatternMatcher([there, back]), name="loop")
    assert str(error.value) == (
        "graph_rewrite: 'loop' made ever more of 3 nodes, last by rules there, back; expected "
        "rules that come to an end. Let one of them pass (return None) on what the others make."
    )


def test_a_rule_that_wraps_its_own_node_is_stopped() -> None:
    wrap = PatternMatcher([Rule("wrap", UPat(Ops.VARIABLE, name="x"), lambda x: x + 1)])
    with pytest.raises(SpecError, match="last by rules wrap"):
        graph_rewrite(A, wrap)


def test_a_rule_that_makes_ever_new_nodes_is_stopped() -> None:
    grow = Rule("grow", UPat(Ops.VARIABLE, name="x"), lambda x: next_variable(x))
    idle = Rule("idle", UPat(Ops.NEG, name="x"), lambda x: None)
    with pytest.raises(SpecError, match=r"ever more of 1 nodes, last by rules grow, grow, grow"):
        graph_rewrite(A, PatternMatcher([grow, idle]))


def next_variable(node: UOp) -> UOp:
    """A new node every time."""
    name, lo, hi = node.arg
    return UOp(Ops.VARIABLE, dtypes.int32, (), (name + "'", lo, hi))


def test_many_new_nodes_from_a_large_graph_are_no_runaway() -> None:
    leaves = [UOp(Ops.BUFFER, dtypes.int32, (), f"many {k}") for k in range(200)]
    root = UOp(Ops.BLOCK, dtypes.void, tuple(leaves))
    pm = PatternMatcher([(UPat(Ops.BUFFER, name="x"), chain)])
    found = graph_rewrite(root, pm, name="chains")
    assert COUNTERS["chains"].created > 10_000
    assert len(toposort([found])) > 10_000


def test_nodes_that_other_threads_make_are_no_runaway() -> None:
    kept = []

    def busy(x: UOp) -> UOp:
        thread = threading.Thread(target=lambda: kept.extend([named(k) for k in range(20_000)]))
        thread.start()
        thread.join()
        return x * 2

    assert graph_rewrite(-A, PatternMatcher([(UPat(Ops.NEG, src=(x,)), busy)])) is A * 2
    assert len(kept) == 20_000


def chain(x: UOp) -> UOp:
    """Eighty new nodes over a variable of its own."""
    x = UOp(Ops.VARIABLE, dtypes.int32, (), (x.arg, 0, 9))
    for number in range(80):
        x = x * (number + 3)
    return x


def test_a_rule_may_not_start_a_rewrite() -> None:
    inner = PatternMatcher([(x + y, lambda x, y: graph_rewrite(x * y, FOLD, name="inner"))])
    with pytest.raises(SpecError, match="'inner' was started inside a rule of 'outer'"):
        graph_rewrite(A + B, inner, name="outer")
    with pytest.raises(SpecError, match="'inner' was started inside a rule of 'sweep'"):
        swept(A + B, inner)
    assert graph_rewrite(raw(Ops.ADD, A, A), FOLD) is A * 2


def test_another_thread_may_rewrite_meanwhile() -> None:
    found = []

    def other() -> None:
        found.append(graph_rewrite(raw(Ops.ADD, B, B), FOLD))

    def start(x: UOp) -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    graph_rewrite(-A, PatternMatcher([(UPat(Ops.NEG, src=(x,)), start)]))
    assert found == [B * 2]


def test_an_error_in_a_rule_leaves_the_next_run_unharmed() -> None:
    def fail(x: UOp) -> UOp:
        raise KeyError(x)

    with pytest.raises(KeyError):
        graph_rewrite(A + B, PatternMatcher([(x + y, fail)]))
    assert graph_rewrite(raw(Ops.ADD, A, A), FOLD) is A * 2
