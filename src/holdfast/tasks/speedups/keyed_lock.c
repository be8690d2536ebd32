/* KeyedLock and the lock of a key. The twin of keyed_lock.py.

What must hold:

 1. A key that nobody holds or wants is taken, and a key that one task holds and nobody else wants is freed. Whatever has
    an entry is left to the Python bodies.
 2. Each look into the dict may call the key's `__hash__` and `__eq__`, which may use the same KeyedLock, and let go of
    what was found before. So everything here is held by a reference of its own. A key is taken in one step that looks
    and puts, and what was taken out is looked at again.

`locks[key]` makes an object for each use. Objects that were let go of serve the next use. */

typedef struct {
    PyObject_HEAD
#if LAZY_DICT
    PyObject *dict;     /* NULL until it is given an attribute that is no field */
#endif
    PyObject *entries;  /* NULL, or a dict: for each key its Entry, or a mark */
    Function *getitem;  /* NULL, or `__getitem__`, once that has been looked for */
} KeyedLock;

typedef struct {
    PyObject_HEAD
    Function *function;  /* `KeyedLock.__getitem__`, which has the pool; NULL if Python code has made this object */
    PyObject *keyed;
    PyObject *key;
    PyObject *dict;      /* NULL until it is given an attribute that is no field */
    PyObject *weakrefs;
} KeyLock;

/* Whether a value of the dict is a mark: one of ours, or one that Python code has put there, an instance of object. */
static inline bool
is_mark(PyObject *value)
{
    return value == Py_None || PyFloat_CheckExact(value) || Py_IS_TYPE(value, &PyBaseObject_Type);
}

/* Put a mark in the place of a key that is not in the dict; return whether it was put there. */
static inline bool
put_mark(PyObject *entries, PyObject *key)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyDict_SetDefaultRef(entries, key, Py_None, NULL) == 0;
#else  /* Only a mark of its own shows that it was put there. A new float is the cheapest new object. */
    PyObject *mark = PyFloat_FromDouble(0.0);
    if (mark == NULL) {
        return false;
    }
    bool put = PyDict_SetDefault(entries, key, mark) == mark;
    Py_DECREF(mark);
    return put;
#endif
}

#if PY_VERSION_HEX >= 0x030D0000
/* Take a mark out of the dict; return whether that was done. If somebody has asked for the key meanwhile, the entry is
put back. */
static inline bool
remove_mark(PyObject *entries, PyObject *key)
{
    PyObject *value;
    if (PyDict_GetItemRef(entries, key, &value) <= 0) {
        return false;
    }
    bool removed = is_mark(value);
    Py_DECREF(value);
    if (removed && PyDict_Pop(entries, key, &value) != 0) {
        removed = value != NULL && is_mark(value);
        if (value != NULL && !removed) {
            (void)PyDict_SetItem(entries, key, value);
        }
        Py_XDECREF(value);
    }
    return removed;
}
#else
/* What _PyDict_DelItemIf() asks. It returns a -1 without an exception as it is. */
static int
removable(PyObject *value)
{
    return is_mark(value) ? 1 : -1;
}

/* Take a mark out of the dict; return whether that was done. */
static inline bool
remove_mark(PyObject *entries, PyObject *key)
{
    if (_PyDict_DelItemIf(entries, key, removable) == 0) {
        return true;
    }
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_KeyError)) {  /* It is not there. */
        PyErr_Clear();
    }
    return false;
}
#endif

/* Do that with the dict and the key of a KeyLock. False without an exception where it is not the plain case. */
static inline bool
change_entries(State *state, PyObject *self, bool (*change)(PyObject *entries, PyObject *key))
{
    bool changed = false;
    PyObject *keyed = LOAD((KeyLock *)self, keyed), *key = LOAD((KeyLock *)self, key);
    if (keyed != NULL && key != NULL
        && (Py_IS_TYPE(keyed, state->keyed_lock_twin) || PyObject_TypeCheck(keyed, state->keyed_lock_type))) {
        PyObject *entries = LOAD((KeyedLock *)keyed, entries);
        if (entries != NULL && PyDict_CheckExact(entries)) {
            changed = change(entries, key);
        }
        Py_XDECREF(entries);
    }
    Py_XDECREF(keyed);
    Py_XDECREF(key);
    return changed;
}

