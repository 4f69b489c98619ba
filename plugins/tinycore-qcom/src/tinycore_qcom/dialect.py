"""OpenCL C as a table of the core's C-family renderer.

In: what a device computes. Out: a `Dialect`.
Source: The OpenCL C Specification 3.0, https://registry.khronos.org/OpenCL/specs/3.0-unified/.
"""

from functools import cache

from tinycore.backend import Dialect, Memory, Ops, Reach

IMAGE_TEXELS = 4096
"""Texels in each row of an image, of 16 bytes each."""

_KERNEL = """\
{preamble}
#ifndef WARPS
#define WARPS
#endif
__kernel WARPS __attribute__((reqd_work_group_size({threads}, 1, 1)))
void {name}({parameters}) {{
{group}
{body}
}}
"""
_TYPES = {
    "bool": "uchar",
    "int8": "char",
    "uint8": "uchar",
    "int16": "short",
    "uint16": "ushort",
    "int32": "int",
    "uint32": "uint",
    "int64": "long",
    "uint64": "ulong",
    "float32": "float",
    "float16": "ushort",
    "bfloat16": "ushort",
    "fp8e4m3": "uchar",
    "fp8e5m2": "uchar",
}
_FLOATS = ("float16", "float32", "float64")
_ARRAY = "{type} {name}[{size}] __attribute__((aligned({alignment})));"

# Source: rounding to float32 after float64 is rounding once; Figueroa, When Is Double Rounding
# Innocuous?, SIGNUM Newsletter 30(3), 1995.
_ROUNDED = "{0} __attribute__((overloadable)) rounded_{1}({0} x) {{ return ({0})({2}); }}"
_BY_DOUBLE = {Ops.RECIP: "1 / (double)x", Ops.SQRT: "sqrt((double)x)"}

_HALVES = """\
float from_half(ushort bits) { return vload_half(0, (const half *)&bits); }
ushort to_half(float x) { ushort bits; vstore_half_rte(x, 0, (half *)&bits); return bits; }"""

# Source: the extensions cl_intel_required_subgroup_size and cl_khr_subgroup_shuffle.
_WARPS = "#define WARPS __attribute__((intel_reqd_sub_group_size({width})))"
_EXCHANGE = "sub_group_shuffle({{0}}, (uint){{1}} % {width})"

_OPS = {Ops.SQRT: "sqrt({0})", Ops.TRUNC: "trunc({0})"}
_NATIVE = {Ops.DOT: "dot({0}, {1})", Ops.EXP: "exp({0})", Ops.LOG: "log({0})", Ops.SIN: "sin({0})"}

# Intel's compiler of 2026 crashes where it makes vectors of a loop that divides 32-bit integers.
_LOOP = """\
#pragma clang loop vectorize(disable)
for ({type} {name} = 0; {name} < {end}; {name}++)"""


def _memory(space: str, declared: str, constant: str = "") -> Memory:
    pointer = f"({space} {{type}} *)({{buffer}} + {{offset}})"
    aligned = Reach(
        f"*({space} const {{type}} *)({{buffer}} + {{offset}})", f"*{pointer} = {{value}};"
    )
    unaligned = Reach(
        "vload{lanes}(0, {buffer} + {offset})", "vstore{lanes}({value}, 0, {buffer} + {offset});"
    )
    return Memory(declared, constant, Reach(), aligned, unaligned)


# An image is texels of four elements, IMAGE_TEXELS in a row; only whole ones can be written.
_IMAGE = """\
void write_texel(write_only image2d_t image, long at, float4 value) {{
  const int number = (int)(at / 4);
  write_imagef(image, (int2)(number % {width}, number / {width}), value);
}}
const sampler_t texels = CLK_NORMALIZED_COORDS_FALSE | CLK_ADDRESS_NONE | CLK_FILTER_NEAREST;
float4 texel_float4(read_only image2d_t image, long at) {{
  const int number = (int)(at / 4);
  return read_imagef(image, texels, (int2)(number % {width}, number / {width}));
}}
float2 texel_float2(read_only image2d_t image, long at) {{
  const float4 found = texel_float4(image, at);
  return at & 2 ? found.hi : found.lo;
}}
float texel_float(read_only image2d_t image, long at) {{
  const float2 found = texel_float2(image, at);
  return at & 1 ? found.y : found.x;
}}"""
_TEXEL = Reach("texel_{type}({buffer}, {offset})", "write_texel({buffer}, {offset}, {value});")

_SPACES = {
    "image": Memory(
        "write_only image2d_t {name}", "read_only image2d_t {name}", _TEXEL, _TEXEL, texel=4
    ),
    "global": _memory(
        "__global", "__global {type} *restrict {name}", "__global const {type} *restrict {name}"
    ),
    "group": _memory("__local", f"__local {_ARRAY}"),
    "packed": _memory("__private", _ARRAY),
}

_PREAMBLE = {
    "": "#pragma OPENCL FP_CONTRACT OFF",
    "image": _IMAGE.format(width=IMAGE_TEXELS),
}


@cache
def opencl(
    fp16: bool = False,
    fp64: bool = False,
    rounded: bool = False,
    native: tuple[Ops, ...] = (),
    warp: int = 1,
) -> Dialect:
    """OpenCL C for a device with the extensions cl_khr_fp16 and cl_khr_fp64.

    Without `fp16`, float16 is storage alone, kept as bits. `rounded`: the device divides and takes
    roots exactly, and its compiler is told to; else float64 stands in if there is one. `native`:
    EXP, LOG and SIN are the device's own functions, good to 3 or 4 ULP. DOT is that of the
    extension cl_khr_integer_dot_product. `warp`: so many threads of a subgroup, if more than one,
    read each other's registers.
    """
    types = _TYPES | ({"float64": "double"} if fp64 else {})
    preamble, casts = {**_PREAMBLE}, {}
    ops = _OPS | {op: _NATIVE[op] for op in native}
    if warp > 1:
        ops[Ops.EXCHANGE] = _EXCHANGE.format(width=warp)
        preamble[Ops.EXCHANGE.name] = _WARPS.format(width=warp)
    if fp16:
        types["float16"] = "half"
        preamble[""] += "\n#pragma OPENCL EXTENSION cl_khr_fp16 : enable"
    else:
        preamble["float16"] = _HALVES
        casts = {("float16", "float32"): "from_half({0})", ("float32", "float16"): "to_half({0})"}
    for op, value in _BY_DOUBLE.items() if fp64 and not rounded else ():
        floats = [types[name] for name in _FLOATS[not fp16 :]]
        name = op.name.lower()
        preamble[op.name] = "\n".join([_ROUNDED.format(one, name, value) for one in floats])
        ops[op] = f"rounded_{name}({{0}})"
    return Dialect(
        name="OpenCL C",
        kernel=_KERNEL,
        types=types,
        spaces=_SPACES,
        number={"grid": "get_group_id(0)", "thread": "get_local_id(0)"},
        barrier="barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);",
        preamble=preamble,
        suffixes={"uint32": "u", "int64": "L", "uint64": "UL", "float32": "f"},
        ops=ops,
        casts=casts,
        loop=_LOOP,
        bitcast="as_{type}({value})",
        widths=(2, 4, 8, 16),
        lane="{name}.s{lane:x}",
    )
