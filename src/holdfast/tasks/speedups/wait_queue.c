/* The wait queue: its fields, and its steps in the plain case. The twin of wait_queue.py, whose header says what must
hold.

The plain case: the queue has no notes about cancelled waiters, and the running loop is the waiters' own. A function
here that does that case alone returns NOT_PLAIN if it is another one, and has then done nothing. */

typedef struct {
    PyObject_HEAD
    PyObject *owner;
    PyObject *bound;
    PyObject *loop;
    PyObject *run;
    Py_ssize_t granted;
    Py_ssize_t owed_exits;
    PyObject *line;     /* a deque */
    PyObject *notes;    /* a dict */
    PyObject *keepers;  /* None or a set */
    PyObject *closed;   /* NULL or None, or how it was closed; then `run` is NOWHERE, and no case is plain */
    PyObject *maker;    /* NULL, or how the loop makes futures: see maker_of() */
    Py_ssize_t dead;
} Queue;

#define NOT_PLAIN (-2)

static inline bool
is_queue(State *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->queue_twin) || PyObject_TypeCheck(object, state->queue_type);
}

static int
know_running_loop(State *state)
{
    PyObject *events = PyImport_ImportModule("asyncio.events");
    PyObject *function = events == NULL ? NULL : PyObject_GetAttrString(events, "_get_running_loop");
    Py_XDECREF(events);
    state->get_running_loop = function;
    if (function != NULL && PyCFunction_CheckExact(function) && PyCFunction_GET_FLAGS(function) == METH_NOARGS) {
        state->known.running_loop = PyCFunction_GET_FUNCTION(function);
        state->known.running_loop_self = Py_XNewRef(PyCFunction_GET_SELF(function));
    }
    return function == NULL ? -1 : 0;
}

/* queue.run is this_run() */
static int
runs_here(State *state, Queue *queue)
{
#if PY_VERSION_HEX >= 0x030C0000
    const Known *known = &state->known;
    PyObject *here = known->running_loop == NULL ? PyObject_CallNoArgs(state->get_running_loop)
                                                 : known->running_loop(known->running_loop_self, NULL);
    if (here == NULL) {
        return -1;
    }
    Py_DECREF(here);  /* Only its address matters. */
    return here == PEEK(queue->run);
#else
    (void)state;
    return PyThreadState_Get()->async_gen_firstiter == queue->run;
#endif
}

/* queue.loop */
static PyObject *
queue_get_loop(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *loop = LOAD((Queue *)self, loop);
    return loop == NULL ? Py_NewRef(Py_None) : loop;
}

/* How the loop of a queue makes futures. If its create_future() is asyncio's own, which only calls Future(loop=self),
this is {"loop": loop}, the arguments for Future; else it is create_future() itself. It is looked up once, when the
first waiter of that loop joins. */
static PyObject *
maker_of(State *state, Queue *queue)
{
    PyObject *loop = LOAD(queue, loop);
    if (loop == NULL) {
        PyErr_SetString(PyExc_AttributeError, "this queue was not initialised");
        return NULL;
    }
    PyObject *maker = PyObject_GetAttr(loop, state->str_create_future);
    bool plain = maker != NULL && state->known.future != NULL && PyMethod_Check(maker)
                 && PyMethod_GET_SELF(maker) == loop && PyMethod_GET_FUNCTION(maker) == state->known.create_future;
    if (plain) {
        Py_SETREF(maker, PyDict_New());
        if (maker != NULL && PyDict_SetItem(maker, state->str_loop, loop) < 0) {
            Py_CLEAR(maker);
        }
    }
    Py_DECREF(loop);
    if (maker != NULL) {
        STORE(queue, maker, Py_NewRef(maker));
    }
    return maker;
}

/* queue.loop.create_future() */
static PyObject *
create_future(State *state, Queue *queue)
{
    PyObject *maker = LOAD(queue, maker), *waiter;
    if (maker == NULL) {
        maker = maker_of(state, queue);
        if (maker == NULL) {
            return NULL;
        }
    }
    if (PyDict_CheckExact(maker)) {
        PyTypeObject *type = state->known.future;
        waiter = type->tp_new(type, state->no_arguments, maker);
        if (waiter != NULL && type->tp_init(waiter, state->no_arguments, maker) < 0) {
            Py_CLEAR(waiter);
        }
    }
    else if (PyMethod_Check(maker)) {
        waiter = PyObject_CallOneArg(PyMethod_GET_FUNCTION(maker), PyMethod_GET_SELF(maker));
    }
    else {
        waiter = PyObject_CallNoArgs(maker);
    }
    Py_DECREF(maker);
    return waiter;
}

