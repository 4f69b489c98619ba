"""Reads the text of IR.md section 1 as kernels and plans.

Comes in: text, and integers for its capital letters. Goes out: `Kernel`s and `Plan`s by name, the
very nodes that uop/printer.py printed. Beyond what it prints it reads several loops on a line, a
body after ':', statements joined by ';', names for index values, box axes introduced in place.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.dtype import dtypes
from tinycore.uop.declarations import declared, parameters, read_over
from tinycore.uop.expressions import Box, Expressions, Names
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.lexer import Cursor, cut
from tinycore.uop.monoids import DEPENDENT, MONOIDS
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.terms import typed
from tinycore.uop.tree import (
    GLOBAL,
    BlockArg,
    CopyArg,
    Kernel,
    Launch,
    LoopArg,
    MmaArg,
    Plan,
    StoreArg,
    let,
)

Unit = Kernel | Plan
COMBINES = {"=": ""} | {row.text: name for name, row in MONOIDS.items()}


def parse(text: str, **sizes: int) -> dict[str, Unit]:
    """The kernels and plans of `text` by name, in order; `sizes` are its capital letters.

    Raises: ParseError, which names the line, what was found and what was expected.
    """
    parser = Parser(cut(text), sizes)
    while parser.at < len(parser.lines):
        unit = parser.unit()
        parser.units[unit.name] = unit
    return parser.units


class Parser(Expressions):
    """The state of reading: the lines, the next one, the names in scope, the units read."""

    def __init__(self, lines: list[Cursor], sizes: dict[str, int]) -> None:
        super().__init__(lines[0] if lines else Cursor(1, ""), {})
        self.lines = lines
        self.at = 0
        self.sizes: Names = {name: as_index(size) for name, size in sizes.items()}
        self.units: dict[str, Unit] = {}

    # units

    def unit(self) -> Unit:
        """One kernel or plan with its body."""
        self._next_line()
        self.names = dict(self.sizes)
        if self.cursor.accept("kernel"):
            return self.kernel()
        if not self.cursor.accept("plan"):
            self.cursor.fail("'kernel' or 'plan'")
        return self.plan()

    def kernel(self) -> Kernel:
        """What follows `kernel`."""
        name = self.cursor.name("the name of a kernel")
        params, variables = parameters(self)
        spmd = self.cursor.accept("spmd")
        self._end_line()
        return Kernel(name, params, variables, self._block(self.cursor.indent), spmd)

    def plan(self) -> Plan:
        """What follows `plan`."""
        name = self.cursor.name("the name of a plan")
        params, variables = parameters(self)
        self._end_line()
        temps: list[UOp] = []
        launches: list[Launch] = []
        indent = self.cursor.indent
        while self._has_line(indent):
            self._next_line()
            self._plan_step(temps, launches)
            while self.cursor.accept(";"):
                self._plan_step(temps, launches)
            self._end_line()
        return Plan(name, params, variables, tuple(temps), tuple(launches))

    def _plan_step(self, temps: list[UOp], launches: list[Launch]) -> None:
        if self.cursor.accept("temp"):
            temps.append(declared(self, GLOBAL))
        elif self.cursor.accept("launch"):
            launches.append(self._launch())
        else:
            self.cursor.fail("'temp' or 'launch'")

    def _launch(self) -> Launch:
        name = self.cursor.name("the name of a kernel or of a vendor's call")
        self.cursor.expect("(")
        buffers = self._buffer_names()
        kernel = self.units.get(name)
        found = kernel if isinstance(kernel, Kernel) else None
        return Launch(name, tuple(buffer.arg.name for buffer in buffers), found)

    # lines

    def _has_line(self, indent: int) -> bool:
        return self.at < len(self.lines) and self.lines[self.at].indent > indent

    def _next_line(self) -> None:
        self.cursor = self.lines[self.at]
        self.at += 1

    def _end_line(self) -> None:
        if self.cursor.token:
            self.cursor.fail("the end of the line")

    def _block(self, indent: int) -> tuple[UOp, ...]:
        """The statements of the lines that stand deeper than `indent`, all equally deep."""
        statements: list[UOp] = []
        if not self._has_line(indent):
            return ()
        depth = self.lines[self.at].indent
        while self._has_line(indent):
            self._next_line()
            if self.cursor.indent != depth:
                self.cursor.refuse(f"indented by {self.cursor.indent}; expected {depth} spaces.")
            self._statements(statements)
        return tuple(statements)

    def _statements(self, out: list[UOp]) -> None:
        """What is left of a line: statements joined by ';'."""
        while True:
            read = _STATEMENTS.get(self.cursor.token)
            if read is None:
                self._assignment(out)
            else:
                word = self.cursor.advance()
                out.append(read(self, word))
            if not self.cursor.accept(";"):
                break
        self._end_line()

    def _body(self) -> tuple[UOp, ...]:
        """Statements after ':', or the deeper lines that follow; names end with them."""
        line, outer = self.cursor, self.names
        self.names = dict(outer)
        if line.accept(":"):
            found: list[UOp] = []
            self._statements(found)
            body = tuple(found)
        else:
            self._end_line()
            body = self._block(line.indent)
        self.cursor, self.names = line, outer
        line.move(len(line.tokens) - 1)
        return body

    # statements

    def loop(self, kind: str) -> UOp:
        """par i:4 @reg, or several of one kind, separated by ','."""
        outer = self.names
        self.names = dict(outer)
        args = [self._loop_arg(kind)]
        while self.cursor.accept(","):
            args.append(self._loop_arg(kind))
        body = self._body()
        self.names = outer
        for arg in reversed(args):
            body = (UOp(Ops.LOOP, dtypes.void, body, arg),)
        return body[0]

    def _loop_arg(self, kind: str) -> LoopArg:
        name = self.cursor.name("an axis")
        self.cursor.expect(":")
        extent = self.index()
        self.names[name] = axis(name, extent)
        return LoopArg(name, extent, kind, self._after_at())

    def _after_at(self) -> str:
        return self.cursor.name("a name after '@'") if self.cursor.accept("@") else ""

    def condition(self, word: str) -> UOp:
        """if k < 3"""
        mask = self.mask()
        return UOp(Ops.IF, dtypes.void, self._body(), mask)

    def block(self, kind: str) -> UOp:
        """roles, seq."""
        return UOp(Ops.BLOCK, dtypes.void, self._body(), BlockArg(kind))

    def role(self, kind: str) -> UOp:
        """role math w:2"""
        cursor = self.cursor
        name = cursor.name("the name of a role")
        outer = self.names
        self.names = dict(outer)
        axis_name, replicas = "", 1
        if cursor.token not in ("", ":"):
            axis_name = cursor.name("an axis")
            cursor.expect(":")
            replicas = self.integer()
            self.names[axis_name] = axis(axis_name, replicas)
        body = self._body()
        self.names = outer
        return UOp(Ops.BLOCK, dtypes.void, body, BlockArg(kind, name, axis_name, replicas))

    def barrier(self, word: str) -> UOp:
        """barrier"""
        return UOp(Ops.BARRIER, dtypes.void)

    def slots(self, word: str) -> UOp:
        """wait As[k], Bs[k]"""
        op = Ops.WAIT if word == "wait" else Ops.FREE
        buffers = [self._buffer()]
        sequences = [self.sequence()]
        while self.cursor.accept(","):
            buffers.append(self._buffer())
            sequences.append(self.sequence())
        return UOp(op, dtypes.void, tuple(buffers), tuple(sequences))

    def copy(self, word: str) -> UOp:
        """copy P[p, x] <- B[p + x] over p:2, x:32 @loop"""
        outer, box = self._open_box()
        target = self._buffer()
        place = self.place(target.dtype)
        self.cursor.expect("<-")
        value = self.value(target.dtype)
        self._close_box(outer)
        arg = CopyArg(place, tuple(box.items()), self._after_at())
        return UOp(Ops.COPY, dtypes.void, (target, value), arg)

    def mma(self, word: str) -> UOp:
        """mma acc[r, c] += A[r, q] * B[q, c] over r:64, c:32, q:16 @warpgroup"""
        outer, box = self._open_box()
        buffers, places = [], []
        for sign in ("+=", "*", ""):
            buffers.append(self._buffer())
            places.append(self.place(buffers[-1].dtype))
            if sign:
                self.cursor.expect(sign)
        self._close_box(outer)
        acc, a, b = places
        arg = MmaArg(acc, a, b, tuple(box.items()), self._after_at())
        return UOp(Ops.MMA, dtypes.void, tuple(buffers), arg)

    def _open_box(self) -> tuple[Names, Box]:
        """Box axes: those after `over`, and those that `x:n` introduces where it stands."""
        outer = self.names
        self.names = dict(outer)
        self.box = read_over(self)
        return outer, self.box

    def _close_box(self, outer: Names) -> None:
        if self.cursor.token == "over":
            read_over(self)
        self.box = None
        self.names = outer

    def _buffer(self) -> UOp:
        name = self.cursor.name("a buffer")
        found = self.names.get(name)
        if not isinstance(found, UOp) or found.op is not Ops.BUFFER:
            self.cursor.refuse(f"'{name}' is no buffer in scope; expected one.")
        return found

    def _buffer_names(self) -> list[UOp]:
        """Buffers up to ')'."""
        found = []
        while not self.cursor.accept(")"):
            found.append(self._buffer())
            if not self.cursor.accept(",") and self.cursor.token != ")":
                self.cursor.fail("',' or ')'")
        return found

    # assignments

    def _assignment(self, out: list[UOp]) -> None:
        """A STORE if the name is a buffer's, else a LET or a name for an index value."""
        if self.cursor.token == "(":
            out.append(self._stores())
            return
        name = self.cursor.name("a statement")
        found = self.names.get(name)
        if isinstance(found, UOp) and found.op is Ops.BUFFER:
            place = self.place(found.dtype)
            combine = self._combine()
            value = self.value(found.dtype)
            out.append(self._rebased((found, value), StoreArg((place,), combine)))
            return
        self.cursor.expect("=")
        term = self.term()
        if isinstance(term, Index):
            self.names[name] = term
            return
        node = let(name, typed(self.cursor, term, None))
        self.names[name] = node
        out.append(node)

    def _stores(self) -> UOp:
        """(n, s) += (1.0, x) rebase var(M2)"""
        cursor = self.cursor
        buffers, places, values = [], [], []
        cursor.expect("(")
        while not cursor.accept(")"):
            buffers.append(self._buffer())
            places.append(self.place(buffers[-1].dtype))
            cursor.accept(",")
        combine = self._combine()
        for count, buffer in enumerate(buffers):
            cursor.expect("," if count else "(")
            values.append(self.value(buffer.dtype))
        cursor.expect(")")
        return self._rebased((*buffers, *values), StoreArg(tuple(places), combine))

    def _combine(self) -> str:
        combine = COMBINES.get(self.cursor.token)
        if combine is None:
            self.cursor.fail(f"one of {' '.join(COMBINES)}")
        self.cursor.advance()
        return combine

    def _rebased(self, sources: tuple[UOp, ...], arg: StoreArg) -> UOp:
        if not self.cursor.accept("rebase"):
            return UOp(Ops.STORE, dtypes.void, sources, arg)
        rule = self.cursor.name("a rule")
        if rule not in DEPENDENT:
            self.cursor.refuse(f"rebase by '{rule}'; expected one of {', '.join(DEPENDENT)}.")
        self.cursor.expect("(")
        moved = self._buffer_names()
        return UOp(Ops.STORE, dtypes.void, (*sources, *moved), arg._replace(rebase=rule))


_STATEMENTS: dict[str, Callable[[Parser, str], UOp]] = {
    "par": Parser.loop,
    "red": Parser.loop,
    "ser": Parser.loop,
    "buf": lambda parser, word: declared(parser, ""),
    "copy": Parser.copy,
    "wait": Parser.slots,
    "free": Parser.slots,
    "mma": Parser.mma,
    "if": Parser.condition,
    "roles": Parser.block,
    "seq": Parser.block,
    "role": Parser.role,
    "barrier": Parser.barrier,
}