static inline bool
take_free_key(State *state, PyObject *self)
{
    return change_entries(state, self, put_mark);
}

static inline bool
free_unwanted_key(State *state, PyObject *self)
{
    return change_entries(state, self, remove_mark);
}

static inline PyObject **
dict_of_key_lock(PyObject *self)
{
    return &((KeyLock *)self)->dict;
}

static PyObject *
key_lock_try_acquire(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                     Py_ssize_t Py_UNUSED(count))
{
    return take_free_key(function->state, self) ? Py_NewRef(Py_True) : NULL;
}

static PyObject *
key_lock_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return free_unwanted_key(function->state, self) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
key_lock_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    if (!has_own_acquire(function, self, dict_of_key_lock)) {
        return PyObject_CallMethodNoArgs(self, state->str_enter);  /* which calls the other one */
    }
    return take_free_key(state, self) ? Py_NewRef(state->finished) : NULL;
}

static PyObject *
call_key_lock_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_enter_context(function, arguments, nargsf, kwnames, take_free_key, dict_of_key_lock);
}

static PyObject *
call_key_lock_exit(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_exit_context(function, arguments, nargsf, kwnames, free_unwanted_key, dict_of_key_lock);
}

static inline PyObject *
new_key_lock(Function *function, PyObject *keyed, PyObject *key)
{
    ASSERT_REUSABLE(KeyLock, keyed);
    KeyLock *lock = (KeyLock *)use_again(&function->returned);
    if (lock == NULL) {
        lock = PyObject_GC_New(KeyLock, function->state->key_lock_twin);
        if (lock == NULL) {
            return NULL;
        }
        lock->function = (Function *)Py_NewRef(function);
        lock->dict = lock->weakrefs = NULL;
    }
    lock->keyed = Py_NewRef(keyed);
    lock->key = Py_NewRef(key);
    PyObject_GC_Track(lock);
    return (PyObject *)lock;
}

static PyObject *
keyed_lock_getitem(Function *function, PyObject *self, PyObject *const *arguments, Py_ssize_t Py_UNUSED(count))
{
    return function->state->key_lock_twin == NULL ? NULL : new_key_lock(function, self, arguments[0]);
}

/* `locks[key]`, if `__getitem__` is that of the twin. The interpreter would come to keyed_lock_getitem() by a search. */
static PyObject *
keyed_lock_subscript(PyObject *self, PyObject *key)
{
    Function *function = ((KeyedLock *)self)->getitem;
    if (function == NULL) {
        State *state = state_of(self);
        if (state == NULL) {
            return NULL;
        }
        function = state->functions[KEYED_LOCK_GETITEM];
#ifndef Py_GIL_DISABLED
        ((KeyedLock *)self)->getitem = (Function *)Py_XNewRef(function);
#endif
    }
    if (function == NULL || function->state->key_lock_twin == NULL) {
        PyErr_SetString(PyExc_RuntimeError, SHUTTING_DOWN);
        return NULL;
    }
    return new_key_lock(function, self, key);
}

static int
key_lock_traverse(PyObject *object, visitproc visit, void *arg)
{
    KeyLock *self = (KeyLock *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->keyed);
    Py_VISIT(self->key);
    Py_VISIT(self->dict);
    return 0;
}

/* It keeps the function, whose pool it may go to. No cycle goes through that: see coroutine_type.c. */
static int
key_lock_clear(PyObject *object)
{
    KeyLock *self = (KeyLock *)object;
    Py_CLEAR(self->keyed);
    Py_CLEAR(self->key);
    Py_CLEAR(self->dict);
    return 0;
}

