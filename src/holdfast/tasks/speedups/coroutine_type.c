/* What a Coroutine is to Python: how it ends when nothing refers to it any more, and what it tells of itself.

What must hold: it tells what a coroutine of the Python body would tell. One that was never awaited is warned about; one
that is dropped while it waits is closed, so that it gives back what it was granted. */

/* warnings._warn_unawaited_coroutine(self), as the interpreter does for its own */
static void
warn_never_awaited(PyObject *self)
{
    PyObject *warnings = PyImport_ImportModule("warnings"), *none = NULL;
    if (warnings != NULL) {
        none = PyObject_CallMethod(warnings, "_warn_unawaited_coroutine", "O", self);
        Py_DECREF(warnings);
    }
    if (none == NULL) {
        PyErr_WriteUnraisable(self);
    }
    Py_XDECREF(none);
}

static void
coroutine_finalize(PyObject *object)
{
    Coroutine *self = (Coroutine *)object;
    self->finalized = true;
    if (self->stage == ENDED) {
        return;
    }
    PyObject *pending = take_exception();
    if (self->stage == CREATED && !self->in_frame) {  /* With a frame, the interpreter warns of the outer one. */
        warn_never_awaited(object);
    }
    PyObject *none = coroutine_close(object, NULL);
    if (none == NULL) {
        PyErr_WriteUnraisable(object);
    }
    Py_XDECREF(none);
    set_exception(pending);
}

static int
coroutine_traverse(PyObject *object, visitproc visit, void *arg)
{
    Coroutine *self = (Coroutine *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->self);
    Py_VISIT(self->line);
    Py_VISIT(self->waiter);
    Py_VISIT(self->awaited);
    Py_VISIT(self->interruption);
    return 0;
}

/* It keeps the function, which every use needs. No cycle goes through that: it does not refer to its coroutines. */
static int
coroutine_clear(PyObject *object)
{
    Coroutine *self = (Coroutine *)object;
    self->stage = ENDED;
    Py_CLEAR(self->self);
    Py_CLEAR(self->line);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->awaited);
    Py_CLEAR(self->interruption);
    return 0;
}

/* Returns false if the finalizer has made something refer to it again, as a recorder of warnings does. */
static Py_NO_INLINE bool
end_coroutine(Coroutine *self)
{
    if (self->stage != ENDED) {
        if (!self->tracked) {  /* It may live on, and then has to be. */
            self->tracked = true;
            PyObject_GC_Track(self);
        }
        if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
            return false;
        }
    }
    if (self->tracked) {
        PyObject_GC_UnTrack(self);
        (void)coroutine_clear((PyObject *)self);
    }
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    return true;
}

static void
coroutine_dealloc(PyObject *object)
{
    Coroutine *self = (Coroutine *)object;
    bool plain = self->stage == ENDED && !self->tracked && self->weakrefs == NULL;
    if (plain || end_coroutine(self)) {
        bool reusable = !self->finalized;
        make_new(self);
        keep_or_free(object, self->function, &self->function->returned, reusable);
    }
}

static PyObject *
coroutine_repr(PyObject *object)
{
    PyObject *name = PyObject_GetAttrString(((Coroutine *)object)->function->python, "__qualname__");
    if (name == NULL) {
        return NULL;
    }
    PyObject *text = PyUnicode_FromFormat("<coroutine object %S at %p>", name, object);
    Py_DECREF(name);
    return text;
}

static PyObject *
coroutine_get_of_function(PyObject *object, void *name)
{
    return PyObject_GetAttrString(((Coroutine *)object)->function->python, name);
}

static PyObject *
coroutine_get_running(PyObject *object, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(FLAG(((Coroutine *)object)->running));
}

static PyObject *
coroutine_get_suspended(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    enum stage stage = STAGE(self);
    return PyBool_FromLong(!FLAG(self->running) && stage != CREATED && stage != ENDED);
}

#if PY_VERSION_HEX >= 0x030f0000
/* What inspect.getcoroutinestate() asks for. */
static PyObject *
coroutine_get_state(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    enum stage stage = STAGE(self);
    return PyUnicode_FromString(FLAG(self->running) ? "CORO_RUNNING"
                                : stage == CREATED ? "CORO_CREATED"
                                : stage == ENDED ? "CORO_CLOSED"
                                : "CORO_SUSPENDED");
}
#endif

static PyObject *
coroutine_get_awaited(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    if (self->in_frame) {  /* So that a list of a task's coroutines has one entry, the outer one, for both. */
        PyErr_SetString(PyExc_AttributeError, "cr_await");
        return NULL;
    }
    PyObject *awaited = LOAD(self, awaited);
    if (awaited == NULL) {
        return Py_NewRef(Py_None);
    }
    if (is_future(self->function->state, awaited)) {
        Py_SETREF(awaited, PyObject_GetIter(awaited));
    }
    return awaited;
}

/* A frame for tools that show where a task is. It stands at the first line of the Python body. */
static PyObject *
coroutine_get_frame(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    if (STAGE(self) == ENDED || self->in_frame) {
        return Py_NewRef(Py_None);
    }
    PyObject *python = self->function->python;
    return (PyObject *)PyFrame_New(
        PyThreadState_Get(), (PyCodeObject *)PyFunction_GET_CODE(python), PyFunction_GET_GLOBALS(python), NULL);
}

static PyObject *
get_none(PyObject *Py_UNUSED(object), void *Py_UNUSED(closure))
{
    return Py_NewRef(Py_None);
}

static PyMethodDef coroutine_methods[] = {
    {"send", coroutine_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))coroutine_throw, METH_FASTCALL, NULL},
    {"close", coroutine_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef coroutine_getset[] = {
    {"__name__", coroutine_get_of_function, NULL, NULL, "__name__"},
    {"__qualname__", coroutine_get_of_function, NULL, NULL, "__qualname__"},
    {"cr_code", coroutine_get_of_function, NULL, NULL, "__code__"},
    {"cr_await", coroutine_get_awaited, NULL, NULL, NULL},
    {"cr_frame", coroutine_get_frame, NULL, NULL, NULL},
    {"cr_origin", get_none, NULL, NULL, NULL},
    {"cr_running", coroutine_get_running, NULL, NULL, NULL},
    {"cr_suspended", coroutine_get_suspended, NULL, NULL, NULL},
#if PY_VERSION_HEX >= 0x030f0000
    {"cr_state", coroutine_get_state, NULL, NULL, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef coroutine_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Coroutine, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot coroutine_slots[] = {
    {Py_tp_dealloc, coroutine_dealloc},
    {Py_tp_traverse, coroutine_traverse},
    {Py_tp_clear, coroutine_clear},
    {Py_tp_finalize, coroutine_finalize},
    {Py_tp_repr, coroutine_repr},
    {Py_tp_iternext, coroutine_iternext},
    {Py_am_await, coroutine_await},
    {Py_am_send, coroutine_am_send},
    {Py_tp_methods, coroutine_methods},
    {Py_tp_getset, coroutine_getset},
    {Py_tp_members, coroutine_members},
    {0, NULL},
};

static PyType_Spec coroutine_spec = {
    .name = "holdfast.tasks._speedups.Coroutine",
    .basicsize = sizeof(Coroutine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = coroutine_slots,
};
