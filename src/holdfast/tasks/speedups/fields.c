/* How C reads and writes the fields of an object, with the GIL and without, and how Python sees them.

What must hold: without the GIL, a field that another thread may write holds its references only through load() and
store(), which are in a critical section of the field's owner. PEEK() reads a reference of which only the address is
compared; COUNT() and FLAG() read numbers and flags. What rests on two fields at once (is there a queue? then it is
taken) is in a critical section of its own, in which no other code is called. */

/* Counts, flags, and references of which only the address matters. Without the GIL, another thread may read or write
them at the same time. */
#ifdef Py_GIL_DISABLED
#define PEEK(field) ((PyObject *)_Py_atomic_load_ptr_relaxed(&(field)))
#define COUNT(field) _Py_atomic_load_ssize_relaxed(&(field))
#define SET_COUNT(field, value) _Py_atomic_store_ssize_relaxed(&(field), (value))
#define FLAG(field) _Py_atomic_load_int8_relaxed((const int8_t *)&(field))
#define SET_FLAG(field, value) _Py_atomic_store_int8_relaxed((int8_t *)&(field), (value))
#else
#define PEEK(field) ((PyObject *)(field))
#define COUNT(field) (field)
#define SET_COUNT(field, value) ((void)((field) = (value)))
#define FLAG(field) (field)
#define SET_FLAG(field, value) ((void)((field) = (value)))
#endif

#define ADD(field, number) SET_COUNT((field), COUNT(field) + (number))

/* A new reference to what a field of `owner` holds; NULL if it holds nothing. */
static inline PyObject *
load(void *owner, PyObject *const *field)
{
    PyObject *value;
    (void)owner;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)owner);
    value = *field;
    Py_XINCREF(value);
    Py_END_CRITICAL_SECTION();
    return value;
}

/* Put a reference, which is consumed, into a field of `owner`. */
static inline void
store(void *owner, PyObject **field, PyObject *value)
{
    PyObject *old;
    (void)owner;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)owner);
    old = *field;
#ifdef Py_GIL_DISABLED
    _Py_atomic_store_ptr_release(field, value);  /* Python reads a member without a critical section. */
#else
    *field = value;
#endif
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
}

#define LOAD(owner, field) load((owner), &(owner)->field)
#define STORE(owner, field, value) store((owner), &(owner)->field, (value))

/* Fields under the names that Python knows them by. References are T_OBJECT_EX: without the GIL, Python 3.13 reads one
of T_OBJECT without making sure that another thread has not released it meanwhile. */

#define REFERENCE(name, layout, field) {name, T_OBJECT_EX, offsetof(layout, field), 0, NULL}
#define NUMBER(name, layout, field) {name, get_number, set_number, NULL, (void *)offsetof(layout, field)}

/* A count. T_PYSSIZET would do the same without COUNT() and SET_COUNT(). */
static PyObject *
get_number(PyObject *self, void *offset)
{
    return PyLong_FromSsize_t(COUNT(*(Py_ssize_t *)((char *)self + (size_t)offset)));
}

static int
set_number(PyObject *self, PyObject *value, void *offset)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "can't delete a count");
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    SET_COUNT(*(Py_ssize_t *)((char *)self + (size_t)offset), number);
    return 0;
}

/* A flag becomes true or false, whatever value Python assigns. */
static int
set_flag(PyObject *owner, char *flag, PyObject *value)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    (void)owner;
    Py_BEGIN_CRITICAL_SECTION(owner);
    SET_FLAG(*flag, truth);
    Py_END_CRITICAL_SECTION();
    return 0;
}

/* The tp_dealloc of a type with fields, given its tp_clear. */
#define DEALLOC(name, clear)                 \
    static void name(PyObject *self)         \
    {                                        \
        PyTypeObject *type = Py_TYPE(self);  \
        PyObject_GC_UnTrack(self);           \
        (void)clear(self);                   \
        type->tp_free(self);                 \
        Py_DECREF(type);                     \
    }

/* A type with fields. Its tp_new is PyType_GenericNew because on Python 3.12 object.__new__() makes the __dict__ at
once. */
#define FIELDS_SPEC(name_, layout, deallocate, traverse, clear, members, getset)        \
    {                                                                                   \
        .name = "holdfast.tasks._speedups." name_,                                      \
        .basicsize = sizeof(layout),                                                    \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,         \
        .slots = (PyType_Slot[]){                                                       \
            {Py_tp_new, PyType_GenericNew},                                             \
            {Py_tp_dealloc, deallocate},                                                \
            {Py_tp_traverse, traverse},                                                 \
            {Py_tp_clear, clear},                                                       \
            {Py_tp_members, members},                                                   \
            {Py_tp_getset, getset},                                                     \
            {0, NULL},                                                                  \
        },                                                                              \
    }
