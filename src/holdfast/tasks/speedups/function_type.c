/* What a Function is to Python: a descriptor that gives a Bound or a method. Its Python body answers what is asked. */

static PyObject *
function_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    if (instance == NULL || instance == Py_None) {
        return Py_NewRef(self);
    }
    bool bound = ALL_BOUND || ((Function *)self)->special;
    return bound ? new_bound((Function *)self, instance) : PyMethod_New(self, instance);
}

static PyObject *
function_getattro(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((Function *)self)->python, name);
    }
    return value;
}

static PyObject *
function_get_of_python(PyObject *self, void *name)
{
    return PyObject_GetAttrString(((Function *)self)->python, name);
}

static PyObject *
function_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<compiled twin of %R>", ((Function *)self)->python);
}

/* It is pickled and copied as a function is: by its name. */
static PyObject *
function_reduce(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    return PyObject_GetAttrString(((Function *)self)->python, "__qualname__");
}

/* It has no tp_clear: calls need all that it refers to, and a cycle through it goes through a class, which has one. */
static int
function_traverse(PyObject *object, visitproc visit, void *arg)
{
    Function *self = (Function *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->python);
    Py_VISIT(self->frame);
    Py_VISIT(self->module);
    Py_VISIT(self->type);
    Py_VISIT(self->twin);
    Py_VISIT(self->other);
    int stopped = traverse_pool(&self->returned, object, visit, arg);
    return stopped ? stopped : traverse_pool(&self->bound, object, visit, arg);
}

static void
function_dealloc(PyObject *object)
{
    Function *self = (Function *)object;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_XDECREF(self->python);
    Py_XDECREF(self->frame);
    Py_XDECREF(self->module);
    Py_XDECREF(self->type);
    Py_XDECREF(self->twin);
    Py_XDECREF(self->other);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef function_methods[] = {
    {"__reduce__", function_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Function, weakrefs), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(Function, python), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef function_getset[] = {
    {"__doc__", function_get_of_python, NULL, NULL, "__doc__"},
    {"__module__", function_get_of_python, NULL, NULL, "__module__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot function_slots[] = {
    {Py_tp_dealloc, function_dealloc},
    {Py_tp_traverse, function_traverse},
    {Py_tp_repr, function_repr},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, function_getattro},
    {Py_tp_descr_get, function_get},
    {Py_tp_methods, function_methods},
    {Py_tp_members, function_members},
    {Py_tp_getset, function_getset},
    {0, NULL},
};

static PyType_Spec function_spec = {
    .name = "holdfast.tasks._speedups.Function",
    .basicsize = sizeof(Function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
             | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = function_slots,
};

/* A method descriptor has no documentation of its own, so inspect and help() find that of the Python body. */
#define DESCRIPTOR(name, call) {name, call, METH_NOARGS, name "($self, /)\n--\n\n"}
#define DESCRIPTOR_OF_N(name, call)                                                                                   \
    {name, (PyCFunction)(void (*)(void))call, METH_FASTCALL | METH_KEYWORDS, name "($self, /, n=1)\n--\n\n"}
#define FUNCTION(name) {name, NULL, 0, NULL}
#define SHORTCUTS_OF(name) .shortcut = call_##name, .bound_shortcut = call_bound_##name
