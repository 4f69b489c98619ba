"""The worker pool as LLVM IR text: what pool.py compiles once and calls.

In: the processor's family, and from system_ir.py how threads sleep and where they run. Out: a
module of four functions: `work` (a worker's whole life), `launch`, `replay` and `stop`.

Memory, written by one side only and 128 bytes apart, so that no two writers share a line:
slot 0 is the control block, slots 1.. are the workers, 384 bytes each.

A launch writes its number into the slots of the workers that take part, works itself, takes back
the shares nobody has begun, and waits for the others. So a worker that sleeps or has lost its
processor delays nobody, and a launch too short to share is not shared. All that a worker must know
is in one cache line. It polls for a while, then sleeps until it is roused.
"""

from __future__ import annotations

SLOT_BYTES = 384
MASK_BYTES = 128

# Offsets in bytes that pool.py writes before the first launch; they follow the types below.
THREADS_AT = 0
SPINS_AT = 8
PATIENCE_AT = 16
PLACING_AT = 24
ALLOWED_AT = 128
AVOIDED_AT = 48
THREAD_ID_AT = 52
MUTEX_AT = 256
CONDITION_AT = 320

_TYPES = """
; threads of the pool, polls before sleep, polls before a yield, whether workers are placed, number
; of the last launch | allowed processors | scratch mask
%control = type { i64, i64, i64, i64, i64, [88 x i8], [128 x i8], [128 x i8] }
; number of a launch whose share is not begun, or 0; asleep, kernel, arguments, tasks, team, avoided
; processor, thread id | number of the last share finished | mutex, condition
%worker = type { i64, i64, ptr, ptr, i64, i64, i32, i32, [72 x i8], i64, [120 x i8],
                 [64 x i8], [64 x i8] }
"""

_WORK = """
define void @work(ptr %c, i64 %me) nounwind {
entry:
  %w = getelementptr %worker, ptr %c, i64 %me
  %asleep_at = getelementptr %worker, ptr %w, i64 0, i32 1
  %kernel_at = getelementptr %worker, ptr %w, i64 0, i32 2
  %args_at = getelementptr %worker, ptr %w, i64 0, i32 3
  %tasks_at = getelementptr %worker, ptr %w, i64 0, i32 4
  %team_at = getelementptr %worker, ptr %w, i64 0, i32 5
  %finished_at = getelementptr %worker, ptr %w, i64 0, i32 9
  %spins_at = getelementptr %control, ptr %c, i64 0, i32 1
  %spins = load i64, ptr %spins_at
  br label %await
await:
  br label %poll
poll:
  %tries = phi i64 [ 0, %await ], [ %more, %pause ], [ 0, %sleep ]
  %posted = load atomic i64, ptr %w monotonic, align 8
  %new = icmp ne i64 %posted, 0
  br i1 %new, label %claim, label %idle
idle:
  %more = add i64 %tries, 1
  %tired = icmp ugt i64 %more, %spins
  br i1 %tired, label %sleep, label %pause
pause:
  PAUSE
  br label %poll
sleep:
  ; The launcher sets the number, then reads `asleep`; here it is the other way round, both in one
  ; total order: either the launcher sees a sleeper or `rest` sees the launch.
  store atomic i64 1, ptr %asleep_at seq_cst, align 8
  fence seq_cst
  call void @rest(ptr %w)
  store atomic i64 0, ptr %asleep_at seq_cst, align 8
  br label %poll
claim:
  %number = atomicrmw xchg ptr %w, i64 0 seq_cst
  %lost = icmp eq i64 %number, 0
  br i1 %lost, label %await, label %take
take:
  %kernel = load ptr, ptr %kernel_at
  %args = load ptr, ptr %args_at
  %tasks = load i64, ptr %tasks_at
  %team = load i64, ptr %team_at
  %leave = icmp eq ptr %kernel, null
  br i1 %leave, label %end, label %run
run:
  call void @share(ptr %kernel, ptr %args, i64 %tasks, i64 %team, i64 %me)
  store atomic i64 %number, ptr %finished_at release, align 8
  br label %await
end:
  ret void
}

; The tasks of one member of the team: me * tasks / team up to (me + 1) * tasks / team.
define internal void @share(ptr %kernel, ptr %args, i64 %tasks, i64 %team, i64 %me) nounwind {
  %next = add i64 %me, 1
  %before = mul i64 %me, %tasks
  %after = mul i64 %next, %tasks
  %first = udiv i64 %before, %team
  %end = udiv i64 %after, %team
  call void @tasks(ptr %kernel, ptr %args, i64 %first, i64 %end, i64 %tasks)
  ret void
}

define internal void @tasks(ptr %kernel, ptr %args, i64 %first, i64 %end, i64 %tasks) nounwind {
entry:
  br label %check
check:
  %task = phi i64 [ %first, %entry ], [ %next, %run ]
  %more = icmp ult i64 %task, %end
  br i1 %more, label %run, label %done
run:
  call void %kernel(ptr %args, i64 %task, i64 %tasks)
  %next = add i64 %task, 1
  br label %check
done:
  ret void
}
"""

