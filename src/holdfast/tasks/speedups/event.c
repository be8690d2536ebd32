/* Event. The twin of event.py.

What must hold: set() wakes every task that waits at that moment. It leaves the queue to them, and the next to wait get
a new one; so the event itself counts those that have been woken and have not run. */

static bool
event_waits(PyObject *self)
{
    return !event_is_set(self);
}

/* wait(), up to `await waiter` */
static PySendResult
event_begin(Coroutine *self, PyObject **result)
{
    PySendResult sent;
    Queue *line = line_of(self, &sent, result);
    if (line == NULL) {
        return sent;
    }
    if (event_is_set(self->self)) {  /* by another thread, meanwhile */
        return retire_and_return_true(self, line, result);
    }
    return wait_in(self, line, result);
}

/* wait(), after `await waiter` */
static PySendResult
event_granted(Coroutine *self, PyObject **result)
{
    ADD(((Event *)self->self)->woken, -1);
    return return_true(result);
}

/* wait(), after `except BaseException` */
static PySendResult
event_left(Coroutine *self, PyObject *exception, PyObject **Py_UNUSED(result))
{
    State *state = self->function->state;
    int woken = is_done(state, self->waiter);
    if (woken > 0) {
        int refused = ask(self->waiter, state->str_cancelled);
        if (refused == 0) {
            refused = ask(self->waiter, state->str_exception);
        }
        woken = refused < 0 ? -1 : !refused;
    }
    if (woken > 0) {
        ADD(((Event *)self->self)->woken, -1);
    }
    else if (woken == 0) {
        woken = leave(state, (Queue *)self->line, self->waiter);
    }
    return raise_again(exception, woken < 0);
}

static const Steps event_steps = {event_waits, SEE_EVENT, event_begin, event_granted, event_left, NULL};

COROUTINE_SHORTCUTS(event_wait, event_waits)

/* queue.release_all(), for a queue without notes. `line` is the line of that queue. */
static Py_ssize_t
release_all(State *state, PyObject *line)
{
    PyObject *waiters = PyObject_GetIter(line), *waiter;
    Py_ssize_t released = 0;
    while (waiters != NULL && (waiter = PyIter_Next(waiters)) != NULL) {
        int done = is_done(state, waiter);
        if (done < 0 || (done == 0 && set_result(state, waiter, Py_True) < 0)) {
            Py_CLEAR(waiters);
        }
        released += done == 0;
        Py_DECREF(waiter);
    }
    Py_XDECREF(waiters);
    return PyErr_Occurred() ? -1 : released;
}

/* self._set_and_wake(self._queue), for a queue that is not bound and whose loop runs here */
static PyObject *
event_set(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    Event *event = (Event *)self;
    bool other;
    Queue *queue = queue_of(state, self, &other);
    PyObject *line = NULL;
    Py_ssize_t released = NOT_PLAIN, length;
    if (queue != NULL && (queue->bound == NULL || queue->bound == Py_None) && runs_here(state, queue) > 0) {
        line = plain_line(state, queue, &length);
    }
    if (line != NULL) {
        STORE(&event->base, queue, Py_NewRef(Py_None));
        released = release_all(state, line);
        Py_DECREF(line);
    }
    Py_XDECREF(queue);
    if (released < 0) {
        return NULL;
    }
    ADD(event->woken, released);
    SET_FLAG(event->value, true);
    return Py_NewRef(Py_None);
}

static PyObject *
call_event_set(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    bool unwanted;
    Py_BEGIN_CRITICAL_SECTION(self);
    unwanted = !has_queue(self);
    if (unwanted) {
        SET_FLAG(((Event *)self)->value, true);
    }
    Py_END_CRITICAL_SECTION();
    return unwanted ? Py_NewRef(Py_None) : call_function(EVENT_SET, self);
}

static PyMemberDef event_members[] = {
    PRIMITIVE_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
event_get_value(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(FLAG(((Event *)self)->value));
}

static int
event_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return set_flag(self, &((Event *)self)->value, value);
}

static PyGetSetDef event_getset[] = {
    {"_value", event_get_value, event_set_value, NULL, NULL},
    NUMBER("_woken", Event, woken),
    LAST_GETSET,
};

static PyType_Spec event_spec = FIELDS_SPEC(
    "Event", Event, primitive_dealloc, primitive_traverse, primitive_clear, event_members, event_getset);

static Body event_bodies[] = {
    {EVENT_WAIT, COROUTINE_FUNCTION("wait", event_steps), SHORTCUTS_OF(event_wait)},
    {EVENT_SET, DESCRIPTOR("set", call_event_set), .run = event_set},
    {0},
};
