/* `__aenter__` and `__aexit__` of Lock, Semaphore and Condition. The twin of context_manager.py.

What must hold: if a subclass, a test or a tracer has put another acquire() or release() into the class or into the
instance, `async with` calls that one. */

/* Whether an object is this Function bound to `self`. */
static bool
is_bound(PyObject *object, PyObject *function, PyObject *self)
{
    if (Py_IS_TYPE(object, ((Function *)function)->state->bound_type)) {
        return (PyObject *)((Bound *)object)->function == function && ((Bound *)object)->self == self;
    }
    return PyMethod_Check(object) && PyMethod_GET_FUNCTION(object) == function && PyMethod_GET_SELF(object) == self;
}

/* `__aexit__`: call self.release(), whichever that is. Declines if the block is left because a coroutine is closed. */
static PyObject *
exit_context(Function *function, PyObject *self, PyObject *const *arguments, Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    if (arguments[0] == PyExc_GeneratorExit || call(self, state->str_release) < 0) {
        return NULL;
    }
    return Py_NewRef(state->finished);
}

/* Whether the twin still has the acquire() or release() that belongs to this Function, or another one in its place. */
static Py_NO_INLINE bool
look_for_other(Function *self)
{
    State *state = self->state;
    PyObject *name = self->body->run == exit_context ? state->str_release : state->str_acquire;
    PyObject *found = PyObject_GetAttr((PyObject *)self->twin, name);  /* This gives the class a version. */
    if (found == NULL) {
        PyErr_Clear();
    }
    bool same = found == self->other;
    Py_XDECREF(found);
#ifndef Py_GIL_DISABLED
    self->version = same ? self->twin->tp_version_tag : 0;
#endif
    return same;
}

/* The same, if it is known without a search: while the version of a class stays, so do its methods. The interpreter's
own caches rest on that, too. */
static inline bool
class_is_known_to_have_other(Function *self)
{
    return self->version != 0 && self->version == self->twin->tp_version_tag;
}

static inline bool
class_has_other(Function *self)
{
#ifndef Py_GIL_DISABLED
    if (class_is_known_to_have_other(self)) {
        return true;
    }
#endif
    return look_for_other(self);
}

/* Where an object has its __dict__, which may be NULL; NULL if that is not known without a search. */
typedef PyObject **(*DictOf)(PyObject *self);

static inline PyObject **
dict_of_primitive(PyObject *self)
{
#if LAZY_DICT
    return &((Primitive *)self)->dict;
#else
    (void)self;
    return NULL;
#endif
}

/* Whether release() of an instance of the twin is the compiled one. */
static inline bool
releases_plainly(Function *exit, PyObject *self, DictOf dict_of)
{
#ifdef Py_GIL_DISABLED
    (void)exit, (void)self, (void)dict_of;
    return false;
#else
    PyObject **dict = dict_of(self);
    return dict != NULL && *dict == NULL && class_has_other(exit);
#endif
}

/* Whether acquire() of an instance of the twin is the compiled one. Where it would take a search to know whether the
instance has its own, only the class is asked. */
static inline bool
acquires_plainly(Function *enter, PyObject *self, DictOf dict_of)
{
    PyObject **dict = dict_of(self);
    return (dict == NULL || *dict == NULL) && class_has_other(enter);
}

static inline PyObject *
call_release(Function *exit, PyObject *const *self)
{
    if (Py_IS_TYPE(exit->other, &PyMethodDescr_Type)) {
        PyMethodDef *method = ((PyMethodDescrObject *)exit->other)->d_method;
        return method->ml_flags == METH_NOARGS ? method->ml_meth(*self, NULL)
                                               : PyObject_Vectorcall(exit->other, self, 1, NULL);
    }
    return ((Function *)exit->other)->vectorcall(exit->other, self, 1, NULL);
}

/* The shortcut of `__aenter__`: take() does it, if acquire() is the compiled one. */
static inline PyObject *
call_enter_context(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames, AtOnce take,
                   DictOf dict_of)
{
    Function *self = (Function *)function;
    PyObject *finished = self->state->finished;
    if (finished != NULL && takes_shortcut(self, arguments, nargsf, kwnames)
        && acquires_plainly(self, arguments[0], dict_of)) {
        if (take(self->state, arguments[0])) {
            return Py_NewRef(finished);
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

/* The shortcut of `__aexit__`: release() does it, if the method of that name is the compiled one. */
static inline PyObject *
call_exit_context(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames, AtOnce release,
                  DictOf dict_of)
{
    Function *self = (Function *)function;
    PyObject *finished = self->state->finished, *none;
    if (PyVectorcall_NARGS(nargsf) == 4 && kwnames == NULL && Py_IS_TYPE(arguments[0], self->twin)
        && arguments[1] != PyExc_GeneratorExit && finished != NULL) {
        bool plain = releases_plainly(self, arguments[0], dict_of);
        if (plain && release(self->state, arguments[0])) {
            return Py_NewRef(finished);
        }
        if (plain && PyErr_Occurred()) {
            return NULL;
        }
        Py_INCREF(finished);
        if (plain) {
            none = call_release(self, arguments);
        }
        else {
            none = PyObject_VectorcallMethod(self->state->str_release, arguments, 1, NULL);
        }
        if (none == NULL) {
            Py_CLEAR(finished);
        }
        Py_XDECREF(none);
        return finished;
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

/* Whether acquire() of an instance of any class is that of the twin. Where it is not known where the instance has its
__dict__, only the class is asked. */
static bool
has_own_acquire(Function *enter, PyObject *self, DictOf dict_of)
{
    PyObject *name = enter->state->str_acquire;
#ifdef Py_GIL_DISABLED
    PyObject *found = PyObject_GetAttr((PyObject *)Py_TYPE(self), name);
    Py_XDECREF(found);
#else
    PyObject *found = _PyType_Lookup(Py_TYPE(self), name);
#endif
    bool own = found != NULL && found == enter->other;
    PyObject **field = dict_of(self), *dict = field == NULL ? NULL : load(self, field);
    own = own && (dict == NULL || PyDict_Contains(dict, name) == 0);
    Py_XDECREF(dict);
    PyErr_Clear();
    return own;
}

/* `__aenter__`. If acquire() is the compiled one: the Finished if take() did it, else the coroutine of acquire(). If it
is another one: `self._enter()`, which calls that. */
static PyObject *
enter_context(Function *function, PyObject *self, AtOnce take)
{
    State *state = function->state;
    if (has_own_acquire(function, self, dict_of_primitive) && take(state, self)) {
        return Py_NewRef(state->finished);
    }
    PyObject *acquire = PyObject_GetAttr(self, state->str_acquire), *awaitable;
    if (acquire == NULL) {
        return NULL;
    }
    if (!is_bound(acquire, function->other, self)) {
        awaitable = PyObject_CallMethodNoArgs(self, state->str_enter);
    }
    else {
        awaitable = new_waiting_coroutine((Function *)function->other, self, true);
    }
    Py_DECREF(acquire);
    return awaitable;
}
