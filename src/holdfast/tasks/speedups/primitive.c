/* What all primitives begin with: the wait queue, while there is one. The twin of primitive.py. */

typedef struct {
    PyObject_HEAD
    PyObject *queue;  /* NULL, None or a Queue */
#if LAZY_DICT
    PyObject *dict;   /* NULL until it is given an attribute that is no field */
#endif
} Primitive;

/* A new reference to the queue of a primitive. NULL if it has none; or, with *other set, if that is no Queue. */
static Queue *
queue_of(State *state, PyObject *primitive, bool *other)
{
    PyObject *queue = LOAD((Primitive *)primitive, queue);
    *other = false;
    if (queue == NULL) {
        return NULL;
    }
    if (queue == Py_None) {
        Py_DECREF(queue);
        return NULL;
    }
    if (is_queue(state, queue)) {
        return (Queue *)queue;
    }
    *other = true;
    Py_DECREF(queue);
    return NULL;
}

static inline bool
has_queue(PyObject *primitive)
{
    PyObject *queue = PEEK(((Primitive *)primitive)->queue);
    return queue != NULL && queue != Py_None;
}

/* if line is None or line.run is not this_run():
       line = primitive._enter_line()

`queue` is that line, or NULL for None, and is consumed. */
static Queue *
enter_line(State *state, PyObject *primitive, Queue *queue)
{
    if (queue != NULL) {
        int here = runs_here(state, queue);
        if (here > 0) {
            return queue;
        }
        Py_DECREF(queue);
        if (here < 0) {
            return NULL;
        }
    }
    PyObject *line = PyObject_CallMethodNoArgs(primitive, state->str_enter_line);
    if (line != NULL && !is_queue(state, line)) {
        PyErr_Format(PyExc_TypeError, "_enter_line() must return a compiled queue, not %R", line);
        Py_CLEAR(line);
    }
    return (Queue *)line;
}

#define QUEUE_MEMBER REFERENCE("_queue", Primitive, queue)
#if LAZY_DICT
#define PRIMITIVE_MEMBERS QUEUE_MEMBER, {"__dictoffset__", T_PYSSIZET, offsetof(Primitive, dict), READONLY, NULL}
#define LAST_GETSET                                                                                                   \
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL}, {NULL, NULL, NULL, NULL, NULL}
#else  /* the interpreter adds a dict of its own */
#define PRIMITIVE_MEMBERS QUEUE_MEMBER
#define LAST_GETSET {NULL, NULL, NULL, NULL, NULL}
#endif

static PyGetSetDef primitive_getset[] = {
    LAST_GETSET,
};

static int
primitive_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Primitive *)object)->queue);
#if LAZY_DICT
    Py_VISIT(((Primitive *)object)->dict);
#endif
    return 0;
}

static int
primitive_clear(PyObject *object)
{
    Py_CLEAR(((Primitive *)object)->queue);
#if LAZY_DICT
    Py_CLEAR(((Primitive *)object)->dict);
#endif
    return 0;
}

DEALLOC(primitive_dealloc, primitive_clear)
