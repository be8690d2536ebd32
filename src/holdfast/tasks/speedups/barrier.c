/* Barrier. The twin of barrier.py, which explains rounds, and why early tasks are spared by a reset().

The plain case: at least two parties, a barrier that is not broken, and, to complete a round, exactly as many waiters as
it needs, none of which is cancelled. */

typedef struct {
    Primitive base;
    PyObject *parties;
    PyObject *state;  /* a barrier._State */
    PyObject *context;  /* an empty one, for call_soon(), which would else copy the current one each time */
    Py_ssize_t spared;
    PyObject *sparing;  /* NULL, None or a Handle */
} Barrier;

/* Find the members of barrier._State, among the globals of the Python body of wait(). */
static int
know_barrier_states(Function *function)
{
    State *state = function->state;
    PyObject *states = PyMapping_GetItemString(PyFunction_GET_GLOBALS(function->python), "_State");
    if (states == NULL) {
        return -1;
    }
    struct {
        PyObject **field;
        const char *name;
    } members[] = {{&state->filling, "FILLING"}, {&state->draining, "DRAINING"}, {&state->broken, "BROKEN"}};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(members); i++) {
        PyObject *member = PyObject_GetAttrString(states, members[i].name);
        if (member == NULL) {
            Py_DECREF(states);
            return -1;
        }
        Py_XSETREF(*members[i].field, member);
    }
    Py_DECREF(states);
    return 0;
}

/* self._spare_nobody() */
static int
spare_nobody(State *state, Barrier *barrier)
{
    PyObject *sparing = LOAD(barrier, sparing);
    int result = 0;
    SET_COUNT(barrier->spared, 0);
    if (sparing != NULL && sparing != Py_None) {
        result = call(sparing, state->str_cancel);
        STORE(barrier, sparing, Py_NewRef(Py_None));
    }
    Py_XDECREF(sparing);
    return result;
}

/* How many parties it takes; -1, without an exception, if that is no number for C. */
static Py_ssize_t
parties_of(Barrier *barrier)
{
    PyObject *parties = LOAD(barrier, parties);
    Py_ssize_t number = parties == NULL ? -1 : PyLong_AsSsize_t(parties);
    Py_XDECREF(parties);
    if (number < 0) {
        PyErr_Clear();
    }
    return number;
}

/* self._trip(line, waiting), if exactly that many wait and none of them is cancelled: 1; else NOT_PLAIN. */
static int
trip(State *state, Barrier *barrier, Queue *queue, Py_ssize_t waiting)
{
    Py_ssize_t length;
    PyObject *line = plain_line(state, queue, &length);
    if (line == NULL) {
        return PyErr_Occurred() ? -1 : NOT_PLAIN;
    }
    int result = length == waiting && waiting > 0 ? 1 : NOT_PLAIN;
    PyObject *waiters = result == 1 ? PyObject_GetIter(line) : NULL, *waiter;
    if (result == 1 && waiters == NULL) {
        result = -1;
    }
    while (result == 1 && (waiter = PyIter_Next(waiters)) != NULL) {
        int done = is_done(state, waiter);
        Py_DECREF(waiter);
        if (done != 0) {
            result = done < 0 ? -1 : NOT_PLAIN;
        }
    }
    Py_XDECREF(waiters);
    if (PyErr_Occurred()) {
        result = -1;
    }
    Py_ssize_t granted = 0;
    while (granted < waiting && result == 1) {
        PyObject *index = PyLong_FromSsize_t(granted);
        waiter = index == NULL ? NULL : pop_oldest(state, line);
        if (waiter == NULL || set_result(state, waiter, index) < 0) {
            result = -1;
        }
        else {
            granted += 1;
        }
        Py_XDECREF(index);
        Py_XDECREF(waiter);
    }
    ADD(queue->granted, granted);
    if (result == 1) {
        STORE(barrier, state, Py_NewRef(state->draining));
    }
    Py_DECREF(line);
    return result;
}

