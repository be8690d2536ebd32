/* Condition. The twin of condition.py.

Its shortcuts are for a lock that is exactly a holdfast.Lock. Any other lock is used through its methods, by way of
`_grip`.

What must hold: wait() ends only with the lock, however often it is cancelled meanwhile. Only a wait() that is closed
may end without it, and then owes an exit. */

typedef struct {
    Primitive base;
    PyObject *lock;
    PyObject *grip;
} Condition;

/* Call a method of the lock. */
static PyObject *
call_grip(PyObject *condition, PyObject *name)
{
    PyObject *grip = LOAD((Condition *)condition, grip);
    if (grip == NULL) {
        PyErr_SetString(PyExc_AttributeError, "this condition has no lock");
        return NULL;
    }
    PyObject *result = PyObject_CallMethodNoArgs(grip, name);
    Py_DECREF(grip);
    return result;
}

/* A new reference to the lock, if it is a holdfast.Lock that is used as one; else NULL. */
static Lock *
own_lock(State *state, PyObject *condition)
{
    PyObject *grip = LOAD((Condition *)condition, grip);
    if (grip != NULL && !PyObject_TypeCheck(grip, state->lock_type)) {
        Py_CLEAR(grip);
    }
    return (Lock *)grip;
}

static inline bool
is_plain_lock(State *state, PyObject *grip)
{
    Function *acquire = state->functions[LOCK_ACQUIRE];
    return grip != NULL && acquire != NULL && Py_IS_TYPE(grip, acquire->twin);
}

/* A new reference to the lock, if it is exactly a holdfast.Lock; else NULL. */
static inline PyObject *
plain_lock(State *state, PyObject *condition)
{
    PyObject *grip = LOAD((Condition *)condition, grip);
    if (!is_plain_lock(state, grip)) {
        Py_CLEAR(grip);
    }
    return grip;
}

/* change() the lock, if it is exactly a holdfast.Lock. With the GIL this needs no reference, as change() lets no other
code run. */
static inline bool
change_plain_lock(State *state, PyObject *condition, AtOnce change)
{
#ifdef Py_GIL_DISABLED
    PyObject *lock = plain_lock(state, condition);
    bool changed = lock != NULL && change(state, lock);
    Py_XDECREF(lock);
    return changed;
#else
    PyObject *grip = ((Condition *)condition)->grip;
    return is_plain_lock(state, grip) && change(state, grip);
#endif
}

static inline PyObject *
acquire_plain_lock(Function *function, PyObject *self)
{
    State *state = function->state;
    PyObject *lock = plain_lock(state, self), *coroutine = NULL;
    if (lock != NULL) {
        coroutine = lock_acquire(state->functions[LOCK_ACQUIRE], lock);
        Py_DECREF(lock);
    }
    return coroutine;
}

SHORTCUTS(condition_acquire, acquire_plain_lock)

static PyObject *
condition_acquire(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                  Py_ssize_t Py_UNUSED(count))
{
    PyObject *grip = LOAD((Condition *)self, grip);
    PyObject *coroutine = grip == NULL ? NULL : PyObject_CallMethodNoArgs(grip, function->state->str_acquire);
    Py_XDECREF(grip);
    return coroutine;
}

static PyObject *
condition_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                  Py_ssize_t Py_UNUSED(count))
{
    Lock *lock = own_lock(function->state, self);
    PyObject *none = lock == NULL ? NULL : release_lock(function->state, lock);
    Py_XDECREF(lock);
    return none;
}

static inline bool
unlock_plain_lock(State *state, PyObject *self)
{
    return change_plain_lock(state, self, unlock_unwanted);
}

static inline PyObject *
release_plain_lock(Function *function, PyObject *self)
{
    return unlock_plain_lock(function->state, self) ? Py_NewRef(Py_None) : NULL;
}

SHORTCUTS(condition_release, release_plain_lock)

static PyObject *
condition_locked(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    Lock *lock = own_lock(function->state, self);
    PyObject *locked = lock == NULL || has_queue((PyObject *)lock) ? NULL : PyBool_FromLong(FLAG(lock->locked));
    Py_XDECREF(lock);
    return locked;
}

static PyObject *
condition_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    if (Py_IS_TYPE(self, function->twin) && !class_has_other(function)) {
        return PyObject_CallMethodNoArgs(self, function->state->str_enter);
    }
    PyObject *grip = LOAD((Condition *)self, grip);
    PyObject *awaitable = grip == NULL ? NULL : PyObject_CallMethodNoArgs(grip, function->state->str_aenter);
    Py_XDECREF(grip);
    return awaitable;
}

static inline bool
enter_plain_lock(State *state, PyObject *lock)
{
    Function *enter = state->functions[LOCK_ENTER];
#ifndef Py_GIL_DISABLED
    if (!class_is_known_to_have_other(enter)) {  /* A search may run other code, which only the long way allows. */
        return false;
    }
#endif
    return acquires_plainly(enter, lock, dict_of_primitive) && take_free_lock(state, lock);
}

static inline bool
enter_lock_of(State *state, PyObject *self)
{
    return change_plain_lock(state, self, enter_plain_lock);
}

