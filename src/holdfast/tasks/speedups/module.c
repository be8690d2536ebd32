/* The compiled twin of the task tier's hot paths: one module, and one translation unit.

The Python code is the reference, and everything rare stays there. The files below stand in the order in which they rest
on one another: each uses only those above it. They are included, not linked, because the compiler inlines what one
calls of another on the hot paths.

    versions.h          what differs between the versions and builds of Python
    calls.c             calls of Python, and exceptions
    fields.c            how fields are read and written, and how Python sees them
    state.h             what one interpreter's module keeps
    reuse.c             objects that serve one operation after the other
    function.c          a method with two bodies, one in C and one in Python
    bound.c             the same, bound to an instance
    function_type.c     the same, as Python sees it
    deque_and_future.c  CPython's own deque and Future, called without a detour
    awaiting.c          the protocol between a coroutine and what it awaits
    wait_queue.c        the twin of wait_queue.py
    primitive.c         the twin of primitive.py
    at_once.c           what can be had without waiting
    coroutine.c         what acquire() and wait() return, and how it waits
    coroutine_run.c     how it is sent into, thrown into and closed
    coroutine_type.c    the same, as Python sees it
    finished.c          what `__aenter__` and `__aexit__` return if nothing is left to do
    context_manager.c   the twin of context_manager.py
    lock.c, semaphore.c, event.c, condition.c, barrier.c, keyed_lock.c    the twins of the primitives
    module.c            this file: the types and the methods of all others, as twins.py asks for them

What must hold.

 1. A body in C does the plain case alone. In any other it changes nothing and declines, and the Python body does it all
    on the same object.
 2. Python code may run whenever Python is called: the collector, a signal handler, another thread. So each such call
    leaves things as the Python twin would leave them at that point.
 3. Without the GIL, two threads that use one primitive in a way that is not allowed may spoil its counts, and never
    the memory. How, is in fields.c.

Why it is faster. It makes nothing that the interpreter has to run: no frame, and no coroutine object with one. Objects
that one operation made serve the next one. asyncio's tasks, and Python 3.11 everywhere, resume a coroutine with
`am_send`, which returns a value without raising StopIteration. From 3.12 on the interpreter itself resumes it with
`tp_iternext`, where None needs no exception, and True and integers share one that is kept. The methods of CPython's
Future and deque are not looked up each time. The future that one of asyncio's own loops would make in Python is made
here, and awaited without an iterator. */

#include "versions.h"
#include "calls.c"
#include "fields.c"
#include "state.h"
#include "reuse.c"
#include "function.c"
#include "bound.c"
#include "function_type.c"
#include "deque_and_future.c"
#include "awaiting.c"
#include "wait_queue.c"
#include "primitive.c"
#include "at_once.c"
#include "coroutine.c"
#include "coroutine_run.c"
#include "coroutine_type.c"
#include "finished.c"
#include "context_manager.c"
#include "lock.c"
#include "semaphore.c"
#include "event.c"
#include "condition.c"
#include "barrier.c"
#include "keyed_lock.c"

/* A type, and those of its methods that have a body in C. */
typedef struct {
    size_t type;   /* the offset of the State's reference to it */
    PyType_Spec *spec;
    bool public;   /* the module has it as an attribute */
    Body *bodies;  /* NULL, or a table that ends with a row without run() */
} Class;

static const Class classes[] = {
    {offsetof(State, function_type), &function_spec, false, NULL},
    {offsetof(State, bound_type), &bound_spec, false, NULL},
    {offsetof(State, coroutine_type), &coroutine_spec, true, NULL},
    {offsetof(State, finished_type), &finished_spec, false, NULL},
    {offsetof(State, queue_type), &queue_spec, true, queue_bodies},
    {offsetof(State, lock_type), &lock_spec, true, lock_bodies},
    {offsetof(State, semaphore_type), &semaphore_spec, true, semaphore_bodies},
    {offsetof(State, event_type), &event_spec, true, event_bodies},
    {offsetof(State, condition_type), &condition_spec, true, condition_bodies},
    {offsetof(State, barrier_type), &barrier_spec, true, barrier_bodies},
    {offsetof(State, keyed_lock_type), &keyed_lock_spec, true, keyed_lock_bodies},
    {offsetof(State, key_lock_type), &key_lock_spec, true, key_lock_bodies},
};