/* wait(), up to `await waiter` */
static PySendResult
barrier_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Barrier *barrier = (Barrier *)self->self;
    Py_ssize_t parties = parties_of(barrier);
    if (parties < 2 || PEEK(barrier->state) == state->broken) {
        return decline(self, result);
    }
    PySendResult sent;
    Queue *line = line_of(self, &sent, result);
    if (line == NULL) {
        return sent;
    }
    if (PEEK(barrier->state) == state->broken) {  /* By another thread, meanwhile. The Python body raises the error. */
        int retired = retire(state, line);
        Py_DECREF(line);
        return retired < 0 ? PYGEN_ERROR : decline(self, result);
    }
    self->early = PEEK(barrier->state) != state->filling;
    PyObject *waiters = LOAD(line, line);
    Py_ssize_t waiting = waiters == NULL ? -1 : PyObject_Size(waiters);
    Py_XDECREF(waiters);
    if (waiting < 0) {
        Py_DECREF(line);
        return PYGEN_ERROR;
    }
    if (!self->early && waiting >= parties - 1) {  /* Dead entries count here, and not in _trip(). */
        int complete = trip(state, barrier, line, parties - 1);
        if (complete == NOT_PLAIN) {
            PyObject *answer = PyObject_CallMethod(self->self, "_trip", "On", line, parties - 1);
            complete = answer == NULL ? -1 : PyObject_IsTrue(answer);
            Py_XDECREF(answer);
        }
        if (complete > 0) {
            complete = retire(state, line) < 0 ? -1 : 1;
        }
        if (complete != 0) {
            Py_DECREF(line);
            *result = complete < 0 ? NULL : PyLong_FromSsize_t(parties - 1);
            return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
        }
    }
    if (waiting == 0 && spare_nobody(state, barrier) < 0) {
        Py_DECREF(line);
        return PYGEN_ERROR;
    }
    return wait_in(self, line, result);
}

/* self._spared = length
   self._sparing = loop.call_soon(self._spare_nobody)

The loop of the queue is the one that runs here. */
static int
spare(State *state, Barrier *barrier, Queue *queue, Py_ssize_t length)
{
    SET_COUNT(barrier->spared, length);
    PyObject *loop = queue_get_loop((PyObject *)queue, NULL), *context = LOAD(barrier, context), *sparing = NULL;
    if (context == NULL) {
        context = PyContext_New();
        STORE(barrier, context, Py_XNewRef(context));
    }
    if (context != NULL) {
        PyObject *function = (PyObject *)state->functions[BARRIER_SPARE_NOBODY];
        PyObject *arguments[] = {loop, function, (PyObject *)barrier, context};
        sparing = PyObject_VectorcallMethod(state->str_call_soon, arguments, 3, state->keyword_context);
    }
    Py_DECREF(loop);
    Py_XDECREF(context);
    if (sparing == NULL) {
        return -1;
    }
    STORE(barrier, sparing, sparing);
    return 0;
}

/* self._end_round(), when the last task of a round leaves */
static int
end_round(State *state, Barrier *barrier, Queue *queue)
{
    Py_ssize_t length = -1, parties = parties_of(barrier);
    bool draining = parties > 0 && PEEK(barrier->state) == state->draining
                    && PEEK(barrier->base.queue) == (PyObject *)queue;
    PyObject *line = draining ? plain_line(state, queue, &length) : NULL;
    Py_XDECREF(line);
    if (PyErr_Occurred()) {
        return -1;
    }
    int plain = length > 0 && length < parties ? runs_here(state, queue) : length == 0;
    if (plain < 0) {
        return -1;
    }
    if (!plain) {
        return call((PyObject *)barrier, state->str_end_round);
    }
    STORE(barrier, state, Py_NewRef(state->filling));
    return length == 0 ? retire(state, queue) : spare(state, barrier, queue, length);
}

