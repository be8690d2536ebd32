/* Coroutine: what acquire() and wait() return, and how it waits. It behaves as a coroutine when it is awaited, sent
into, thrown into and closed, but has no frame that the interpreter would have to run.

    CREATED --> BEGUN --> WAITING --> ENDED       its waiter was granted, or it left the line
                          WAITING --> RETAKING    a condition's wait() is to take the lock again
                          RETAKING -> ENDED
                BEGUN --> DECLINED -> ENDED       it awaits the coroutine of the Python body
    CREATED --> ENDED                             no wait was needed; or it was closed before it began

What must hold:

 1. Only one thread runs it at a time: see coroutine_run.c.
 2. A wait ends in exactly one step of the method: granted() or left() after WAITING, retaken() after RETAKING. Each
    step either ends the coroutine or begins the next wait.
 3. Where it is not the plain case it declines: it awaits the coroutine of the Python body, which does it all. */

enum stage { CREATED, BEGUN, WAITING, RETAKING, DECLINED, ENDED };

typedef struct Coroutine {
    PyObject_HEAD
    Function *function; /* keeps the state alive */
    PyObject *self;     /* the primitive */
    char stage;         /* an enum stage */
    char at_once;       /* an enum at_once, always that of the function */
    char running;
    char gives_none;    /* its result is None and not True, as it is __aenter__'s */
    char notified;      /* of a condition: see condition.c */
    bool early : 1;     /* of a barrier: it came before the last round had left */
    bool finalized : 1;
    bool in_frame : 1;  /* a coroutine with a frame awaits it, and is what others see in its place */
    bool tracked : 1;   /* by the collector, from the first wait on: before, there is no cycle through it */
    PyObject *line;     /* the Queue that it waits in */
    PyObject *waiter;
    PyObject *awaited;  /* the iterator or the Future that it is suspended on */
    PyObject *weakrefs;
    /* What to raise once a condition has its lock again. This field has to be the last: `python -m asyncio ps` assumes
    that a task runs an object with a frame, and reads the address of the frame's code here. NULL means no code to it,
    which is no error. A coroutine that a task runs directly has no interruption, so it finds NULL. */
    PyObject *interruption;
} Coroutine;

/* The steps of one method. Those that return PySendResult return what am_send does. */
struct Steps {
    /* Whether it would have to wait if it were awaited now: a guess, on which only a frame depends. */
    bool (*waits)(PyObject *self);
    /* What it tries first, and is done if that succeeds. */
    enum at_once at_once;
    /* What it does otherwise: enter the line, and wait there or return. */
    PySendResult (*begin)(Coroutine *, PyObject **result);
    /* After its waiter was granted. *result is the result of the waiter, and is consumed. */
    PySendResult (*granted)(Coroutine *, PyObject **result);
    /* After the wait raised this exception, which is consumed. */
    PySendResult (*left)(Coroutine *, PyObject *exception, PyObject **result);
    /* After the wait for a condition's lock has ended; NULL for all other methods. */
    PySendResult (*retaken)(Coroutine *, PySendResult sent, PyObject **result);
};

#define STAGE(coroutine) ((enum stage)FLAG((coroutine)->stage))
#define SET_STAGE(coroutine, value) SET_FLAG((coroutine)->stage, (char)(value))

/* Whether coroutines are to note where they were made, as in asyncio's debug mode. Only Python's own can. */
static inline bool
origin_is_asked(void)
{
    return PyThreadState_Get()->coroutine_origin_tracking_depth != 0;
}

static inline void
make_new(Coroutine *coroutine)
{
    SET_STAGE(coroutine, CREATED);
    coroutine->gives_none = false;
    coroutine->notified = false;
    coroutine->early = false;
    coroutine->finalized = false;
    coroutine->in_frame = false;
    coroutine->tracked = false;
    SET_FLAG(coroutine->running, false);
}

static inline PyObject *
new_coroutine(Function *function, PyObject *self, bool gives_none)
{
    ASSERT_REUSABLE(Coroutine, self);
    State *state = function->state;
    if (origin_is_asked()) {
        return NULL;
    }
    Coroutine *coroutine = (Coroutine *)use_again(&function->returned);
    if (coroutine == NULL) {
        coroutine = PyObject_GC_New(Coroutine, state->coroutine_type);
        if (coroutine == NULL) {
            return NULL;
        }
        coroutine->function = (Function *)Py_NewRef(function);
        coroutine->line = NULL;
        coroutine->waiter = NULL;
        coroutine->awaited = NULL;
        coroutine->interruption = NULL;
        coroutine->weakrefs = NULL;
        coroutine->at_once = function->body->steps->at_once;
        make_new(coroutine);
    }
    coroutine->self = Py_NewRef(self);
    coroutine->gives_none = gives_none;
    return (PyObject *)coroutine;
}

/* A coroutine that will have to wait. Where waits have frames, it is awaited by the one that is returned. */
static Py_NO_INLINE PyObject *
new_waiting_coroutine(Function *function, PyObject *self, bool gives_none)
{
    PyObject *coroutine = new_coroutine(function, self, gives_none);
#if WAITS_HAVE_FRAMES
    if (coroutine != NULL && function->frame != Py_None) {
        ((Coroutine *)coroutine)->in_frame = true;
        PyObject *arguments[] = {self, coroutine};
        PyObject *outer = PyObject_Vectorcall(function->frame, arguments, 2, NULL);
        Py_DECREF(coroutine);
        return outer;
    }
#endif
    return coroutine;
}

