/* Lock. The twin of lock.py.

What must hold: the lock is taken without a queue only if no task waits; and release() of a lock with waiters leaves it
locked, for the first of them. */

static bool
lock_waits(PyObject *self)
{
    return FLAG(((Lock *)self)->locked);
}

/* Take the lock if it is free, even if tasks wait. */
static inline bool
take_lock(Lock *lock)
{
    bool free;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)lock);
    free = !FLAG(lock->locked);
    SET_FLAG(lock->locked, true);
    Py_END_CRITICAL_SECTION();
    return free;
}

/* acquire(), up to `await waiter` */
static PySendResult
lock_begin(Coroutine *self, PyObject **result)
{
    PySendResult sent;
    Queue *line = line_of(self, &sent, result);
    if (line == NULL) {
        return sent;
    }
    SET_COUNT(line->owed_exits, 0);
    if (take_lock((Lock *)self->self)) {
        return retire_and_return_true(self, line, result);
    }
    return wait_in(self, line, result);
}

/* acquire(), after `await waiter` */
static PySendResult
lock_granted(Coroutine *self, PyObject **result)
{
    ADD(((Queue *)self->line)->granted, -1);
    return return_true(result);
}

static const Steps lock_steps = {lock_waits, TAKE_LOCK, lock_begin, lock_granted, give_back_and_raise, NULL};

COROUTINE_SHORTCUTS(lock_acquire, lock_waits)

static PyObject *
lock_try_acquire(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return has_queue(self) ? NULL : PyBool_FromLong(take_free_lock(function->state, self));
}

/* Unlock the lock if it is locked and no task waits. */
static inline bool
unlock_unwanted(State *Py_UNUSED(state), PyObject *self)
{
    Lock *lock = (Lock *)self;
    bool unlocks;
    Py_BEGIN_CRITICAL_SECTION(self);
    unlocks = FLAG(lock->locked) && !has_queue(self);
    if (unlocks) {
        SET_FLAG(lock->locked, false);
    }
    Py_END_CRITICAL_SECTION();
    return unlocks;
}

/* Unlock the lock, or hand it to the first in the line. Declines where that is not the plain case. */
static PyObject *
release_lock(State *state, Lock *lock)
{
    if (unlock_unwanted(state, (PyObject *)lock)) {
        return Py_NewRef(Py_None);
    }
    if (!FLAG(lock->locked)) {
        return NULL;
    }
    bool other;
    Queue *queue = queue_of(state, (PyObject *)lock, &other);
    if (queue == NULL) {
        return NULL;
    }
    int granted = grant_first(state, queue);
    if (granted == 1) {
        SET_COUNT(queue->owed_exits, 0);
    }
    Py_DECREF(queue);
    return granted == 1 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
lock_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return release_lock(function->state, (Lock *)self);
}

static PyObject *
call_lock_release(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    return unlock_unwanted(NULL, self) ? Py_NewRef(Py_None) : call_function(LOCK_RELEASE, self);
}

static PyObject *
lock_locked(Function *Py_UNUSED(function), PyObject *self, PyObject *const *Py_UNUSED(arguments),
            Py_ssize_t Py_UNUSED(count))
{
    return has_queue(self) ? NULL : PyBool_FromLong(FLAG(((Lock *)self)->locked));
}

static PyObject *
lock_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return enter_context(function, self, take_free_lock);
}

static PyObject *
call_lock_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_enter_context(function, arguments, nargsf, kwnames, take_free_lock, dict_of_primitive);
}

static PyObject *
call_lock_exit(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_exit_context(function, arguments, nargsf, kwnames, unlock_unwanted, dict_of_primitive);
}

static PyMemberDef lock_members[] = {
    PRIMITIVE_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
lock_get_locked(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(FLAG(((Lock *)self)->locked));
}

static int
lock_set_locked(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return set_flag(self, &((Lock *)self)->locked, value);
}

static PyGetSetDef lock_getset[] = {
    {"_locked", lock_get_locked, lock_set_locked, NULL, NULL},
    LAST_GETSET,
};

static PyType_Spec lock_spec = FIELDS_SPEC(
    "Lock", Lock, primitive_dealloc, primitive_traverse, primitive_clear, lock_members, lock_getset);

static Body lock_bodies[] = {
    {LOCK_ACQUIRE, COROUTINE_FUNCTION("acquire", lock_steps), SHORTCUTS_OF(lock_acquire)},
    {LOCK_TRY_ACQUIRE, FUNCTION("try_acquire"), .run = lock_try_acquire},
    {LOCK_RELEASE, DESCRIPTOR("release", call_lock_release), .run = lock_release},
    {LOCK_LOCKED, FUNCTION("locked"), .run = lock_locked},
    {LOCK_ENTER, FUNCTION("__aenter__"), .run = lock_enter, .shortcut = call_lock_enter},
    {LOCK_EXIT, FUNCTION("__aexit__"), .arguments = 3, .run = exit_context, .shortcut = call_lock_exit},
    {0},
};
