/* How a Coroutine runs: send(), throw(), close(), and being awaited.

What ends at once takes the short way: a coroutine that has not begun, whose lock, permit or event can be had without
waiting, ends without a step of its method. All else takes the long way, resume().

What must hold: only one thread runs a coroutine at a time, between start_running() and let_others_run(). */

/* The coroutine is suspended or has ended. A thread that runs it next sees what this one has done. */
static inline void
let_others_run(Coroutine *self)
{
#ifdef Py_GIL_DISABLED
    _Py_atomic_store_int8((int8_t *)&self->running, false);
#else
    self->running = false;
#endif
}

/* From here to let_others_run(), no other thread can run it. */
static int
start_running(Coroutine *self)
{
#ifdef Py_GIL_DISABLED
    bool was_running = _Py_atomic_exchange_int8((int8_t *)&self->running, true);
#else
    bool was_running = self->running;
    self->running = true;
#endif
    if (was_running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    return 0;
}

/* Leave a coroutine that has run up to a wait or to its end; return what its caller gets. */
static PySendResult
stop_running(Coroutine *self, PySendResult sent, PyObject **result)
{
    if (sent != PYGEN_NEXT) {
        SET_STAGE(self, ENDED);
        STORE(self, self, NULL);
        if (self->line != NULL) {
            STORE(self, line, NULL);
            STORE(self, waiter, NULL);
            STORE(self, interruption, NULL);
        }
        if (sent == PYGEN_RETURN) {
            if (self->gives_none) {
                Py_SETREF(*result, Py_NewRef(Py_None));
            }
        }
        else if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
            PyObject *stop = take_exception();
            PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
            PyObject *error = take_exception();
            PyException_SetCause(error, Py_NewRef(stop));
            PyException_SetContext(error, stop);
            set_exception(error);
        }
    }
    let_others_run(self);
    return sent;
}

static inline bool
take_at_once(Coroutine *self)
{
    return done_at_once((enum at_once)self->at_once, self->function->state, self->self);
}

/* The short way: a coroutine that has not begun and can end at once does so. It is not for builds without the GIL,
where two threads may get here with the same coroutine. */
static inline bool
ends_at_once(Coroutine *self, PyObject *value)
{
#ifdef Py_GIL_DISABLED
    (void)self, (void)value;
    return false;
#else
    if (self->stage != CREATED || value != Py_None || !take_at_once(self)) {
        return false;
    }
    self->stage = ENDED;
    Py_CLEAR(self->self);
    return true;
#endif
}

/* The long way. It is not inline, or the short way would save registers that it does not use. */
static Py_NO_INLINE PySendResult
resume(Coroutine *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (start_running(self) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent;
    assert(self->stage != BEGUN);
    if (self->stage == CREATED) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
            let_others_run(self);
            return PYGEN_ERROR;
        }
        SET_STAGE(self, BEGUN);
        sent = take_at_once(self) ? return_true(result) : self->function->body->steps->begin(self, result);
    }
    else if (self->stage == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        let_others_run(self);
        return PYGEN_ERROR;
    }
    else {
        sent = send_to(self->function->state, self->awaited, value, result);
    }
    return stop_running(self, end_of_wait(self, sent, result), result);
}

static PySendResult
coroutine_am_send(PyObject *object, PyObject *value, PyObject **result)
{
    Coroutine *self = (Coroutine *)object;
    if (ends_at_once(self, value)) {
        *result = Py_NewRef(self->gives_none ? Py_None : Py_True);
        return PYGEN_RETURN;
    }
    return resume(self, value, result);
}

/* The end of the short way: True as a StopIteration, or None, which needs none. */
static inline PyObject *
stop_at_once(Coroutine *self)
{
    if (self->gives_none || stop_again(self->function->state, Py_True)) {
        return NULL;
    }
    return yielded(PYGEN_RETURN, Py_NewRef(Py_True));
}

/* NULL without an exception means to the interpreter that it has returned None. */
static PyObject *
coroutine_iternext(PyObject *object)
{
    PyObject *result;
    if (ends_at_once((Coroutine *)object, Py_None)) {
        return stop_at_once((Coroutine *)object);
    }
    PySendResult sent = resume((Coroutine *)object, Py_None, &result);
    if (sent == PYGEN_RETURN && (result == Py_None || stop_again(((Coroutine *)object)->function->state, result))) {
        Py_DECREF(result);
        return NULL;
    }
    return yielded(sent, result);
}

static PyObject *
coroutine_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = coroutine_am_send(self, value, &result);
    return yielded(sent, result);
}

/* Raise `exception` where the coroutine is. */
static PySendResult
throw(Coroutine *self, PyObject *exception, PyObject **result)
{
    *result = NULL;
    if (start_running(self) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent = PYGEN_ERROR;
    if (self->stage == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        let_others_run(self);
        return PYGEN_ERROR;
    }
    if (self->stage == CREATED) {
        set_exception(Py_NewRef(exception));
    }
    else if (self->stage == WAITING && is_future(self->function->state, self->awaited)) {  /* so for cancellations */
        STORE(self, awaited, NULL);
        sent = self->function->body->steps->left(self, Py_NewRef(exception), result);
    }
    else if (PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit)) {
        if (close_awaited(self->function->state, self->awaited) == 0) {
            set_exception(Py_NewRef(exception));
        }
    }
    else {
        sent = throw_into(self->function->state, self->awaited, exception, result);
    }
    return stop_running(self, end_of_wait(self, sent, result), result);
}

static PyObject *
coroutine_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *exception = thrown(arguments, count), *result;
    if (exception == NULL) {
        return NULL;
    }
    PySendResult sent = throw((Coroutine *)self, exception, &result);
    Py_DECREF(exception);
    return yielded(sent, result);
}

static PyObject *
coroutine_close(PyObject *object, PyObject *Py_UNUSED(arguments))
{
    Coroutine *self = (Coroutine *)object;
    if (start_running(self) < 0) {
        return NULL;
    }
    if (self->stage == CREATED || self->stage == ENDED) {
        PyObject *nothing = NULL;
        PyErr_SetNone(PyExc_GeneratorExit);
        stop_running(self, PYGEN_ERROR, &nothing);
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    let_others_run(self);
    PyObject *exception = PyObject_CallNoArgs(PyExc_GeneratorExit), *result;
    if (exception == NULL) {
        return NULL;
    }
    PySendResult sent = throw(self, exception, &result);
    Py_DECREF(exception);
    Py_XDECREF(result);
    if (sent == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return NULL;
    }
    if (sent == PYGEN_ERROR) {
        if (!PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
            return NULL;
        }
        PyErr_Clear();
    }
    return Py_NewRef(Py_None);
}

static PyObject *
coroutine_await(PyObject *object)
{
    if (PEEK(((Coroutine *)object)->awaited) != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(object);
}
