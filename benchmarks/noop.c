/* A primitive that does nothing, with the protocol of one, written as types in C are: what is left are the costs of
`await`, `async with` and calls. Only `async with` can cost less, where its methods are not bound anew for each block.

acquire() and wait() return an object for each call, which does nothing before it is awaited and then gives True.
`__aenter__` and `__aexit__` return one that gives None, always the same. No checks, no collector, no debug mode. */

#include <Python.h>

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *self;
} Pending;

static PyTypeObject Pending_type, Ready_type;
static PyObject *ready, *stop;
static Pending *spare;

static PyObject *
same(PyObject *self)
{
    return Py_NewRef(self);
}

static void
pending_dealloc(PyObject *object)
{
    Pending *self = (Pending *)object;
    Py_CLEAR(self->self);
    if (spare == NULL) {
        spare = self;
    }
    else {
        PyObject_Free(self);
    }
}

static PySendResult
pending_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = Py_NewRef(Py_True);
    return PYGEN_RETURN;
}

static PyObject *
pending_next(PyObject *Py_UNUSED(self))
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(Py_NewRef(stop));
#else
    PyErr_SetObject(PyExc_StopIteration, Py_True);
#endif
    return NULL;
}

static PySendResult
ready_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *
ready_next(PyObject *Py_UNUSED(self))
{
    return NULL;
}

static PyAsyncMethods pending_async = {.am_await = same, .am_send = pending_send};
static PyAsyncMethods ready_async = {.am_await = same, .am_send = ready_send};

static PyTypeObject Pending_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "noop.Pending",
    .tp_basicsize = sizeof(Pending),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = pending_dealloc,
    .tp_as_async = &pending_async,
    .tp_iternext = pending_next,
};

static PyTypeObject Ready_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "noop.Ready",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &ready_async,
    .tp_iternext = ready_next,
};

static PyObject *
noop_acquire(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    Pending *pending = spare;
    if (pending != NULL) {
        spare = NULL;
        PyObject_Init((PyObject *)pending, &Pending_type);
    }
    else {
        pending = PyObject_New(Pending, &Pending_type);
        if (pending == NULL) {
            return NULL;
        }
    }
    pending->self = Py_NewRef(self);
    return (PyObject *)pending;
}

static PyObject *
noop_release(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arguments))
{
    return Py_NewRef(Py_None);
}

static PyObject *
noop_enter(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arguments))
{
    return Py_NewRef(ready);
}

static PyObject *
noop_exit(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return Py_NewRef(ready);
}

static PyMethodDef noop_methods[] = {
    {"acquire", noop_acquire, METH_NOARGS, NULL},
    {"release", noop_release, METH_NOARGS, NULL},
    {"wait", noop_acquire, METH_NOARGS, NULL},
    {"set", noop_release, METH_NOARGS, NULL},
    {"notify", noop_release, METH_NOARGS, NULL},
    {"notify_all", noop_release, METH_NOARGS, NULL},
    {"__aenter__", noop_enter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))noop_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyObject *
noop_new(PyTypeObject *type, PyObject *Py_UNUSED(arguments), PyObject *Py_UNUSED(keywords))
{
    return type->tp_alloc(type, 0);
}

static PyTypeObject NoOp_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "noop.NoOp",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = noop_new,
    .tp_methods = noop_methods,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "noop", .m_size = -1};

PyMODINIT_FUNC
PyInit_noop(void)
{
    if (PyType_Ready(&Pending_type) < 0 || PyType_Ready(&Ready_type) < 0 || PyType_Ready(&NoOp_type) < 0) {
        return NULL;
    }
    ready = PyObject_New(PyObject, &Ready_type);
    stop = PyObject_CallOneArg(PyExc_StopIteration, Py_True);
    PyObject *self = ready == NULL || stop == NULL ? NULL : PyModule_Create(&module);
    if (self != NULL && PyModule_AddObjectRef(self, "NoOp", (PyObject *)&NoOp_type) < 0) {
        Py_CLEAR(self);
    }
    return self;
}
