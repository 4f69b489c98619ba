"""Runs the statements of a kernel at compile time, writing the program that does the rest.

In: a tree of plain loops, stores and LETs. Out: `Lowered`. Register loops run here, once for each
number; vector loops once for all lanes. Equal nodes are one, so that copies of a loop share them.
Next: a renderer.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import gcd
from typing import NamedTuple

from tinycore.codegen.lower.indices import FALSE, TRUE, Block, Indices
from tinycore.codegen.lower.mapped import decided, plan
from tinycore.codegen.lower.stores import loops_along, nest
from tinycore.codegen.optimize.edit import atom_of, changed, edit, loops_in
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.uop.index import Index, as_index, make
from tinycore.uop.lowered import GROUP, REGISTER, SCRATCH, WARP, Lowered
from tinycore.uop.ops import CASTS, Nodes, Ops, UOp, postorder
from tinycore.uop.tree import MONOIDS, Access, BufferArg, Kernel, operands, store
from tinycore.uop.upat import COUNTERS
from tinycore.util import dedup, round_up

ALIGNMENT = 64  # bytes: the widest vector register, and a line of the nearest cache


def expand(kernel: Kernel, caps: Caps) -> Lowered:
    """The program of a kernel of plain loops, IFs, LETs and stores."""
    loops = loops_in(kernel.body)
    team = max((one.extent.hi for one in loops if one.map == "thread"), default=1)
    expander = Expander(kernel, caps, team)
    expander.body(kernel.body)
    COUNTERS["expand"].visits += expander.visits
    return Lowered(
        kernel.name,
        kernel.params,
        tuple(node.replace(dtype=dtypes.int64) for node in kernel.variables),
        grid=tuple(one.extent for one in loops if one.map == "grid"),
        group=(as_index(team),) if team > 1 else (),
        scratch_bytes=expander.most_bytes,
        uops=tuple(expander.stack[0].body),
    )


class Spot(NamedTuple):
    """An access here, or that of one lane.

    `width` is the lanes of each register, 0 in memory; `step` is how far `offset` moves from lane
    to lane, None if unequally; `lanes` is how many elements it has, `test` where it has them.
    """

    buffer: UOp
    width: int
    offset: Index
    step: int | None
    lanes: int
    test: UOp


class Expander(Indices):
    """One kernel on its way to a program.

    `buffers` holds what stands for each declared buffer; `visits` counts nodes.
    """

    def __init__(self, kernel: Kernel, caps: Caps, team: int) -> None:
        super().__init__(short=caps.max_group_threads > 1)
        self.vector_bytes = caps.vector_bytes
        self.team = team
        self.used_bytes = self.most_bytes = self.visits = 0
        storage = self.storage = plan(kernel)
        self.buffers = {buffer: buffer for buffer in storage}
        self.order = cache(lambda value: postorder([value], operands))
        self.offset = cache(lambda buffer, access: storage[buffer].offset(access))

    def body(self, statements: Iterable[UOp]) -> None:
        """Statements in order; the scratch memory of their buffers is free again afterwards."""
        used = self.used_bytes
        for statement in statements:
            self.visits += 1
            run = _STATEMENTS.get(statement.op)
            if not run:
                what = f"{statement.op.name} has no lowering for this target"
                raise Unsupported(f"lower: {what}; expected loops and plain stores")
            run(self, statement)
        self.used_bytes = used

    def condition(self, statement: UOp) -> None:
        """An IF, decided here if its mask is known."""
        test = self.mask(statement.arg)
        if not test.is_const:
            head = UOp(Ops.IF, src=(test,), tag=self.moment())
            self._scoped(head, statement, may_skip=True)
        elif test.arg:
            self.body(statement.src)

    def barrier(self, statement: UOp) -> None:
        """A BARRIER, one of many."""
        self.append(statement.replace(tag=self.moment()))

    def loop(self, statement: UOp) -> None:
        """A LOOP, by its map."""
        _LOOPS.get(statement.map, Expander.serial)(self, statement)

    def repeated(self, statement: UOp) -> None:
        """The body once for each number; no index holds the axis of a single iteration."""
        atom = atom_of(statement)
        for number in range(statement.extent.const):
            self.copied[atom] = make(number)
            self.body(statement.src)
        self.copied.pop(atom, None)

    def along(self, statement: UOp) -> None:
        """The body once, for all lanes."""
        lane = atom_of(statement)
        assert lane, "lower: one lane is no vector"
        self.lane, self.lanes = lane, lane.hi + 1
        self.now[lane] = self.steps(1, self.lanes, dtypes.int32)
        self.body(statement.src)
        self.lane, self.lanes = None, 1

    def serial(self, statement: UOp) -> None:
        """A loop of the program."""
        extent = self.value(self.bind(statement.extent))
        head = UOp(Ops.LOOP, dtypes.int64, (extent,), statement.arg, self.moment())
        self.now[atom_of(statement)] = head
        least = self.team if statement.map == "thread" else 1
        self._scoped(head, statement, statement.extent.lo < least)

    def _scoped(self, head: UOp, statement: UOp, may_skip: bool) -> None:
        """The body in a block of its own, which its head belongs to."""
        stored = changed([statement])
        self.changed(*stored)
        block = self.home[head] = Block(head, len(self.stack), stored, may_skip, [])
        self.stack.append(block)
        self.body(statement.src)
        self.stack.pop()
        end = UOp(Ops.END, src=(head,))
        self.stack[-1].body.extend([head, *block.body, end])
        self.changed(*stored)

    # buffers

    def buffer(self, statement: UOp) -> None:
        """A declaration: fresh registers, or scratch memory of this worker."""
        storage, space, tag = self.storage[statement], statement.space, self.moment()
        if storage.width:
            space = REGISTER
        elif space != GROUP or self.team == 1:
            space, tag = SCRATCH, self.used_bytes
            self.used_bytes = round_up(tag + storage.size * statement.dtype.itemsize, ALIGNMENT)
            self.most_bytes = max(self.most_bytes, self.used_bytes)
        lanes = storage.width or 1
        arg = BufferArg(statement.name, (as_index(storage.size // lanes),), space)
        node = UOp(Ops.BUFFER, statement.dtype.vec(lanes), (), arg, tag)
        self.buffers[statement] = self.append(node)
        self.changed(statement)
        if statement.init:
            self._fill(statement)

    def _fill(self, state: UOp) -> None:
        storage = self.storage[state]
        value = state.const_like(MONOIDS[state.init].identity)
        if storage.width:
            self.write_registers(state, range(storage.size), value)
            return
        loops = loops_along(state, state.name, storage)
        filled = store(state, Access(tuple(one.index for one in loops)), value)
        vector_bytes = 0 if self.lane else self.vector_bytes
        self.body(edit(nest(loops, filled, vector_bytes), decided))

    # expressions

    def evaluate(self, value: UOp) -> UOp:
        """The node of `value` here and now."""
        done = {}
        order = self.order(value)
        self.visits += len(order)
        for node in order:
            leaf = _LEAVES.get(node.op)
            if leaf:
                done[node] = leaf(self, node)
                continue
            src = tuple([done[source] for source in node.src])
            if node.op is Ops.DOT:
                lanes = [self.splat(part, self.lanes) for part in src]
                done[node] = self.put(node.over(tuple(lanes)))
            elif node.op in CASTS:
                dtype = node.dtype.vec(src[0].lanes)
                done[node] = self.put(UOp(node.op, dtype, src))
            else:
                done[node] = self.apply(node.op, *src, tag=node.tag)
        return done[value]

    def changed(self, *buffers: UOp) -> int:
        """Note that buffers hold something new from now on; the moment of that."""
        moment = self.moment()
        self.now.update(dict.fromkeys(buffers, moment))
        return moment

    def let(self, statement: UOp) -> None:
        """A LET is what its value is where it stands."""
        self.now[statement] = self.evaluate(statement.source)

    def index(self, node: UOp) -> UOp:
        """An index value as a number."""
        number = self.value(self.bind(node.arg))
        return self.narrow(number, node.dtype)

    # accesses

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        fill = node.const_like(node.arg.fill)
        spots = self._spots(node.source, node.arg)
        parts = [self._read(spot, fill) for spot in spots]
        if node.source.space == WARP:  # what the thread at the index holds
            number = self.value(self.bind(*node.arg.indices))
            if not number.is_loop:
                return self.put(UOp(Ops.EXCHANGE, parts[0].dtype, (*parts, number)))
        if len(parts) == 1:
            return parts[0]
        lanes = range(len(parts))
        return self.merge(parts, tuple(lanes))

    def store(self, statement: UOp) -> None:
        """Run a STORE that combines with nothing."""
        value = self.evaluate(statement.src[1])
        spots = self._spots(statement.source, statement.place, value.lanes)
        for lane, spot in enumerate(spots):
            if spot.test is not FALSE:
                part = value if spot.lanes > 1 else self.one(value, lane)
                self._write(spot, part)

    def _spots(self, buffer: UOp, access: Access, stored: int = 0) -> Iterator[Spot]:
        """An access as a whole, or lane by lane; `stored` is how many lanes it writes."""
        width = self.storage[buffer].width
        place = self.offset(buffer, access)
        inside = self.inside(place)
        mask = [*map(self.bind, access.mask)]
        offset = self.bind(place)
        step = self.step(offset)
        if step == 0:
            lanes = max([stored, *[node.lanes for node in inside]])
            if lanes > 1 or any(self.step(index) != 0 for index in mask):
                step = None
        elif step != 1 and not width:
            step = None
        if step is not None or (width and not stored):
            lanes = 1 if step == 0 else self.lanes
            test = self.holds(mask, inside)
            yield Spot(buffer, width, offset, step, lanes, test)
            return
        places = map(self.by_lane, (offset, *mask))
        for lane, (offset, *mask) in enumerate(zip(*places, strict=True)):
            tests = [self.one(node, lane) for node in inside]
            test = self.holds(mask, tests)
            yield Spot(buffer, width, offset, 0, 1, test)

    def _read(self, spot: Spot, fill: UOp) -> UOp:
        if spot.test is FALSE:
            return fill
        if spot.width:
            held = self._read_registers(spot)
            return self.apply(Ops.WHERE, spot.test, held, fill)
        masked = [] if spot.test is TRUE else [spot.test, fill]
        return self._load(spot.buffer, spot.lanes, spot.offset, *masked)

    def _write(self, spot: Spot, value: UOp) -> None:
        value = self.splat(value, spot.lanes)
        if not spot.width:
            masked = [] if spot.test is TRUE else [spot.test]
            self._store(spot.buffer, spot.offset, value, *masked)
            return
        if spot.test is not TRUE:
            value = self.apply(Ops.WHERE, spot.test, value, self._read_registers(spot))
        self.write_registers(spot.buffer, self._elements(spot), value)

    def _load(self, buffer: UOp, lanes: int, place: Index, *masked: UOp) -> UOp:
        """A load, as far out as it crosses no firm block and no store to `buffer`."""
        is_whole, src = self._access(buffer, lanes, place, masked)
        outermost, block = self.deepest(src), self.stack[-1]
        while block.depth > outermost.depth and not block.firm and buffer not in block.stored:
            block = self.stack[block.depth - 1]
        tag = self.now.get(buffer, 0), block.head
        node = UOp(Ops.LOAD, buffer.dtype.vec(lanes), src, is_whole, tag)
        return node if node in self.home else self.append(node, block)

    def _store(self, buffer: UOp, place: Index, *stored: UOp) -> None:
        is_whole, src = self._access(buffer, stored[0].lanes, place, stored)
        self.append(UOp(Ops.STORE, dtypes.void, src, is_whole, self.changed(buffer)))

    def _access(self, buffer: UOp, lanes: int, place: Index, more: Nodes) -> tuple[bool, Nodes]:
        """If the offset of the first lane is a multiple of the lanes; the buffer, that offset and
        what else is loaded or stored."""
        first = self.first(place)
        factors = [factor for _, factor in first.terms]
        is_whole = gcd(first.const, *factors) % lanes == 0
        offset = self.same(first)
        splats = [self.splat(node, lanes) for node in more]
        return is_whole, (self.buffers[buffer], offset, *splats)

    # registers

    def _read_registers(self, spot: Spot) -> UOp:
        width = spot.width
        last = self.storage[spot.buffer].size - 1
        # a lane outside is one that its mask leaves out
        inside = [min(max(element, 0), last) for element in self._elements(spot)]
        places = [divmod(element, width) for element in inside]
        units = dedup(unit for unit, _ in places)
        parts = [self._load(spot.buffer, width, make(unit)) for unit in units]
        lanes = [width * units.index(unit) + lane for unit, lane in places]
        return self.merge(parts, tuple(lanes))

    def write_registers(self, buffer: UOp, elements: Iterable[int], value: UOp) -> None:
        """Put the lanes of a value, in turn, in those of the elements that there are."""
        storage = self.storage[buffer]
        count = value.lanes
        places = enumerate(elements)
        lane_of = {one: lane % count for lane, one in places if 0 <= one < storage.size}
        for unit in dedup(element // storage.width for element in lane_of):
            inside = range(storage.width)
            lanes = [lane_of.get(unit * storage.width + k, count + k) for k in inside]
            parts = [value]
            if max(lanes) >= count:
                parts.append(self._load(buffer, storage.width, make(unit)))
            new = self.merge(parts, tuple(lanes))
            self._store(buffer, make(unit), new)

    def _elements(self, spot: Spot) -> list[int]:
        if spot.step is None:
            return [index.const for index in self.by_lane(spot.offset)]
        first = spot.offset.const
        return [first + spot.step * lane for lane in range(spot.lanes)]


_LOOPS = {"vec": Expander.along, "reg": Expander.repeated, "unroll": Expander.repeated}

_STATEMENTS: dict[Ops, Callable[[Expander, UOp], None]] = {
    Ops.BARRIER: Expander.barrier,
    Ops.BLOCK: lambda expander, statement: expander.body(statement.src),
    Ops.BUFFER: Expander.buffer,
    Ops.LET: Expander.let,
    Ops.STORE: Expander.store,
    Ops.IF: Expander.condition,
    Ops.LOOP: Expander.loop,
}

_LEAVES: dict[Ops, Callable[[Expander, UOp], UOp]] = {
    Ops.CONST: lambda expander, node: node,
    Ops.LET: lambda expander, node: expander.now[node],
    Ops.LOAD: Expander.load,
    Ops.INDEX: Expander.index,
    Ops.MASK: lambda expander, node: expander.mask(node.arg),
}