_LAUNCH = """
define void @launch(ptr %c, ptr %kernel, ptr %args, i64 %tasks) nounwind {
entry:
  %threads = load i64, ptr %c
  %few = icmp ult i64 %tasks, %threads
  %team = select i1 %few, i64 %tasks, i64 %threads
  %alone = icmp ult i64 %team, 2
  br i1 %alone, label %one, label %many
one:
  call void @tasks(ptr %kernel, ptr %args, i64 0, i64 %tasks, i64 %tasks)
  ret void
many:
  %number = call i64 @post(ptr %c, ptr %kernel, ptr %args, i64 %tasks, i64 %team)
  call void @share(ptr %kernel, ptr %args, i64 %tasks, i64 %team, i64 0)
  call void @take_back(ptr %c, ptr %kernel, ptr %args, i64 %tasks, i64 %team)
  call void @join(ptr %c, i64 %number, i64 %team)
  ret void
}

; Hand a launch to workers 1 .. team - 1.
define internal i64 @post(ptr %c, ptr %kernel, ptr %args, i64 %tasks, i64 %team) nounwind {
entry:
  %number_at = getelementptr %control, ptr %c, i64 0, i32 4
  %old = load i64, ptr %number_at
  %number = add i64 %old, 1
  store i64 %number, ptr %number_at
  %processor = call i32 @here(ptr %c)
  %placing = icmp sge i32 %processor, 0
  br label %check
check:
  %i = phi i64 [ 1, %entry ], [ %next, %posted ]
  %more = icmp ult i64 %i, %team
  br i1 %more, label %place, label %done
place:
  %w = getelementptr %worker, ptr %c, i64 %i
  %avoided_at = getelementptr %worker, ptr %w, i64 0, i32 6
  %avoided = load i32, ptr %avoided_at
  %elsewhere = icmp ne i32 %avoided, %processor
  %wrong = and i1 %placing, %elsewhere
  br i1 %wrong, label %move, label %hand
move:
  call void @keep_off(ptr %c, ptr %w, i32 %processor)
  br label %hand
hand:
  %kernel_at = getelementptr %worker, ptr %w, i64 0, i32 2
  %args_at = getelementptr %worker, ptr %w, i64 0, i32 3
  %tasks_at = getelementptr %worker, ptr %w, i64 0, i32 4
  %team_at = getelementptr %worker, ptr %w, i64 0, i32 5
  store ptr %kernel, ptr %kernel_at
  store ptr %args, ptr %args_at
  store i64 %tasks, ptr %tasks_at
  store i64 %team, ptr %team_at
  %unused = atomicrmw xchg ptr %w, i64 %number seq_cst
  %asleep_at = getelementptr %worker, ptr %w, i64 0, i32 1
  %asleep = load atomic i64, ptr %asleep_at seq_cst, align 8
  %sleeping = icmp ne i64 %asleep, 0
  br i1 %sleeping, label %wake, label %posted
wake:
  call void @rouse(ptr %w)
  br label %posted
posted:
  %next = add i64 %i, 1
  br label %check
done:
  ret i64 %number
}

; Do the shares of workers that have not begun.
define internal void @take_back(ptr %c, ptr %kernel, ptr %args, i64 %tasks, i64 %team) nounwind {
entry:
  br label %check
check:
  %i = phi i64 [ 1, %entry ], [ %next, %skip ]
  %w = getelementptr %worker, ptr %c, i64 %i
  %more = icmp ult i64 %i, %team
  br i1 %more, label %look, label %done
look:
  %posted = load atomic i64, ptr %w monotonic, align 8
  %begun = icmp eq i64 %posted, 0
  br i1 %begun, label %skip, label %claim
claim:
  %number = atomicrmw xchg ptr %w, i64 0 seq_cst
  %late = icmp eq i64 %number, 0
  br i1 %late, label %skip, label %run
run:
  call void @share(ptr %kernel, ptr %args, i64 %tasks, i64 %team, i64 %i)
  %finished_at = getelementptr %worker, ptr %w, i64 0, i32 9
  store atomic i64 %number, ptr %finished_at monotonic, align 8
  br label %skip
skip:
  %next = add i64 %i, 1
  br label %check
done:
  ret void
}

; Wait for workers 1 .. team - 1; yield now and then, in case one needs this very processor.
define internal void @join(ptr %c, i64 %number, i64 %team) nounwind {
entry:
  %patience_at = getelementptr %control, ptr %c, i64 0, i32 2
  %patience = load i64, ptr %patience_at
  br label %check
check:
  %i = phi i64 [ 1, %entry ], [ %next, %joined ]
  %w = getelementptr %worker, ptr %c, i64 %i
  %finished_at = getelementptr %worker, ptr %w, i64 0, i32 9
  %more = icmp ult i64 %i, %team
  br i1 %more, label %poll, label %done
poll:
  %tries = phi i64 [ 0, %check ], [ %again, %pause ], [ 0, %yield ]
  %finished = load atomic i64, ptr %finished_at acquire, align 8
  %arrived = icmp eq i64 %finished, %number
  br i1 %arrived, label %joined, label %wait
wait:
  %again = add i64 %tries, 1
  %tired = icmp ugt i64 %again, %patience
  br i1 %tired, label %yield, label %pause
pause:
  PAUSE
  br label %poll
yield:
  %ignored = call i32 @sched_yield()
  br label %poll
joined:
  %next = add i64 %i, 1
  br label %check
done:
  ret void
}

; A table of launches, one after another: kernel, arguments, tasks.
define void @replay(ptr %c, ptr %table, i64 %count) nounwind {
entry:
  br label %check
check:
  %i = phi i64 [ 0, %entry ], [ %next, %run ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %run, label %done
run:
  %row = getelementptr { ptr, ptr, i64 }, ptr %table, i64 %i
  %args_at = getelementptr { ptr, ptr, i64 }, ptr %row, i64 0, i32 1
  %tasks_at = getelementptr { ptr, ptr, i64 }, ptr %row, i64 0, i32 2
  %kernel = load ptr, ptr %row
  %args = load ptr, ptr %args_at
  %tasks = load i64, ptr %tasks_at
  call void @launch(ptr %c, ptr %kernel, ptr %args, i64 %tasks)
  %next = add i64 %i, 1
  br label %check
done:
  ret void
}

; Send every worker home: a launch of no kernel, which nobody waits for.
define void @stop(ptr %c) nounwind {
  %threads = load i64, ptr %c
  %unused = call i64 @post(ptr %c, ptr null, ptr null, i64 0, i64 %threads)
  ret void
}

declare i32 @sched_yield()
"""

# How a thread says that it is only polling.
_PAUSE = {
    "x86": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "arm": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}


def pool_module(family: str, sleeping: str, placing: str) -> str:
    """The module's text for the processor family "x86" or "arm", with two parts of system_ir.py."""
    pause, declaration = _PAUSE[family]
    text = "".join((_TYPES, _WORK, _LAUNCH, sleeping, placing, declaration))
    return text.replace("PAUSE", pause)