static PyObject *
barrier_spare_nobody(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                     Py_ssize_t Py_UNUSED(count))
{
    return spare_nobody(function->state, (Barrier *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* wait(), after `await waiter` */
static PySendResult
barrier_granted(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Barrier *barrier = (Barrier *)self->self;
    Queue *queue = (Queue *)self->line;
    ADD(queue->granted, -1);
    bool complete = PEEK(barrier->state) == state->draining;
    if (COUNT(queue->granted) == 0 && end_round(state, barrier, queue) < 0) {
        Py_CLEAR(*result);
        return PYGEN_ERROR;
    }
    if (!complete) {
        Py_CLEAR(*result);
        PyObject *error = PyMapping_GetItemString(PyFunction_GET_GLOBALS(self->function->python), "BrokenBarrierError");
        if (error != NULL) {
            PyErr_SetString(error, "Abort or reset of barrier");
            Py_DECREF(error);
        }
        return PYGEN_ERROR;
    }
    return PYGEN_RETURN;
}

/* wait(), after `except BaseException` */
static PySendResult
barrier_left(Coroutine *self, PyObject *exception, PyObject **result)
{
    Barrier *barrier = (Barrier *)self->self;
    if (self->early && COUNT(barrier->spared)) {
        ADD(barrier->spared, -1);
    }
    return give_back_and_raise(self, exception, result);
}

/* The last party of a round does not wait. */
static bool
barrier_waits(PyObject *self)
{
    Barrier *barrier = (Barrier *)self;
    State *state = state_of(self);
    PyObject *line = NULL;
    bool other, last = false;
    Queue *queue = state == NULL || state->filling == NULL ? NULL : queue_of(state, self, &other);
    if (queue != NULL && barrier->state == state->filling) {
        line = LOAD(queue, line);
    }
    if (line != NULL) {
        Py_ssize_t waiting = PyObject_Size(line), parties = PyLong_AsSsize_t(barrier->parties);
        last = waiting >= 0 && parties >= 0 && waiting >= parties - 1;
        Py_DECREF(line);
    }
    Py_XDECREF(queue);
    PyErr_Clear();
    return !last;
}

static const Steps barrier_steps = {
    barrier_waits, NOTHING, barrier_begin, barrier_granted, barrier_left, NULL,
};

COROUTINE_SHORTCUTS(barrier_wait, barrier_waits)

static PyGetSetDef barrier_getset[] = {
    NUMBER("_spared", Barrier, spared),
    LAST_GETSET,
};

static PyMemberDef barrier_members[] = {
    PRIMITIVE_MEMBERS,
    REFERENCE("_parties", Barrier, parties),
    REFERENCE("_state", Barrier, state),
    REFERENCE("_sparing", Barrier, sparing),
    {NULL, 0, 0, 0, NULL},
};

static int
barrier_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Barrier *)object)->parties);
    Py_VISIT(((Barrier *)object)->state);
    Py_VISIT(((Barrier *)object)->context);
    Py_VISIT(((Barrier *)object)->sparing);
    return primitive_traverse(object, visit, arg);
}

static int
barrier_clear(PyObject *object)
{
    Py_CLEAR(((Barrier *)object)->parties);
    Py_CLEAR(((Barrier *)object)->state);
    Py_CLEAR(((Barrier *)object)->context);
    Py_CLEAR(((Barrier *)object)->sparing);
    return primitive_clear(object);
}

DEALLOC(barrier_dealloc, barrier_clear)

static PyType_Spec barrier_spec = FIELDS_SPEC(
    "Barrier", Barrier, barrier_dealloc, barrier_traverse, barrier_clear, barrier_members, barrier_getset);

static Body barrier_bodies[] = {
    {BARRIER_WAIT, COROUTINE_FUNCTION("wait", barrier_steps), SHORTCUTS_OF(barrier_wait)},
    {BARRIER_SPARE_NOBODY, FUNCTION("_spare_nobody"), .run = barrier_spare_nobody},
    {0},
};
