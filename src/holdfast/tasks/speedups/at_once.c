/* What can be had without waiting: a free lock, a free permit, an event that is set.

The fields of these three primitives are here, and not in their own files, because coroutine.c chooses between them in a
switch. Through a pointer to a function instead, `await lock.acquire()` and its release() took 1 to 3 % longer, and
`await event.wait()` up to 4 % (paired medians of 20 rounds on CPython 3.11, 3.13 and 3.14). */

enum at_once { NOTHING, TAKE_LOCK, TAKE_PERMIT, SEE_EVENT };

typedef struct {
    Primitive base;
    char locked;
} Lock;

typedef struct {
    Primitive base;
    Py_ssize_t value;
    PyObject *large;  /* The value, if `value` is too small for it: that is 0 then, and Python bodies run. Else NULL. */
} Semaphore;

typedef struct {
    Primitive base;
    char value;
    Py_ssize_t woken;
} Event;

/* Change a primitive if that needs no waiting and no task waits; return whether it did. Those in this file call no other
code. That of a KeyedLock calls the methods of a key, and may return false with an exception. */
typedef bool (*AtOnce)(State *, PyObject *self);

/* Take the lock if it is free and no task waits. */
static inline bool
take_free_lock(State *Py_UNUSED(state), PyObject *self)
{
    Lock *lock = (Lock *)self;
    bool free;
    Py_BEGIN_CRITICAL_SECTION(self);
    free = !FLAG(lock->locked) && !has_queue(self);
    if (free) {
        SET_FLAG(lock->locked, true);
    }
    Py_END_CRITICAL_SECTION();
    return free;
}

/* Take a permit if one is free and no task waits. */
static inline bool
take_permit(State *Py_UNUSED(state), PyObject *self)
{
    Semaphore *semaphore = (Semaphore *)self;
    bool free;
    Py_BEGIN_CRITICAL_SECTION(self);
    free = COUNT(semaphore->value) > 0 && !has_queue(self);
    if (free) {
        ADD(semaphore->value, -1);
    }
    Py_END_CRITICAL_SECTION();
    return free;
}

static inline bool
event_is_set(PyObject *self)
{
    return FLAG(((Event *)self)->value);
}

static inline bool
done_at_once(enum at_once what, State *state, PyObject *self)
{
    switch (what) {
    case TAKE_LOCK:
        return take_free_lock(state, self);
    case TAKE_PERMIT:
        return take_permit(state, self);
    case SEE_EVENT:
        return event_is_set(self);
    case NOTHING:
        break;
    }
    return false;
}