static void
let_go_of_key_lock(PyObject *object)
{
    KeyLock *self = (KeyLock *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_XDECREF(self->keyed);
    Py_XDECREF(self->key);
    Py_CLEAR(self->dict);
    if (self->function != NULL) {
        bool reusable = type->tp_finalize == NULL;  /* The collector calls that once for an object. */
        keep_or_free(object, self->function, &self->function->returned, reusable);
    }
    else {
        type->tp_free(object);
        Py_DECREF(type);
    }
}

/* It is the twin's as well: see give_slots(). */
static void
key_lock_dealloc(PyObject *object)
{
    KeyLock *self = (KeyLock *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (type->tp_finalize != NULL && type->tp_dealloc == key_lock_dealloc
        && PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    PyObject_GC_UnTrack(object);
    if (self->key == NULL || !PyType_IS_GC(Py_TYPE(self->key))) {
        let_go_of_key_lock(object);
        return;
    }
    Py_TRASHCAN_BEGIN(object, key_lock_dealloc)  /* The key may be a lock of a key, and so on. */
    let_go_of_key_lock(object);
    Py_TRASHCAN_END
}

static PyMemberDef key_lock_members[] = {
    REFERENCE("_keyed", KeyLock, keyed),
    REFERENCE("_key", KeyLock, key),
    {"__dictoffset__", T_PYSSIZET, offsetof(KeyLock, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(KeyLock, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef key_lock_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Spec key_lock_spec = FIELDS_SPEC(
    "KeyLock", KeyLock, key_lock_dealloc, key_lock_traverse, key_lock_clear, key_lock_members, key_lock_getset);

static Body key_lock_bodies[] = {
    {KEY_LOCK_TRY_ACQUIRE, FUNCTION("try_acquire"), .run = key_lock_try_acquire},
    {KEY_LOCK_RELEASE, FUNCTION("release"), .run = key_lock_release},
    {KEY_LOCK_ENTER, FUNCTION("__aenter__"), .run = key_lock_enter, .shortcut = call_key_lock_enter},
    {KEY_LOCK_EXIT, FUNCTION("__aexit__"), .arguments = 3, .run = exit_context, .shortcut = call_key_lock_exit},
    {0},
};

static int
keyed_lock_traverse(PyObject *object, visitproc visit, void *arg)
{
    KeyedLock *self = (KeyedLock *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->entries);
    Py_VISIT(self->getitem);
#if LAZY_DICT
    Py_VISIT(self->dict);
#endif
    return 0;
}

static int
keyed_lock_clear(PyObject *object)
{
    Py_CLEAR(((KeyedLock *)object)->entries);
    Py_CLEAR(((KeyedLock *)object)->getitem);
#if LAZY_DICT
    Py_CLEAR(((KeyedLock *)object)->dict);
#endif
    return 0;
}

DEALLOC(keyed_lock_dealloc, keyed_lock_clear)

static PyMemberDef keyed_lock_members[] = {
    REFERENCE("_entries", KeyedLock, entries),
#if LAZY_DICT
    {"__dictoffset__", T_PYSSIZET, offsetof(KeyedLock, dict), READONLY, NULL},
#endif
    {NULL, 0, 0, 0, NULL},
};

static PyType_Spec keyed_lock_spec = FIELDS_SPEC(
    "KeyedLock", KeyedLock, keyed_lock_dealloc, keyed_lock_traverse, keyed_lock_clear, keyed_lock_members,
    primitive_getset);

static Body keyed_lock_bodies[] = {
    {KEYED_LOCK_GETITEM, FUNCTION("__getitem__"), .arguments = 1, .run = keyed_lock_getitem},
    {0},
};

/* Give the twins their slots, when they have their methods. The interpreter's own for a class made in Python would come to
the same by a search, and would look for fields that such a class adds. If a test or a tracer puts another `__getitem__`
into the class, the interpreter sets its own slot again; and a subclass has the interpreter's. */
static int
give_slots(State *state, PyTypeObject *type, PyTypeObject *twin)
{
    if (type == state->keyed_lock_type) {
        twin->tp_as_mapping->mp_subscript = keyed_lock_subscript;
    }
    else if (type == state->key_lock_type) {
        if (twin->tp_basicsize != type->tp_basicsize || twin->tp_dictoffset != type->tp_dictoffset
            || twin->tp_weaklistoffset != type->tp_weaklistoffset) {
            PyErr_Format(PyExc_TypeError, "%R must not have fields of its own: see key_lock_dealloc()", twin);
            return -1;
        }
        twin->tp_dealloc = key_lock_dealloc;
    }
    return 0;
}
