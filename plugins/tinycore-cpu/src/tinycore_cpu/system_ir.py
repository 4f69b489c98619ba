"""What the worker pool asks of the system, as LLVM IR text: sleep, wake, and a place to run.

In: the processor's family, what the system has. Out: the functions `rest`, `rouse`, `here` and
`keep_off` that pool_ir.py calls; `%worker` and `%control` are its types. Next: pool_ir.py.
"""

from __future__ import annotations

# Linux: sleep in the kernel for as long as the low half of the number is 0.
_FUTEX = """
define internal void @rest(ptr %w) nounwind {
  %unused = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %w, i32 128, i32 0, ptr null)
  ret void
}
define internal void @rouse(ptr %w) nounwind {
  %unused = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %w, i32 129, i32 1)
  ret void
}
declare i64 @syscall(i64, ...)
"""

# Other systems with POSIX threads; pool.py has initialised the mutex and the condition.
_CONDITION = """
define internal void @rest(ptr %w) nounwind {
entry:
  %mutex = getelementptr %worker, ptr %w, i64 0, i32 11
  %condition = getelementptr %worker, ptr %w, i64 0, i32 12
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  br label %check
check:
  %posted = load atomic i64, ptr %w acquire, align 8
  %nothing = icmp eq i64 %posted, 0
  br i1 %nothing, label %wait, label %done
wait:
  %roused = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
done:
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret void
}
define internal void @rouse(ptr %w) nounwind {
  %mutex = getelementptr %worker, ptr %w, i64 0, i32 11
  %condition = getelementptr %worker, ptr %w, i64 0, i32 12
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %signalled = call i32 @pthread_cond_signal(ptr %condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret void
}
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
"""

# Linux likes to wake a worker on the launcher's own processor and to leave it there, which costs
# 100 times a launch. So each worker is kept off the processor its launcher was last seen on; the
# scheduler chooses among all others, and the launcher's own mask is never touched.
_PLACED = """
define internal i32 @here(ptr %c) nounwind {
entry:
  %placing_at = getelementptr %control, ptr %c, i64 0, i32 3
  %placing = load i64, ptr %placing_at
  %on = icmp ne i64 %placing, 0
  br i1 %on, label %ask, label %off
ask:
  %processor = call i32 @sched_getcpu()
  ret i32 %processor
off:
  ret i32 -1
}
define internal void @keep_off(ptr %c, ptr %w, i32 %processor) nounwind {
entry:
  ; Thread 0 would be the launcher itself; a worker that never started has no number.
  %thread_at = getelementptr %worker, ptr %w, i64 0, i32 7
  %thread = load i32, ptr %thread_at
  %nobody = icmp eq i32 %thread, 0
  br i1 %nobody, label %done, label %move
move:
  %avoided_at = getelementptr %worker, ptr %w, i64 0, i32 6
  store i32 %processor, ptr %avoided_at
  %allowed = getelementptr %control, ptr %c, i64 0, i32 6
  %mask = getelementptr %control, ptr %c, i64 0, i32 7
  call void @llvm.memcpy.p0.p0.i64(ptr %mask, ptr %allowed, i64 128, i1 false)
  %byte = lshr i32 %processor, 3
  %bit = and i32 %processor, 7
  %at = getelementptr i8, ptr %mask, i32 %byte
  %bit8 = trunc i32 %bit to i8
  %one = shl i8 1, %bit8
  %others = xor i8 %one, -1
  %old = load i8, ptr %at
  %new = and i8 %old, %others
  store i8 %new, ptr %at
  %unused = call i32 @sched_setaffinity(i32 %thread, i64 128, ptr %mask)
  br label %done
done:
  ret void
}
declare i32 @sched_getcpu()
declare i32 @sched_setaffinity(i32, i64, ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""

_UNPLACED = """
define internal i32 @here(ptr %c) nounwind {
  ret i32 -1
}
define internal void @keep_off(ptr %c, ptr %w, i32 %processor) nounwind {
  ret void
}
"""

# Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
_FUTEX_NUMBER = {"x86": "202", "arm": "98"}


def sleeping_text(family: str, futex: bool) -> str:
    """`rest` and `rouse`: by Linux's futex, else by a POSIX condition."""
    if not futex:
        return _CONDITION
    return _FUTEX.replace("FUTEX", _FUTEX_NUMBER[family])


def placing_text(placed: bool) -> str:
    """`here` and `keep_off`: by Linux's affinity masks, else not at all."""
    return _PLACED if placed else _UNPLACED
