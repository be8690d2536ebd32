/* Function, a method with two bodies: its fields, and how it is called. In bound.c it is bound to an instance, and
function_type.c is what Python sees of it.

What must hold:

 1. A body in C declines what is not the plain case: it changes nothing and returns NULL without an exception. The
    Python body is then called with the same arguments.
 2. Everything that can be asked of a Function (name, signature, code, documentation, whether it is a coroutine
    function) is answered by its Python body. So inspect and mock see what they would see without this module. */

/* The steps of a coroutine function. Only coroutine.c and the files after it look inside. */
typedef struct Steps Steps;

/* The body in C. Python sees it as a Function. release() and set() are method descriptors instead, for which the
interpreter has a shorter way; acquire() and wait() cannot be, because inspect and mock would not take them for
coroutine functions. */
typedef struct {
    enum method id;
    PyMethodDef method;    /* the name; and what a method descriptor calls */
    Py_ssize_t arguments;  /* the most it takes after self, */
    Py_ssize_t optional;   /* and how many of these may be missing */
    PyObject *(*run)(Function *, PyObject *self, PyObject *const *arguments, Py_ssize_t count);
    const Steps *steps;    /* of a coroutine function */
    vectorcallfunc shortcut;        /* NULL, or does the plainest call and passes others to function_vectorcall() */
    vectorcallfunc bound_shortcut;  /* For a Bound: the same, passing others to bound_vectorcall(). The type of its self
                                       is exactly the twin. */
} Body;

struct Function {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Body *body;
    PyObject *python;    /* the other body */
    PyObject *frame;     /* None, or the coroutine function that gives a wait its frame: see twins.frame_for() */
    PyObject *module;    /* keeps the state alive */
    PyTypeObject *type;  /* self must be an instance of this */
    PyTypeObject *twin;  /* the class of Python's that has this method; mostly self's own */
    Py_ssize_t least, most;  /* arguments after self */
    bool special;            /* `__aenter__` or `__aexit__`, which the interpreter looks up itself */
    State *state;
    PyObject *other;       /* the twin's acquire(), for `__aenter__`, or release(), for `__aexit__`; compiled or not */
    unsigned int version;  /* the twin has `other` as long as its version is this. 0: not known */
    Pool returned, bound;
    PyObject *weakrefs;
};

/* tp_vectorcall of a Function without a shortcut, and the long way of those that have one. */
static PyObject *
function_vectorcall(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    Function *self = (Function *)object;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf) - 1;
    if (kwnames == NULL && count >= self->least && count <= self->most
        && (Py_IS_TYPE(arguments[0], self->twin) || PyObject_TypeCheck(arguments[0], self->type))
        && self->state->finished != NULL) {
        PyObject *result = self->body->run(self, arguments[0], arguments + 1, count);
        if (result != NULL || PyErr_Occurred()) {
            return result;
        }
    }
    return PyObject_Vectorcall(self->python, arguments, nargsf, kwnames);
}

#define SHUTTING_DOWN "holdfast can no longer be used: this interpreter is shutting down"

/* Call the Function of a method. A method descriptor does so in all but the plainest case. */
static PyObject *
call_function(enum method method, PyObject *self)
{
    State *state = state_of(self);
    if (state == NULL) {
        return NULL;
    }
    PyObject *function = (PyObject *)state->functions[method];
    if (function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, SHUTTING_DOWN);
        return NULL;
    }
    return function_vectorcall(function, &self, 1, NULL);
}

/* Call the Python body of a method, as a method descriptor does where there are arguments. */
static PyObject *
call_python(enum method method, PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *kwnames)
{
    State *state = state_of(self);
    if (state == NULL || state->functions[method] == NULL) {
        return state == NULL ? NULL : call_function(method, self);
    }
    PyObject *bound = PyMethod_New(state->functions[method]->python, self);
    PyObject *result = bound == NULL ? NULL : PyObject_Vectorcall(bound, arguments, count, kwnames);
    Py_XDECREF(bound);
    return result;
}

/* Whether a call is the plainest: self is the only argument, and not of a subclass of the twin. */
static inline bool
takes_shortcut(Function *self, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return PyVectorcall_NARGS(nargsf) == 1 && kwnames == NULL && Py_IS_TYPE(arguments[0], self->twin);
}
