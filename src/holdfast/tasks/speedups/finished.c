/* Finished: what `__aenter__` and `__aexit__` return if nothing is left to do. The twin of context_manager._Finished.

What must hold: it has no state, so that one object serves every call. */

static PySendResult
finished_am_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *
finished_iternext(PyObject *Py_UNUSED(self))
{
    return NULL;
}

static PyObject *
finished_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *
finished_throw(PyObject *Py_UNUSED(self), PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *exception = thrown(arguments, count);
    if (exception != NULL) {
        set_exception(exception);
    }
    return NULL;
}

static PyObject *
finished_close(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arguments))
{
    return Py_NewRef(Py_None);
}

static PyObject *
new_reference(PyObject *self)
{
    return Py_NewRef(self);
}

static int
traverse_type(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
finished_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef finished_methods[] = {
    {"send", finished_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))finished_throw, METH_FASTCALL, NULL},
    {"close", finished_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot finished_slots[] = {
    {Py_tp_dealloc, finished_dealloc},
    {Py_tp_traverse, traverse_type},
    {Py_tp_iternext, finished_iternext},
    {Py_am_await, new_reference},
    {Py_am_send, finished_am_send},
    {Py_tp_methods, finished_methods},
    {0, NULL},
};

static PyType_Spec finished_spec = {
    .name = "holdfast.tasks._speedups.Finished",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = finished_slots,
};
