/* Calls of Python from C, and the exceptions that come out of them.

What must hold: a function that returns int returns -1 with an exception set. */

/* Take the exception that is set. */
static PyObject *
take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
#endif
}

/* Set an exception, or clear it if that is NULL. Consumes the reference. */
static void
set_exception(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    if (exception == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

/* Make `earlier`, which is consumed, the context of the exception that is set. */
static void
set_context(PyObject *earlier)
{
    PyObject *later = take_exception();
    PyObject *context = PyException_GetContext(later);
    if (context == NULL && later != earlier) {
        PyException_SetContext(later, earlier);
    }
    else {
        Py_XDECREF(context);
        Py_DECREF(earlier);
    }
    set_exception(later);
}

/* Raise `exception` again, which is consumed. If the handling of it has failed, the exception of that is set and is
raised instead, with this one as its context. */
static PySendResult
raise_again(PyObject *exception, bool failed)
{
    if (failed) {
        set_context(exception);
    }
    else {
        set_exception(exception);
    }
    return PYGEN_ERROR;
}

/* Call a method without arguments for its effect. */
static int
call(PyObject *object, PyObject *name)
{
    PyObject *result = PyObject_CallMethodNoArgs(object, name);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Whether the result of a method without arguments is true. */
static int
ask(PyObject *object, PyObject *name)
{
    PyObject *result = PyObject_CallMethodNoArgs(object, name);
    if (result == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(result);
    Py_DECREF(result);
    return truth;
}

/* The exception that throw() is asked to raise. */
static PyObject *
exception_of(PyObject *type, PyObject *value, PyObject *traceback)
{
    PyObject *exception;
    if (PyExceptionInstance_Check(type)) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return NULL;
        }
        exception = Py_NewRef(type);
    }
    else if (PyExceptionClass_Check(type)) {
        if (value == Py_None) {
            exception = PyObject_CallNoArgs(type);
        }
        else if (PyObject_IsInstance(value, type) == 1) {
            exception = Py_NewRef(value);
        }
        else if (PyErr_Occurred()) {
            return NULL;
        }
        else if (PyTuple_Check(value)) {
            exception = PyObject_CallObject(type, value);
        }
        else {
            exception = PyObject_CallOneArg(type, value);
        }
        if (exception != NULL && !PyExceptionInstance_Check(exception)) {
            PyErr_Format(PyExc_TypeError, "calling %R should have returned an instance of BaseException, not %s", type,
                         Py_TYPE(exception)->tp_name);
            Py_CLEAR(exception);
        }
    }
    else {
        PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %s",
                     Py_TYPE(type)->tp_name);
        return NULL;
    }
    if (exception != NULL && traceback != Py_None && PyException_SetTraceback(exception, traceback) < 0) {
        Py_CLEAR(exception);
    }
    return exception;
}

/* The same, from the arguments of throw(type, value=None, traceback=None). */
static PyObject *
thrown(PyObject *const *arguments, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        return PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
    }
    return exception_of(arguments[0], count < 2 ? Py_None : arguments[1], count < 3 ? Py_None : arguments[2]);
}
