/* What differs between the versions and the builds of Python, under names that say what they are for. */

#include <Python.h>
#include <frameobject.h>

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

#ifndef Py_BEGIN_CRITICAL_SECTION  /* Before Python 3.13 there is always a GIL. */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* With the GIL, objects are used again: see reuse.c. HOLDFAST_NO_REUSE lets memory checkers see each use of freed
memory. */
#if defined(Py_GIL_DISABLED) || defined(HOLDFAST_NO_REUSE)
#define REUSE 0
#else
#define REUSE 1
#endif

/* From Python 3.14 on, all bound methods are Bound: see bound.c. */
#define ALL_BOUND (PY_VERSION_HEX >= 0x030e0000)

/* From Python 3.14 on, asyncio shows what a task waits for, to the program itself and to other processes, if what the
task awaits is a coroutine with a frame. So there a coroutine of ours that has to wait is awaited by one that has. */
#define WAITS_HAVE_FRAMES (PY_VERSION_HEX >= 0x030e0000)

/* Primitives make their __dict__ when it is first asked for. Before Python 3.12, that would slow down method lookup. */
#define LAZY_DICT (PY_VERSION_HEX >= 0x030C0000)
