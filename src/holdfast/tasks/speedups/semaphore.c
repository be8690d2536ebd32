/* Semaphore, and BoundedSemaphore, which adds nothing here. The twin of semaphore.py.

What must hold: while a permit is on its way to a task that has not run yet, no task takes another one without waiting
behind that task. Whatever concerns several permits at once is left to the Python bodies. */

static bool
semaphore_waits(PyObject *self)
{
    Semaphore *semaphore = (Semaphore *)self;
    return PEEK(semaphore->large) == NULL && (COUNT(semaphore->value) <= 0 || has_queue(self));
}

/* Whether the next permit may belong to a task in the line: one is free, and none is on its way to a task. Then the
first task needs several, or all of them are cancelled. 1, 0, or -1 with an exception. */
static int
may_be_waited_for(State *state, Semaphore *semaphore, Queue *queue)
{
    if (COUNT(semaphore->value) <= 0 || COUNT(queue->granted)) {
        return 0;
    }
    PyObject *line = LOAD(queue, line);
    Py_ssize_t length = line == NULL ? 0 : length_of(state, line);
    Py_XDECREF(line);
    return length < 0 ? -1 : length > 0;
}

/* Take a permit if one is free and none is on its way to a task, even if tasks wait. */
static inline bool
take_permit_in_line(Semaphore *semaphore, Queue *line)
{
    bool free;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)semaphore);
    free = COUNT(semaphore->value) > 0 && !COUNT(line->granted);
    if (free) {
        ADD(semaphore->value, -1);
    }
    Py_END_CRITICAL_SECTION();
    return free;
}

/* acquire(), up to `await waiter` */
static PySendResult
semaphore_begin(Coroutine *self, PyObject **result)
{
    Semaphore *semaphore = (Semaphore *)self->self;
    if (PEEK(semaphore->large) != NULL) {
        return decline(self, result);
    }
    PySendResult sent;
    Queue *line = line_of(self, &sent, result);
    if (line == NULL) {
        return sent;
    }
    int waited_for = may_be_waited_for(self->function->state, semaphore, line);
    if (waited_for != 0) {
        Py_DECREF(line);
        return waited_for < 0 ? PYGEN_ERROR : decline(self, result);
    }
    if (take_permit_in_line(semaphore, line)) {
        return retire_and_return_true(self, line, result);
    }
    return wait_in(self, line, result);
}

/* acquire(), after `await waiter` */
static PySendResult
semaphore_granted(Coroutine *self, PyObject **result)
{
    ADD(((Queue *)self->line)->granted, -1);
    Semaphore *semaphore = (Semaphore *)self->self;
    bool free = COUNT(semaphore->value) > 0 || PEEK(semaphore->large) != NULL;
    if (free && call(self->self, self->function->state->str_hand_out) < 0) {
        Py_CLEAR(*result);
        return PYGEN_ERROR;
    }
    return return_true(result);
}

static const Steps semaphore_steps = {
    semaphore_waits, TAKE_PERMIT, semaphore_begin, semaphore_granted, give_back_and_raise, NULL,
};

COROUTINE_SHORTCUTS(semaphore_acquire, semaphore_waits)

static PyObject *
semaphore_try_acquire(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                      Py_ssize_t Py_UNUSED(count))
{
    bool plain = !has_queue(self) && PEEK(((Semaphore *)self)->large) == NULL;
    return plain ? PyBool_FromLong(take_permit(function->state, self)) : NULL;
}

/* Add a permit if no task waits for one. */
static inline bool
add_permit(State *Py_UNUSED(state), PyObject *self)
{
    Semaphore *semaphore = (Semaphore *)self;
    bool adds;
    Py_BEGIN_CRITICAL_SECTION(self);
    adds = !has_queue(self) && PEEK(semaphore->large) == NULL && COUNT(semaphore->value) != PY_SSIZE_T_MAX;
    if (adds) {
        ADD(semaphore->value, 1);
    }
    Py_END_CRITICAL_SECTION();
    return adds;
}

static PyObject *
semaphore_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                  Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    if (!has_queue(self)) {
        return add_permit(state, self) ? Py_NewRef(Py_None) : NULL;
    }
    if (COUNT(((Semaphore *)self)->value) < 0) {  /* After a resize(), more are taken than there are. */
        return NULL;
    }
    bool other;
    Queue *queue = queue_of(state, self, &other);
    if (queue == NULL) {
        return NULL;
    }
    int granted = grant_first(state, queue);
    Py_DECREF(queue);
    return granted == 1 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
call_semaphore_release(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *kwnames)
{
    if (count != 0 || kwnames != NULL) {
        return call_python(SEMAPHORE_RELEASE, self, arguments, count, kwnames);
    }
    return add_permit(NULL, self) ? Py_NewRef(Py_None) : call_function(SEMAPHORE_RELEASE, self);
}

static PyObject *
semaphore_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return PEEK(((Semaphore *)self)->large) != NULL ? NULL : enter_context(function, self, take_permit);
}

static PyObject *
call_semaphore_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_enter_context(function, arguments, nargsf, kwnames, take_permit, dict_of_primitive);
}

static PyObject *
call_semaphore_exit(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return call_exit_context(function, arguments, nargsf, kwnames, add_permit, dict_of_primitive);
}

static PyMemberDef semaphore_members[] = {
    PRIMITIVE_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
semaphore_get_value(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *large = LOAD((Semaphore *)self, large);
    return large == NULL ? PyLong_FromSsize_t(COUNT(((Semaphore *)self)->value)) : large;
}

static int
semaphore_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || !(PyLong_Check(value) || PyFloat_Check(value))) {
        PyErr_SetString(PyExc_TypeError, "_value must be an integer, or math.inf");
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(value);
    PyObject *large = NULL;
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        number = 0;
        large = Py_NewRef(value);
    }
    SET_COUNT(((Semaphore *)self)->value, number);
    STORE((Semaphore *)self, large, large);
    return 0;
}

static PyGetSetDef semaphore_getset[] = {
    {"_value", semaphore_get_value, semaphore_set_value, NULL, NULL},
    LAST_GETSET,
};

static int
semaphore_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Semaphore *)object)->large);
    return primitive_traverse(object, visit, arg);
}

static int
semaphore_clear(PyObject *object)
{
    Py_CLEAR(((Semaphore *)object)->large);
    return primitive_clear(object);
}

DEALLOC(semaphore_dealloc, semaphore_clear)

static PyType_Spec semaphore_spec = FIELDS_SPEC(
    "Semaphore", Semaphore, semaphore_dealloc, semaphore_traverse, semaphore_clear, semaphore_members,
    semaphore_getset);

static Body semaphore_bodies[] = {
    {SEMAPHORE_ACQUIRE, COROUTINE_FUNCTION("acquire", semaphore_steps), SHORTCUTS_OF(semaphore_acquire)},
    {SEMAPHORE_TRY_ACQUIRE, FUNCTION("try_acquire"), .run = semaphore_try_acquire},
    {SEMAPHORE_RELEASE, DESCRIPTOR_OF_N("release", call_semaphore_release), .run = semaphore_release},
    {SEMAPHORE_ENTER, FUNCTION("__aenter__"), .run = semaphore_enter, .shortcut = call_semaphore_enter},
    {SEMAPHORE_EXIT, FUNCTION("__aexit__"), .arguments = 3, .run = exit_context, .shortcut = call_semaphore_exit},
    {0},
};
