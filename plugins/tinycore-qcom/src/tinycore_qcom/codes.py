"""Numbers of OpenCL by name: statuses, keys of what can be asked, flags.

Source: the Khronos headers CL/cl.h and CL/cl_ext.h.
"""

STATUS = {
    -1: "DEVICE_NOT_FOUND",
    -2: "DEVICE_NOT_AVAILABLE",
    -3: "COMPILER_NOT_AVAILABLE",
    -4: "MEM_OBJECT_ALLOCATION_FAILURE",
    -5: "OUT_OF_RESOURCES",
    -6: "OUT_OF_HOST_MEMORY",
    -7: "PROFILING_INFO_NOT_AVAILABLE",
    -9: "IMAGE_FORMAT_MISMATCH",
    -10: "IMAGE_FORMAT_NOT_SUPPORTED",
    -11: "BUILD_PROGRAM_FAILURE",
    -12: "MAP_FAILURE",
    -13: "MISALIGNED_SUB_BUFFER_OFFSET",
    -14: "EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST",
    -30: "INVALID_VALUE",
    -33: "INVALID_DEVICE",
    -34: "INVALID_CONTEXT",
    -36: "INVALID_COMMAND_QUEUE",
    -38: "INVALID_MEM_OBJECT",
    -39: "INVALID_IMAGE_FORMAT_DESCRIPTOR",
    -40: "INVALID_IMAGE_SIZE",
    -42: "INVALID_BINARY",
    -43: "INVALID_BUILD_OPTIONS",
    -44: "INVALID_PROGRAM",
    -45: "INVALID_PROGRAM_EXECUTABLE",
    -46: "INVALID_KERNEL_NAME",
    -48: "INVALID_KERNEL",
    -49: "INVALID_ARG_INDEX",
    -50: "INVALID_ARG_VALUE",
    -51: "INVALID_ARG_SIZE",
    -52: "INVALID_KERNEL_ARGS",
    -53: "INVALID_WORK_DIMENSION",
    -54: "INVALID_WORK_GROUP_SIZE",
    -55: "INVALID_WORK_ITEM_SIZE",
    -57: "INVALID_EVENT_WAIT_LIST",
    -58: "INVALID_EVENT",
    -59: "INVALID_OPERATION",
    -61: "INVALID_BUFFER_SIZE",
    -63: "INVALID_GLOBAL_WORK_SIZE",
    -65: "INVALID_IMAGE_DESCRIPTOR",
    -1001: "PLATFORM_NOT_FOUND_KHR",
    -9999: "illegal access of a kernel to memory",
}
"""Statuses by number."""

NO_MEMORY = frozenset({-4, -6, -61})
"""There is no room, for whatever was asked."""

NO_ROOM = NO_MEMORY | {-5}
"""The same while memory is made; while a kernel runs, -5 is a fault of the kernel."""

TOO_MANY_THREADS = frozenset({-54, -55})
"""The group is larger than the device, or this kernel on it, allows."""

GONE = frozenset({-2, -33, -34, -36})
"""The device does not answer any more."""

MAKE_ROOM = "End other programs that use the device, or choose another one"
"""What to do where the driver makes no context, queue or program."""