/* Whether a future was made in asyncio's debug mode. */
static inline bool
knows_its_source(State *state, PyObject *waiter)
{
    const PyGetSetDef *source = state->known.source;
    if (source == NULL || !Py_IS_TYPE(waiter, state->known.future)) {
        return false;
    }
    PyObject *traceback = source->get(waiter, source->closure);
    if (traceback == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_DECREF(traceback);
    return traceback != Py_None;
}

/* waiter = queue.loop.create_future()
   queue.line.append(waiter)
   if _hooks.are_installed or waiter._source_traceback is not None:
       queue._tell_of(waiter) */
static PyObject *
join(State *state, Queue *queue)
{
    PyObject *waiter = create_future(state, queue);
    if (waiter == NULL) {
        return NULL;
    }
    PyObject *line = LOAD(queue, line);
    if (line == NULL) {
        PyErr_SetString(PyExc_AttributeError, "this queue was not initialised");
        Py_CLEAR(waiter);
    }
    else if (append(state, line, waiter) < 0) {
        Py_CLEAR(waiter);
    }
    else if (FLAG(state->tells_of_waits) || knows_its_source(state, waiter)) {
        PyObject *told = PyObject_CallMethodOneArg((PyObject *)queue, state->str_tell_of, waiter);
        if (told == NULL) {
            Py_CLEAR(waiter);
        }
        Py_XDECREF(told);
    }
    Py_XDECREF(line);
    return waiter;
}

/* if not (queue.line or queue.granted or queue._notes or queue.owed_exits or queue.bound or queue.closed):
       if queue._owner._queue is queue:
           queue._owner._queue = None */
static int
retire(State *state, Queue *queue)
{
    int result = -1;
    PyObject *line = LOAD(queue, line), *notes = LOAD(queue, notes), *owner = LOAD(queue, owner);
    Py_ssize_t waiting = line == NULL ? 0 : PyObject_Size(line);
    Py_ssize_t noted = notes == NULL ? 0 : PyObject_Size(notes);
    if (waiting < 0 || noted < 0) {
        goto end;
    }
    result = 0;
    PyObject *loop = PEEK(queue->bound), *closed = PEEK(queue->closed);
    bool stays = (loop != NULL && loop != Py_None) || (closed != NULL && closed != Py_None);
    if (!waiting && !COUNT(queue->granted) && !noted && !COUNT(queue->owed_exits) && !stays && owner != NULL) {
        PyObject *current = PyObject_GetAttr(owner, state->str_queue);
        if (current == NULL) {
            result = -1;
        }
        else if (current == (PyObject *)queue) {
            result = PyObject_SetAttr(owner, state->str_queue, Py_None);
        }
        Py_XDECREF(current);
    }
end:
    Py_XDECREF(line);
    Py_XDECREF(notes);
    Py_XDECREF(owner);
    return result;
}

/* The line, if the queue has no notes about its waiters; else NULL, with an exception or without. */
static PyObject *
plain_line(State *state, Queue *queue, Py_ssize_t *length)
{
    PyObject *notes = LOAD(queue, notes), *line = LOAD(queue, line);
    Py_ssize_t noted = notes == NULL ? 1 : PyDict_CheckExact(notes) ? PyDict_GET_SIZE(notes) : PyObject_Size(notes);
    Py_XDECREF(notes);
    if (line != NULL && noted == 0) {
        *length = length_of(state, line);
        if (*length >= 0) {
            return line;
        }
    }
    Py_XDECREF(line);
    return NULL;
}

/* queue.grant(1) in the plain case: 1, or NOT_PLAIN. */
static int
grant_first(State *state, Queue *queue)
{
    int here = runs_here(state, queue);
    if (here <= 0) {
        return here < 0 ? -1 : NOT_PLAIN;
    }
    Py_ssize_t length;
    PyObject *line = plain_line(state, queue, &length);
    if (line == NULL) {
        return PyErr_Occurred() ? -1 : NOT_PLAIN;
    }
    int result = NOT_PLAIN;
    if (length > 0) {
        PyObject *waiter = entry(state, line, 0);
        int done = waiter == NULL ? -1 : is_done(state, waiter);
        Py_XDECREF(waiter);
        if (done < 0) {
            result = -1;
        }
        else if (done == 0) {
            waiter = pop_oldest(state, line);
            result = waiter == NULL || set_result(state, waiter, state->zero) < 0 ? -1 : 1;
            ADD(queue->granted, result == 1);
            Py_XDECREF(waiter);
        }
    }
    Py_DECREF(line);
    return result;
}

/* queue.leave(waiter) of the first or the last in the line: 0, as neither was granted, or NOT_PLAIN. */
static int
leave_end(State *state, Queue *queue, PyObject *waiter)
{
    Py_ssize_t length;
    PyObject *line = plain_line(state, queue, &length);
    if (line == NULL) {
        return PyErr_Occurred() ? -1 : NOT_PLAIN;
    }
    int result = NOT_PLAIN;
    for (int end = 0; end < 2 && length > end && result == NOT_PLAIN; end++) {
        PyObject *outermost = entry(state, line, end == 0 ? 0 : length - 1);
        if (outermost == NULL) {
            result = -1;
        }
        else if (outermost == waiter) {
            PyObject *keepers = LOAD(queue, keepers), *popped = NULL;
            bool discard = keepers != NULL && keepers != Py_None;
            if (!discard || PySet_Discard(keepers, waiter) >= 0) {
                popped = end == 0 ? pop_oldest(state, line) : pop_newest(state, line);
            }
            result = popped == NULL ? -1 : 0;
            Py_XDECREF(popped);
            Py_XDECREF(keepers);
            if (result == 0 && length == 1) {
                result = retire(state, queue);
            }
        }
        Py_XDECREF(outermost);
    }
    Py_DECREF(line);
    return result;
}

/* queue.leave(waiter): whether it had been granted, and the caller must give that back. */
static int
leave(State *state, Queue *queue, PyObject *waiter)
{
    int result = leave_end(state, queue, waiter);
    if (result == NOT_PLAIN) {
        PyObject *granted = PyObject_CallMethodOneArg((PyObject *)queue, state->str_leave, waiter);
        result = granted == NULL ? -1 : PyObject_IsTrue(granted);
        Py_XDECREF(granted);
    }
    return result;
}

/* Bodies of the queue's methods */

static PyObject *
queue_join(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return join(function->state, (Queue *)self);
}

static PyObject *
queue_leave(Function *function, PyObject *self, PyObject *const *arguments, Py_ssize_t Py_UNUSED(count))
{
    return leave_end(function->state, (Queue *)self, arguments[0]) == 0 ? Py_NewRef(Py_False) : NULL;
}

static PyObject *
queue_retire(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return retire(function->state, (Queue *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
queue_retire_here(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                  Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    int here = runs_here(state, (Queue *)self);
    return here > 0 && retire(state, (Queue *)self) == 0 ? Py_NewRef(Py_True) : NULL;
}

static PyObject *
queue_grant(Function *function, PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count == 1) {
        int overflow;
        if (!PyLong_CheckExact(arguments[0]) || PyLong_AsLongAndOverflow(arguments[0], &overflow) != 1) {
            return NULL;
        }
    }
    return grant_first(function->state, (Queue *)self) == 1 ? PyLong_FromLong(1) : NULL;
}

static PyMemberDef queue_members[] = {
    REFERENCE("_owner", Queue, owner),
    REFERENCE("bound", Queue, bound),
    REFERENCE("run", Queue, run),
    REFERENCE("line", Queue, line),
    REFERENCE("_notes", Queue, notes),
    REFERENCE("keepers", Queue, keepers),
    REFERENCE("closed", Queue, closed),
    {NULL, 0, 0, 0, NULL},
};

static int
queue_set_loop(PyObject *self, PyObject *loop, void *Py_UNUSED(closure))
{
    STORE((Queue *)self, maker, NULL);
    STORE((Queue *)self, loop, Py_XNewRef(loop));
    return 0;
}

static PyGetSetDef queue_getset[] = {
    {"loop", queue_get_loop, queue_set_loop, NULL, NULL},
    NUMBER("granted", Queue, granted),
    NUMBER("owed_exits", Queue, owed_exits),
    NUMBER("_dead", Queue, dead),
    {NULL, NULL, NULL, NULL, NULL},
};

static int
queue_traverse(PyObject *object, visitproc visit, void *arg)
{
    Queue *self = (Queue *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->bound);
    Py_VISIT(self->loop);
    Py_VISIT(self->run);
    Py_VISIT(self->line);
    Py_VISIT(self->notes);
    Py_VISIT(self->keepers);
    Py_VISIT(self->closed);
    Py_VISIT(self->maker);
    return 0;
}

static int
queue_clear(PyObject *object)
{
    Queue *self = (Queue *)object;
    Py_CLEAR(self->owner);
    Py_CLEAR(self->bound);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->run);
    Py_CLEAR(self->line);
    Py_CLEAR(self->notes);
    Py_CLEAR(self->keepers);
    Py_CLEAR(self->closed);
    Py_CLEAR(self->maker);
    return 0;
}

DEALLOC(queue_dealloc, queue_clear)

static PyType_Spec queue_spec = FIELDS_SPEC(
    "WaitQueue", Queue, queue_dealloc, queue_traverse, queue_clear, queue_members, queue_getset);

static Body queue_bodies[] = {
    {QUEUE_JOIN, FUNCTION("join"), .run = queue_join},
    {QUEUE_LEAVE, FUNCTION("leave"), .arguments = 1, .run = queue_leave},
    {QUEUE_GRANT, FUNCTION("grant"), .arguments = 1, .optional = 1, .run = queue_grant},
    {QUEUE_RETIRE, FUNCTION("retire"), .run = queue_retire},
    {QUEUE_RETIRE_HERE, FUNCTION("retire_here"), .run = queue_retire_here},
    {0},
};
