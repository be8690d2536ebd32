/* CPython's own deque and Future, whose C functions are called directly. A wait queue's line is a deque, its waiters
are futures.

What must hold: a C function is called only on an object whose type is exactly the one that the function was taken from.
All other objects have their methods looked up and called. What is not as expected in this CPython is not used: then the
type in Known is NULL, which is no object's. */

/* line.append(waiter) */
static int
append(State *state, PyObject *line, PyObject *waiter)
{
    PyObject *none = Py_IS_TYPE(line, state->known.deque) ? state->known.append(line, waiter)
                                                          : PyObject_CallMethodOneArg(line, state->str_append, waiter);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* line.popleft() */
static inline PyObject *
pop_oldest(State *state, PyObject *line)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.popleft(line, NULL)
                                                : PyObject_CallMethodNoArgs(line, state->str_popleft);
}

/* line.pop() */
static inline PyObject *
pop_newest(State *state, PyObject *line)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.pop(line, NULL)
                                                : PyObject_CallMethodNoArgs(line, state->str_pop);
}

/* len(line) */
static inline Py_ssize_t
length_of(State *state, PyObject *line)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.length(line) : PyObject_Size(line);
}

/* line[index]; the index is not negative */
static inline PyObject *
entry(State *state, PyObject *line, Py_ssize_t index)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.item(line, index) : PySequence_GetItem(line, index);
}

/* waiter.done() */
static int
is_done(State *state, PyObject *waiter)
{
    if (!Py_IS_TYPE(waiter, state->known.future)) {
        return ask(waiter, state->str_done);
    }
    PyObject *done = state->known.done(waiter, NULL);
    Py_XDECREF(done);  /* True or False */
    return done == NULL ? -1 : done == Py_True;
}

/* waiter.set_result(result) */
static int
set_result(State *state, PyObject *waiter, PyObject *result)
{
    const Known *known = &state->known;
    PyObject *arguments[] = {waiter, result}, *none;
    if (!Py_IS_TYPE(waiter, known->future)) {
        none = PyObject_CallMethodOneArg(waiter, state->str_set_result, result);
    }
    else if (known->set_by_class != NULL) {
        PyCMethod set = (PyCMethod)(void (*)(void))known->set_by_class;
        none = set(waiter, known->future, arguments + 1, 1, NULL);
    }
    else if (known->set != NULL) {
        none = known->set(waiter, result);
    }
    else {
        none = PyObject_Vectorcall(known->set_result, arguments, 2, NULL);
    }
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Find the C function of a method that `type` itself defines with these flags. Returns -1 if there is none, with an
exception or without. */
static int
know_method(PyCFunction *function, PyObject *type, const char *name, int flags)
{
    PyObject *method = PyObject_GetAttrString(type, name);
    bool own = method != NULL && Py_IS_TYPE(method, &PyMethodDescr_Type) && (PyObject *)PyDescr_TYPE(method) == type;
    if (own && ((PyMethodDescrObject *)method)->d_method->ml_flags == flags) {
        *function = ((PyMethodDescrObject *)method)->d_method->ml_meth;
    }
    Py_XDECREF(method);  /* The function is in static memory, and Known keeps `type`. */
    return *function == NULL ? -1 : 0;
}

static int
know_deque(Known *known, PyObject *deque)
{
    if (know_method(&known->append, deque, "append", METH_O) < 0
        || know_method(&known->popleft, deque, "popleft", METH_NOARGS) < 0
        || know_method(&known->pop, deque, "pop", METH_NOARGS) < 0) {
        return -1;
    }
    PySequenceMethods *sequence = ((PyTypeObject *)deque)->tp_as_sequence;
    if (sequence == NULL || sequence->sq_length == NULL || sequence->sq_item == NULL) {
        return -1;
    }
    known->length = sequence->sq_length;
    known->item = sequence->sq_item;
    known->deque = (PyTypeObject *)Py_NewRef(deque);
    return 0;
}

static int
know_future(Known *known, PyObject *future, PyObject *loop)
{
    if (know_method(&known->done, future, "done", METH_NOARGS) < 0
        || know_method(&known->result, future, "result", METH_NOARGS) < 0) {
        return -1;  /* such as asyncio.futures._PyFuture */
    }
    PyObject *blocking = PyObject_GetAttrString(future, "_asyncio_future_blocking");
    if (blocking != NULL && Py_IS_TYPE(blocking, &PyGetSetDescr_Type)) {
        known->blocking = ((PyGetSetDescrObject *)blocking)->d_getset;
    }
    Py_XDECREF(blocking);
    PyObject *source = PyObject_GetAttrString(future, "_source_traceback");
    if (source != NULL && Py_IS_TYPE(source, &PyGetSetDescr_Type)) {
        known->source = ((PyGetSetDescrObject *)source)->d_getset;
    }
    Py_XDECREF(source);
    PyErr_Clear();
    known->set_result = PyObject_GetAttrString(future, "set_result");
    known->create_future = PyObject_GetAttrString(loop, "create_future");
    if (known->blocking == NULL || known->set_result == NULL || known->create_future == NULL) {
        return -1;
    }
    (void)know_method(&known->set, future, "set_result", METH_O);
    (void)know_method(&known->set_by_class, future, "set_result", METH_METHOD | METH_FASTCALL | METH_KEYWORDS);
    known->future = (PyTypeObject *)Py_NewRef(future);
    return 0;
}

/* Find all of it. Returns -1 only with an exception. */
static int
know(Known *known)
{
    struct {
        const char *module;
        const char *name;
        PyObject *value;
    } imports[] = {
        {"collections", "deque", NULL},
        {"asyncio.futures", "Future", NULL},
        {"asyncio.base_events", "BaseEventLoop", NULL},
    };
    int result = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(imports) && result == 0; i++) {
        PyObject *module = PyImport_ImportModule(imports[i].module);
        imports[i].value = module == NULL ? NULL : PyObject_GetAttrString(module, imports[i].name);
        Py_XDECREF(module);
        result = imports[i].value == NULL ? -1 : 0;
    }
    if (result == 0) {
        int unknown = know_deque(known, imports[0].value) < 0;
        unknown |= know_future(known, imports[1].value, imports[2].value) < 0;
        if (unknown && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        result = PyErr_Occurred() ? -1 : 0;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(imports); i++) {
        Py_XDECREF(imports[i].value);
    }
    return result;
}