static PyTypeObject **
type_field(State *state, const Class *class)
{
    return (PyTypeObject **)((char *)state + class->type);
}

static Body *
bodies_of(State *state, PyTypeObject *type)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(classes); i++) {
        if (*type_field(state, &classes[i]) == type) {
            return classes[i].bodies;
        }
    }
    return NULL;
}

/* The Function of a body. The arguments are those of functions(). */
static Function *
new_function(PyObject *module, const Body *body, PyTypeObject *type, PyObject *python, PyTypeObject *twin,
             PyObject *frame_for)
{
    State *state = PyModule_GetState(module);
    PyObject *method = PyObject_GetAttrString(python, body->method.ml_name);
    if (method != NULL && !PyFunction_Check(method)) {
        PyErr_Format(PyExc_TypeError, "%R: %s must be a function, not %R", python, body->method.ml_name, method);
        Py_CLEAR(method);
    }
    PyObject *frame = Py_NewRef(Py_None);
    if (WAITS_HAVE_FRAMES && method != NULL && body->steps != NULL) {
        Py_SETREF(frame, PyObject_CallOneArg(frame_for, method));
    }
    Function *function = method == NULL || frame == NULL ? NULL : PyObject_GC_New(Function, state->function_type);
    if (function == NULL) {
        Py_XDECREF(method);
        Py_XDECREF(frame);
        return NULL;
    }
    function->vectorcall = body->shortcut == NULL ? function_vectorcall : body->shortcut;
    function->body = body;
    function->python = method;
    function->frame = frame;
    function->module = Py_NewRef(module);
    function->type = (PyTypeObject *)Py_NewRef(type);
    function->twin = (PyTypeObject *)Py_NewRef(twin);
    function->least = body->arguments - body->optional;
    function->most = body->arguments;
    function->special = strncmp(body->method.ml_name, "__a", 3) == 0;
    function->state = state;
    function->other = NULL;
    function->version = 0;
    function->returned = function->bound = (Pool){NULL, 0, FREE_OBJECTS};
    function->weakrefs = NULL;
    PyObject_GC_Track(function);
    return function;
}

PyDoc_STRVAR(functions_doc,
"functions($module, type, python, twin, frame_for, /)\n"
"--\n"
"\n"
"Return the methods of the class `python` that have a body in C, by name, for `twin`, a subclass of `type`.\n"
"From Python 3.14 on, `frame_for` is called with each Python coroutine function. What it returns is called with the\n"
"instance and a coroutine that will have to wait, and returns a coroutine with a frame that awaits that.");

static PyObject *
functions(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    PyTypeObject *type, *twin;
    PyObject *python, *frame_for;
    if (!PyArg_ParseTuple(arguments, "O!OO!O:functions", &PyType_Type, &type, &python, &PyType_Type, &twin,
                          &frame_for)) {
        return NULL;
    }
    PyObject *found = PyDict_New();
    if (found == NULL) {
        return NULL;
    }
    for (Body *body = bodies_of(state, type); body != NULL && body->run != NULL; body++) {
        Function *function = new_function(module, body, type, python, twin, frame_for);
        PyObject *method = (PyObject *)function;
        if (function != NULL) {
            Py_XSETREF(state->functions[body->id], function);
            if (function->special) {  /* In each table it comes after the method that belongs to it. */
                const char *other = body->run == exit_context ? "release" : "acquire";
                PyObject *compiled = PyDict_GetItemString(found, other);
                function->other = compiled == NULL ? PyObject_GetAttrString(python, other) : Py_NewRef(compiled);
            }
            if ((function->special && function->other == NULL)
                || (body->id == BARRIER_WAIT && know_barrier_states(function) < 0)) {
                Py_DECREF(found);
                return NULL;
            }
            method = body->method.ml_meth == NULL ? Py_NewRef(function) : PyDescr_NewMethod(twin, &body->method);
        }
        int failed = method == NULL ? -1 : PyDict_SetItemString(found, body->method.ml_name, method);
        Py_XDECREF(method);
        if (failed) {
            Py_DECREF(found);
            return NULL;
        }
    }
    return found;
}

