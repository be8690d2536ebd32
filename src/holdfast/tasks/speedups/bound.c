/* Bound, a Function bound to an instance; and the shortcuts of both for a call without arguments.

Up to Python 3.13, `async with` binds two methods for each block and calls each of them once. Python's method objects
are allocated each time; these are used again. From 3.14 on, `async with` binds nothing, but there the interpreter has a
short way to call an object such as this, and none to call a method object over anything but a Python function.
Everything else that is asked of a Bound, its class included, is answered by a method object made for the question. */

typedef struct {
    PyObject_HEAD
    Function *function;  /* keeps the state alive */
    PyObject *self;      /* of the method */
    vectorcallfunc vectorcall;
    PyObject *weakrefs;
} Bound;

static void
bound_dealloc(PyObject *object)
{
    Bound *self = (Bound *)object;
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_DECREF(self->self);
    keep_or_free(object, self->function, &self->function->bound, true);
}

/* It has no tp_clear: a cycle through it goes through another object that has one. */
static int
bound_traverse(PyObject *object, visitproc visit, void *arg)
{
    Bound *self = (Bound *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->self);
    return 0;
}

static PyObject *
method_of(PyObject *bound)
{
    return PyMethod_New((PyObject *)((Bound *)bound)->function, ((Bound *)bound)->self);
}

static PyObject *
bound_vectorcall(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    Bound *bound = (Bound *)object;
    PyObject *function = (PyObject *)bound->function, *result;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (count == 0 && kwnames == NULL) {
        return bound->function->vectorcall(function, &bound->self, 1, NULL);
    }
    if (nargsf & PY_VECTORCALL_ARGUMENTS_OFFSET) {
        PyObject **place = (PyObject **)arguments - 1, *before = *place;
        *place = bound->self;
        result = bound->function->vectorcall(function, place, count + 1, kwnames);
        *place = before;
        return result;
    }
    PyObject *method = method_of(object);
    if (method == NULL) {
        return NULL;
    }
    result = PyObject_Vectorcall(method, arguments, nargsf, kwnames);
    Py_DECREF(method);
    return result;
}

static PyObject *
new_bound(Function *function, PyObject *self)
{
    ASSERT_REUSABLE(Bound, self);
    State *state = function->state;
    Bound *bound = (Bound *)use_again(&function->bound);
    if (bound == NULL) {
        bound = PyObject_GC_New(Bound, state->bound_type);
        if (bound == NULL) {
            return NULL;
        }
        bound->function = (Function *)Py_NewRef(function);
        bound->weakrefs = NULL;
    }
    bool short_way = function->body->bound_shortcut != NULL && Py_IS_TYPE(self, function->twin);
    bound->vectorcall = short_way ? function->body->bound_shortcut : bound_vectorcall;
    bound->self = Py_NewRef(self);
    PyObject_GC_Track(bound);
    return (PyObject *)bound;
}

static PyObject *
bound_getattro(PyObject *self, PyObject *name)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_GetAttr(method, name);
    Py_DECREF(method);
    return value;
}

static PyObject *
bound_repr(PyObject *self)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *text = PyObject_Repr(method);
    Py_DECREF(method);
    return text;
}

static Py_hash_t
bound_hash(PyObject *self)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(method);
    Py_DECREF(method);
    return hash;
}

static PyObject *
bound_richcompare(PyObject *self, PyObject *other, int operation)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *others = Py_IS_TYPE(other, Py_TYPE(self)) ? method_of(other) : Py_NewRef(other);
    PyObject *answer = others == NULL ? NULL : PyObject_RichCompare(method, others, operation);
    Py_XDECREF(others);
    Py_DECREF(method);
    return answer;
}

/* type(method)(function, self) makes a method: weakref.WeakMethod does so. */
static PyObject *
bound_new(PyTypeObject *Py_UNUSED(type), PyObject *arguments, PyObject *keywords)
{
    return PyObject_Call((PyObject *)&PyMethod_Type, arguments, keywords);
}

static PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Bound, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Bound, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_new, bound_new},
    {Py_tp_dealloc, bound_dealloc},
    {Py_tp_traverse, bound_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, bound_getattro},
    {Py_tp_repr, bound_repr},
    {Py_tp_hash, bound_hash},
    {Py_tp_richcompare, bound_richcompare},
    {Py_tp_members, bound_members},
    {0, NULL},
};

static PyType_Spec bound_spec = {
    .name = "holdfast.tasks._speedups.Bound",
    .basicsize = sizeof(Bound),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bound_slots,
};

/* The two shortcuts of a method without arguments. `way` does the plain case, and declines any other. */
#define SHORTCUTS(name, way)                                                                                        \
    static PyObject *call_##name(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)    \
    {                                                                                                               \
        if (takes_shortcut((Function *)object, arguments, nargsf, kwnames)) {                                       \
            PyObject *result = way((Function *)object, arguments[0]);                                               \
            if (result != NULL || PyErr_Occurred()) {                                                               \
                return result;                                                                                      \
            }                                                                                                       \
        }                                                                                                           \
        return function_vectorcall(object, arguments, nargsf, kwnames);                                             \
    }                                                                                                               \
    static PyObject *call_bound_##name(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *kwnames) \
    {                                                                                                               \
        if (PyVectorcall_NARGS(nargsf) == 0 && kwnames == NULL) {                                                   \
            PyObject *result = way(((Bound *)object)->function, ((Bound *)object)->self);                           \
            if (result != NULL || PyErr_Occurred()) {                                                               \
                return result;                                                                                      \
            }                                                                                                       \
        }                                                                                                           \
        return bound_vectorcall(object, arguments, nargsf, kwnames);                                                \
    }
