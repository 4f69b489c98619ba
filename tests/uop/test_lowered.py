"""What a lowered program may hold: each rule of the page is shown to refuse."""

import pytest

from tinycore.dtype import dtypes
from tinycore.errors import SpecError
from tinycore.uop.index import as_index
from tinycore.uop.lowered import Lowered, check_lowered, show_lowered
from tinycore.uop.ops import Ops, UOp, const
from tinycore.uop.tree import LoopArg, buffer

X = buffer("X", dtypes.float32, [16])
ZERO, ONE = const(0, dtypes.int64), const(1, dtypes.int64)
TWO = const(2, dtypes.int64)
REGISTER = UOp(Ops.BUFFER, dtypes.float32, (), buffer("r", dtypes.float32, [2], "reg").arg, 7)
LOOP = UOp(Ops.LOOP, dtypes.int64, (const(4, dtypes.int64),), LoopArg("i", as_index(4), "par"))
END = UOp(Ops.END, dtypes.void, (LOOP,))
LOAD = UOp(Ops.LOAD, dtypes.float32, (X, LOOP))
STORE = UOp(Ops.STORE, dtypes.void, (X, LOOP, LOAD), None, 1)
VECTOR = UOp(Ops.LOAD, dtypes.float32.vec(4), (X, ZERO))
HALF = const(1.0, dtypes.float16)


def program(*uops: UOp) -> Lowered:
    return Lowered("k", (X,), (), (), (), 0, uops)


def load(*src: UOp) -> UOp:
    return UOp(Ops.LOAD, dtypes.float32, src)


def store(*src: UOp) -> UOp:
    return UOp(Ops.STORE, dtypes.void, src)


def test_a_legal_program_passes_and_prints() -> None:
    legal = program(REGISTER, LOOP, LOAD, store(REGISTER, ONE, LOAD), STORE, END)
    check_lowered(legal)
    assert show_lowered(legal).splitlines() == [
        "lowered k(X f32) scratch 0",
        "  %1 = buffer f32 r[2] reg",
        "  %2 = loop i64 i 4",
        "    %3 = load f32 X %2",
        "    store %1 1 %3",
        "    store X %2 %3",
        "  end",
    ]


ADD = UOp(Ops.ADD, dtypes.float32.vec(4), (VECTOR, const(1.0, dtypes.float32)))
MIXED = UOp(Ops.ADD, dtypes.float32, (LOAD, HALF))
BRANCH = UOp(Ops.IF, dtypes.void, (const(True, dtypes.bool.vec(4)),))
COUNT = UOp(Ops.LOOP, dtypes.int32, (const(4, dtypes.int32),), LoopArg("i", as_index(4), "par"))
TEST = const(True, dtypes.bool)
PICK = UOp(Ops.SHUFFLE, dtypes.float32.vec(2), (VECTOR,), (3, 4))
DOT = UOp(Ops.DOT, dtypes.int32, (const(1, dtypes.int8), const(1, dtypes.int8)))
BROKEN = {
    "is no lowered op": (UOp(Ops.LET, dtypes.float32, (const(1.0, dtypes.float32),), "x"),),
    "before it stands in an open block": (LOOP, LOAD, END, store(X, ZERO, LOAD)),
    "closes another": (LOOP, BRANCH.replace(src=(TEST,)), END),
    "is left in an open block": (LOOP, LOAD),
    r"has types \[dtypes.float32.vec\(4\), dtypes.float32.vec\(4\), dtypes.float32\]": (
        VECTOR,
        ADD,
    ),
    r"has types \[dtypes.float32, dtypes.float32, dtypes.float16\]; expected": (
        LOOP,
        LOAD,
        MIXED,
        END,
    ),
    r"expected \[dtypes.int64, dtypes.int64\]": (COUNT,),
    r"expected \[dtypes.void, dtypes.bool\]": (BRANCH,),
    "is not at a buffer": (load(const(1.0, dtypes.float32), ZERO),),
    r"dtypes.int32\]; expected \[dtypes.float32, dtypes.float32, dtypes.int64\]": (
        load(X, const(0, dtypes.int32)),
    ),
    "needs a constant offset inside its registers": (REGISTER, load(REGISTER, TWO)),
    "has 3 sources; expected as many as": (load(X, ZERO, TEST),),
    "has 2 sources; expected as many as": (store(X, ZERO),),
    r"expected \[dtypes.void, dtypes.float16, dtypes.int64, dtypes.float16\]": (
        store(X, ZERO, HALF),
    ),
    r"vec\(4\), dtypes.bool.vec\(4\)\]": (VECTOR, store(X, ZERO, VECTOR, TEST)),
    r"bool, dtypes.float16\]; expected .*bool, dtypes.float32\]": (load(X, ZERO, TEST, HALF),),
    r"picks lanes \(3, 4\) of 4": (VECTOR, PICK),
    r"expected \[dtypes.int32, dtypes.int8.vec\(4\), dtypes.int8.vec\(4\)\]": (DOT,),
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_breaks_a_rule_is_refused_by_name(message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_lowered(program(*BROKEN[message]))