PyDoc_STRVAR(complete_doc,
"complete($module, type, twin, /)\n"
"--\n"
"\n"
"Take note of `twin`, a subclass of `type` that has all of its methods.");

static PyObject *
complete(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    PyTypeObject *type, *twin;
    if (!PyArg_ParseTuple(arguments, "O!O!:complete", &PyType_Type, &type, &PyType_Type, &twin)) {
        return NULL;
    }
    PyTypeObject **known = type == state->queue_type        ? &state->queue_twin
                           : type == state->keyed_lock_type ? &state->keyed_lock_twin
                           : type == state->key_lock_type   ? &state->key_lock_twin
                                                            : NULL;
    if (known != NULL) {
        Py_XSETREF(*known, (PyTypeObject *)Py_NewRef(twin));
    }
    return give_slots(state, type, twin) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(tell_of_waits_doc,
"tell_of_waits($module, on, /)\n"
"--\n"
"\n"
"Say whether hooks are to be told of each waiter that joins a line.");

static PyObject *
tell_of_waits(PyObject *module, PyObject *on)
{
    State *state = PyModule_GetState(module);
    int truth = PyObject_IsTrue(on);
    if (truth < 0) {
        return NULL;
    }
    SET_FLAG(state->tells_of_waits, truth);
    return Py_NewRef(Py_None);
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);

#define INTERN(name, text)                                                                                            \
    state->name = PyUnicode_InternFromString(text);                                                                   \
    if (state->name == NULL) {                                                                                        \
        return -1;                                                                                                    \
    }
    STRINGS(INTERN)
#undef INTERN
    for (size_t i = 0; i < Py_ARRAY_LENGTH(classes); i++) {
        const Class *class = &classes[i];
        PyTypeObject **field = type_field(state, class);
        *field = (PyTypeObject *)PyType_FromModuleAndSpec(module, class->spec, NULL);
        if (*field == NULL || (class->public && PyModule_AddType(module, *field) < 0)) {
            return -1;
        }
    }

    if (know(&state->known) < 0 || know_running_loop(state) < 0) {
        return -1;
    }
    state->no_arguments = PyTuple_New(0);
    state->keyword_context = Py_BuildValue("(s)", "context");
    state->zero = PyLong_FromLong(0);
    state->stop = PyObject_CallOneArg(PyExc_StopIteration, Py_True);
    if (state->no_arguments == NULL || state->keyword_context == NULL || state->zero == NULL || state->stop == NULL) {
        return -1;
    }
    state->finished = state->finished_type->tp_alloc(state->finished_type, 0);
    if (state->finished == NULL || PyModule_AddObjectRef(module, "FINISHED", state->finished) < 0) {
        return -1;
    }
#ifdef __OPTIMIZE__  /* gcc and clang define it, other compilers do not. */
    return PyModule_AddIntConstant(module, "OPTIMIZED", 1);
#else
    return PyModule_AddIntConstant(module, "OPTIMIZED", 0);
#endif
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
#define VISIT(field) Py_VISIT(state->field);
#define VISIT_STRING(field, text) VISIT(field)
    REFERENCES(VISIT)
    STRINGS(VISIT_STRING)
#undef VISIT
#undef VISIT_STRING
    for (size_t i = 0; i < METHODS; i++) {
        Py_VISIT(state->functions[i]);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
#define CLEAR(field) Py_CLEAR(state->field);
#define CLEAR_STRING(field, text) CLEAR(field)
    REFERENCES(CLEAR)
    STRINGS(CLEAR_STRING)
#undef CLEAR
#undef CLEAR_STRING
    for (size_t i = 0; i < METHODS; i++) {
        if (state->functions[i] != NULL) {
            close_pool(&state->functions[i]->returned, state->functions[i]);
            close_pool(&state->functions[i]->bound, state->functions[i]);
            Py_CLEAR(state->functions[i]);
        }
    }
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static PyMethodDef module_methods[] = {
    {"functions", functions, METH_VARARGS, functions_doc},
    {"complete", complete, METH_VARARGS, complete_doc},
    {"tell_of_waits", tell_of_waits, METH_O, tell_of_waits_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast.tasks._speedups",
    .m_doc = "The compiled twin of the task tier's hot paths; see twins.py.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&module_def);
}
