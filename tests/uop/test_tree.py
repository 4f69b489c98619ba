"""Arguments are searched and mapped by type; trees and expressions are rebuilt by one walk."""

from tinycore.dtype import dtypes
from tinycore.uop.index import NEVER, Index, axis, gather, make, mask_of
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.tree import (
    Access,
    Own,
    Rebuild,
    StoreArg,
    buffer,
    gathered,
    index_value,
    indices,
    let,
    load,
    loop,
    mapped,
    operands,
    store,
)

F32 = dtypes.float32
A, B = axis("i", 8), axis("j", 4)
((ATOM, _),) = A.terms
X, Y = buffer("X", F32, (8,)), buffer("Y", F32, (8,))
IDS = buffer("ids", dtypes.int32, (8,))


def doubled(value: Index) -> Index:
    return value * 2


def test_index_values_are_found_in_any_argument_in_order() -> None:
    arg = StoreArg((Access((A, B), (A - 3,)), Access((), (), B)), "sum")
    assert list(indices(arg)) == [A, B, A - 3, B]
    assert list(indices(("name", 3, None, ((A, make(1)),)))) == [A, make(1)]
    assert list(indices(None)) == list(indices(1.5)) == []


def test_a_mapped_argument_keeps_its_form_and_its_masks_are_normal_again() -> None:
    place = Access((A, B), (A - 3, B - 1), fill=1.0)
    found = mapped(StoreArg((place,), "max"), doubled)
    bounds = mask_of([A - 3, B - 1])
    assert found == StoreArg((Access((2 * A, 2 * B), bounds, None, 1.0),), "max")
    assert mapped(Access((A,), (A - 3,)), lambda value: value - 8).mask is NEVER
    assert mapped((Own(A, B), "own", 4), doubled) == (Own(2 * A, 2 * B), "own", 4)


def test_nodes_under_gathered_places_are_found() -> None:
    number = load(IDS, Access((A,)))
    row = gather(number, 8)
    assert gathered((A, 3 * row + B)) == [number]
    assert gathered((A, B)) == []


def test_a_rebuild_replaces_atoms_and_nodes_wherever_they_stand() -> None:
    number = load(IDS, Access((A,)))
    value = load(X, Access((gather(number, 8),))) * 2
    statement = loop("par", "j", 4, [store(Y, Access((A,), (A - 2,)), value)])
    (found,) = Rebuild({X: Y}, {ATOM: make(3)}).body([statement])
    moved = load(Y, Access((gather(load(IDS, Access((make(3),))), 8),)))
    assert found is loop("par", "j", 4, [store(Y, Access((make(3),)), moved * 2)])
    assert Rebuild({}, {ATOM: A}).node(statement) is statement


def test_a_rebuild_shows_each_node_once_over_its_new_sources() -> None:
    seen = []

    def look(node: UOp) -> UOp:
        seen.append(node)
        return node.replace(op=Ops.MUL) if node.op is Ops.ADD else node

    x = index_value(A, dtypes.int32)
    total = (x + 1) + (x + 1)
    once = UOp(Ops.MUL, dtypes.int32, (x, x.const_like(1)))
    assert Rebuild(look=look).node(total) is once * once
    assert len(seen) == len(set(seen)) == 4


def test_a_postorder_goes_below_what_it_is_told_and_leaves_out_what_is_done() -> None:
    below = {"a": ["b", "c"], "b": ["d"], "c": ["d", "e"], "d": [], "e": []}
    assert postorder(["a"], below.__getitem__) == ["d", "b", "e", "c", "a"]
    assert postorder(["a", "d"], below.__getitem__, done={"c"}) == ["d", "b", "a"]


def test_a_load_and_a_let_have_no_operands() -> None:
    named = let("v", load(X, Access((A,))))
    assert operands(named) == operands(named.src[0]) == ()
    assert operands(named * 2)[0] is named