static PyObject *
call_condition_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_enter_context(function, arguments, nargsf, kwnames, enter_lock_of, dict_of_primitive);
}

static PyObject *
call_condition_exit(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_exit_context(function, arguments, nargsf, kwnames, unlock_plain_lock, dict_of_primitive);
}

/* wait(), up to `await waiter` */
static PySendResult
condition_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    int locked = ask(self->self, state->str_locked);
    if (locked <= 0) {
        return locked < 0 ? PYGEN_ERROR : decline(self, result);  /* The Python body says what is wrong. */
    }
    PySendResult sent;
    Queue *line = line_of(self, &sent, result);
    if (line == NULL) {
        return sent;
    }
    if (call(self->self, state->str_release) < 0) {
        Py_DECREF(line);
        return PYGEN_ERROR;
    }
    return wait_in(self, line, result);
}

/* Raise the exception that is set. If the task had been notified, another waiter gets the notification; but only now,
so that it queues for the lock behind this task, which has taken it again. */
static PySendResult
pass_on_and_raise(Coroutine *self)
{
    if (self->notified) {
        PyObject *exception = take_exception();
        return raise_again(exception, call(self->self, self->function->state->str_give_back) < 0);
    }
    return PYGEN_ERROR;
}

/* The lock has been taken again, or taking it has raised. */
static PySendResult
retaken(Coroutine *self, PySendResult sent, PyObject **result)
{
    PyObject *interruption = self->interruption;
    self->interruption = NULL;
    if (sent == PYGEN_ERROR) {
        if (interruption != NULL) {
            set_context(interruption);
        }
        return pass_on_and_raise(self);
    }
    if (interruption != NULL) {
        Py_CLEAR(*result);
        set_exception(interruption);
        return pass_on_and_raise(self);
    }
    return return_true(result);
}

/* await self._grip._reacquire() */
static PySendResult
retake(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Lock *lock = own_lock(state, self->self);
    bool taken = lock != NULL && take_free_lock(state, (PyObject *)lock);
    Py_XDECREF(lock);
    if (taken) {
        return retaken(self, PYGEN_RETURN, result);
    }
    Py_CLEAR(*result);
    PyObject *coroutine = call_grip(self->self, state->str_reacquire);
    PySendResult sent = PYGEN_ERROR;
    if (coroutine != NULL) {
        sent = await(self, RETAKING, coroutine, result);
        Py_DECREF(coroutine);
    }
    return self->awaited == NULL ? retaken(self, sent, result) : sent;
}

/* wait(), after `await waiter` */
static PySendResult
condition_granted(Coroutine *self, PyObject **result)
{
    ADD(((Queue *)self->line)->granted, -1);
    self->notified = true;
    return retake(self, result);
}

/* wait(), after `except GeneratorExit` and after `except BaseException` */
static PySendResult
condition_left(Coroutine *self, PyObject *exception, PyObject **result)
{
    State *state = self->function->state;
    int notified = leave(state, (Queue *)self->line, self->waiter);
    if (notified < 0) {
        set_context(exception);
        return PYGEN_ERROR;
    }
    self->notified = notified;
    if (PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit)) {
        PyObject *none = call_grip(self->self, state->str_reacquire_closed);
        (void)raise_again(exception, none == NULL);
        Py_XDECREF(none);
        return pass_on_and_raise(self);
    }
    STORE(self, interruption, exception);
    return retake(self, result);
}

static const Steps condition_steps = {
    always_waits, NOTHING, condition_begin, condition_granted, condition_left, retaken,
};

COROUTINE_SHORTCUTS(condition_wait, always_waits)

static PyMemberDef condition_members[] = {
    PRIMITIVE_MEMBERS,
    REFERENCE("_lock", Condition, lock),
    REFERENCE("_grip", Condition, grip),
    {NULL, 0, 0, 0, NULL},
};

static int
condition_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Condition *)object)->lock);
    Py_VISIT(((Condition *)object)->grip);
    return primitive_traverse(object, visit, arg);
}

static int
condition_clear(PyObject *object)
{
    Py_CLEAR(((Condition *)object)->lock);
    Py_CLEAR(((Condition *)object)->grip);
    return primitive_clear(object);
}

DEALLOC(condition_dealloc, condition_clear)

static PyType_Spec condition_spec = FIELDS_SPEC(
    "Condition", Condition, condition_dealloc, condition_traverse, condition_clear, condition_members,
    primitive_getset);

static Body condition_bodies[] = {
    {CONDITION_ACQUIRE, FUNCTION("acquire"), .run = condition_acquire, SHORTCUTS_OF(condition_acquire)},
    {CONDITION_RELEASE, FUNCTION("release"), .run = condition_release, SHORTCUTS_OF(condition_release)},
    {CONDITION_LOCKED, FUNCTION("locked"), .run = condition_locked},
    {CONDITION_WAIT, COROUTINE_FUNCTION("wait", condition_steps), SHORTCUTS_OF(condition_wait)},
    {CONDITION_ENTER, FUNCTION("__aenter__"), .run = condition_enter, .shortcut = call_condition_enter},
    {CONDITION_EXIT, FUNCTION("__aexit__"), .arguments = 3, .run = exit_context, .shortcut = call_condition_exit},
    {0},
};