/* What a coroutine function returns. `waits` is its step of that name, passed so that it is inlined. */
static inline PyObject *
coroutine_of(Function *function, PyObject *self, bool (*waits)(PyObject *))
{
    return WAITS_HAVE_FRAMES && waits(self) ? new_waiting_coroutine(function, self, false)
                                            : new_coroutine(function, self, false);
}

/* The body of every coroutine function. */
static PyObject *
coroutine_function(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments),
                   Py_ssize_t Py_UNUSED(count))
{
    return coroutine_of(function, self, function->body->steps->waits);
}

/* Await something. Its end, now or later, is handled by end_of_wait(). */
static PySendResult
await(Coroutine *self, enum stage stage, PyObject *awaitable, PyObject **result)
{
    State *state = self->function->state;
    PyObject *awaited = is_future(state, awaitable) ? Py_NewRef(awaitable) : await_iterator(awaitable);
    if (awaited == NULL) {
        return PYGEN_ERROR;
    }
    SET_STAGE(self, stage);
    STORE(self, awaited, Py_NewRef(awaited));
    if (!self->tracked) {
        self->tracked = true;
        PyObject_GC_Track(self);
    }
    PySendResult sent = send_to(state, awaited, Py_None, result);
    Py_DECREF(awaited);
    return sent;
}

/* Have the coroutine of the Python body do it all. */
static PySendResult
decline(Coroutine *self, PyObject **result)
{
    PyObject *coroutine = PyObject_CallOneArg(self->function->python, self->self);
    if (coroutine == NULL) {
        return PYGEN_ERROR;
    }
    PySendResult sent = await(self, DECLINED, coroutine, result);
    Py_DECREF(coroutine);
    return sent;
}

/* Join the line, which has been entered and is consumed, and await the waiter. */
static PySendResult
wait_in(Coroutine *self, Queue *line, PyObject **result)
{
    PyObject *waiter = join(self->function->state, line);
    STORE(self, line, (PyObject *)line);
    if (waiter == NULL) {
        return PYGEN_ERROR;
    }
    STORE(self, waiter, Py_NewRef(waiter));
    PySendResult sent = await(self, WAITING, waiter, result);
    Py_DECREF(waiter);
    if (sent == PYGEN_ERROR && self->awaited == NULL) {  /* The loop has made a future that can't be awaited. */
        sent = self->function->body->steps->left(self, take_exception(), result);
    }
    return sent;
}

static PySendResult
return_true(PyObject **result)
{
    Py_XSETREF(*result, Py_NewRef(Py_True));
    return PYGEN_RETURN;
}

/* If what was awaited has returned *result or has raised, take the next steps, up to the next wait or to the end. */
static PySendResult
end_of_wait(Coroutine *self, PySendResult sent, PyObject **result)
{
    const Steps *steps = self->function->body->steps;
    while (sent != PYGEN_NEXT && self->awaited != NULL) {
        STORE(self, awaited, NULL);
        switch ((enum stage)self->stage) {
        case WAITING:
            sent = sent == PYGEN_RETURN ? steps->granted(self, result) : steps->left(self, take_exception(), result);
            break;
        case RETAKING:
            sent = steps->retaken(self, sent, result);
            break;
        case CREATED: case BEGUN: case DECLINED: case ENDED:
            break;
        }
    }
    return sent;
}

/* if line.leave(waiter):
       self._give_back()
   raise */
static PySendResult
give_back_and_raise(Coroutine *self, PyObject *exception, PyObject **Py_UNUSED(result))
{
    State *state = self->function->state;
    int granted = leave(state, (Queue *)self->line, self->waiter);
    if (granted > 0) {
        granted = call(self->self, state->str_give_back);
    }
    return raise_again(exception, granted < 0);
}

static bool
always_waits(PyObject *Py_UNUSED(self))
{
    return true;
}

/* The row of a coroutine function in a table of bodies. */
#define COROUTINE_FUNCTION(name, steps_) FUNCTION(name), .run = coroutine_function, .steps = &steps_

/* Defines the function `name`, which makes the coroutine of a method, and the two shortcuts that call it. */
#define COROUTINE_SHORTCUTS(name, waits)                                                                              \
    static inline PyObject *name(Function *function, PyObject *self)                                                  \
    {                                                                                                                 \
        return coroutine_of(function, self, waits);                                                                   \
    }                                                                                                                 \
    SHORTCUTS(name, name)

/* if line is None or line.run is not this_run():
       line = self._enter_line()

Returns the line; or NULL, and *sent is what the coroutine gives: an error, or what the Python body does. */
static Queue *
line_of(Coroutine *self, PySendResult *sent, PyObject **result)
{
    State *state = self->function->state;
    bool other;
    Queue *line = queue_of(state, self->self, &other);
    if (other) {
        *sent = decline(self, result);
        return NULL;
    }
    line = enter_line(state, self->self, line);
    *sent = PYGEN_ERROR;
    return line;
}

/* line.retire()
   return True

`line` is consumed. */
static PySendResult
retire_and_return_true(Coroutine *self, Queue *line, PyObject **result)
{
    int retired = retire(self->function->state, line);
    Py_DECREF(line);
    return retired < 0 ? PYGEN_ERROR : return_true(result);
}
