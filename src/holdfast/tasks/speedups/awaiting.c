/* The protocol between a coroutine and what it awaits: send, throw, close, and the result as a StopIteration.

What must hold: what is awaited is treated as the interpreter would treat it, except that a Future is awaited without
the iterator that its __await__() would make. */

/* The iterator of an awaitable, as the interpreter's _PyCoro_GetAwaitableIter() finds it. */
static PyObject *
await_iterator(PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable)) {
        return Py_NewRef(awaitable);
    }
    PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression", Py_TYPE(awaitable)->tp_name);
        return NULL;
    }
    PyObject *iterator = async->am_await(awaitable);
    if (iterator != NULL && !PyIter_Check(iterator)) {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'", Py_TYPE(iterator)->tp_name);
        Py_CLEAR(iterator);
    }
    return iterator;
}

/* Whether what a coroutine is suspended on is a Future itself, and not an iterator. */
static inline bool
is_future(State *state, PyObject *awaited)
{
    return Py_IS_TYPE(awaited, state->known.future);
}

/* Do what a future's iterator does: yield the future until it is done. */
static PySendResult
send_to_future(State *state, PyObject *future, PyObject **result)
{
    const Known *known = &state->known;
    int done = is_done(state, future);
    if (done != 0) {
        *result = done < 0 ? NULL : known->result(future, NULL);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }
    PyObject *blocking = known->blocking->get(future, known->blocking->closure);
    if (blocking == Py_True) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    }
    bool yields = blocking == Py_False && known->blocking->set(future, Py_True, known->blocking->closure) == 0;
    Py_XDECREF(blocking);
    *result = yields ? Py_NewRef(future) : NULL;
    return yields ? PYGEN_NEXT : PYGEN_ERROR;
}

static inline PySendResult
send_to(State *state, PyObject *awaited, PyObject *value, PyObject **result)
{
    return is_future(state, awaited) ? send_to_future(state, awaited, result) : PyIter_Send(awaited, value, result);
}

/* What send(), throw() and tp_iternext return: what was yielded, or NULL with the result as a StopIteration. */
static PyObject *
yielded(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        if (result == Py_None) {
            PyErr_SetNone(PyExc_StopIteration);
        }
        else {
            PyErr_SetObject(PyExc_StopIteration, result);  /* Our results are neither tuples nor exceptions. */
        }
        Py_CLEAR(result);
    }
    return result;
}

/* Raise StopIteration(result) with the exception object that was raised the last time. That is possible if nobody has
kept or changed the object, and a caller that just reads the value has not. Returns false, with nothing done, if it is
not possible. */
static bool
stop_again(State *state, PyObject *result)
{
#if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
    PyStopIterationObject *stop = (PyStopIterationObject *)state->stop;
    if (!PyLong_CheckExact(result) && result != Py_True) {
        return false;  /* The object would keep the result alive. */
    }
    if (stop == NULL || Py_REFCNT(stop) != 1 || stop->traceback != NULL || stop->context != NULL || stop->cause != NULL
        || stop->dict != NULL) {
        return false;
    }
    if (stop->value != result) {
        PyObject *arguments = PyTuple_Pack(1, result);
        if (arguments == NULL) {
            PyErr_Clear();
            return false;
        }
        Py_XSETREF(stop->args, arguments);
        Py_XSETREF(stop->value, Py_NewRef(result));
    }
    PyErr_SetRaisedException(Py_NewRef(stop));
    return true;
#else
    (void)state, (void)result;
    return false;
#endif
}

/* Close what a coroutine is suspended on. */
static int
close_awaited(State *state, PyObject *awaited)
{
    if (is_future(state, awaited)) {
        return 0;
    }
    PyObject *close = PyObject_GetAttr(awaited, state->str_close);
    if (close == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    PyObject *none = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Throw into what a coroutine is suspended on. */
static PySendResult
throw_into(State *state, PyObject *awaited, PyObject *exception, PyObject **result)
{
    if (is_future(state, awaited)) {
        set_exception(Py_NewRef(exception));
        return PYGEN_ERROR;
    }
    PyObject *throw = PyObject_GetAttr(awaited, state->str_throw);
    if (throw == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            set_exception(Py_NewRef(exception));
        }
        return PYGEN_ERROR;
    }
    *result = PyObject_CallOneArg(throw, exception);
    Py_DECREF(throw);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = take_exception();
    *result = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}
