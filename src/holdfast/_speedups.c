/* The compiled twin of the task tier's hot paths.

The Python code is the reference, and whatever is rare stays there. What is here:

    the fields         of a wait queue and of the primitives, under the names that Python knows them by
    Function           a method with two bodies, this file's and Python's, and Python's looks
    Bound              `__aenter__` and `__aexit__` of an instance, as `async with` looks them up
    Coroutine          what acquire() and wait() return
    Finished           what `__aenter__` and `__aexit__` return if there is nothing left to do
    the bodies         each is headed by the Python that it is the twin of

A body that meets anything but the plain case changes nothing and declines: it returns NULL without an exception, and the
Python body does it all. A coroutine declines by running the one that the Python body makes. So both can work on the same
object, and do.

What is faster, and why. Nothing is made for the interpreter to run: no frame, no coroutine object with one. What is made
for one operation is used again for the next. Python 3.11, and asyncio's tasks everywhere, ask a coroutine with `am_send`,
which returns a value without raising StopIteration; where the interpreter itself asks with `tp_iternext` (3.12 on), None
needs no exception at all, and for True and integers there is one that is used again. The methods of CPython's own Future
and deque are not looked up each time. The future that one of asyncio's own loops would make in Python is made here, and
awaited without an iterator.

Memory and threads. All state is the module's, so each interpreter has its own. The collector, a signal handler or another
thread may run whenever Python code is called, so each call below leaves things as the Python twin would. Without the GIL,
every reference that is not private to one call is read by load() and written by store(), which the field's owner guards:
two threads that use one primitive, which is not allowed, may spoil its counts and never the memory. */

#include <Python.h>
#include <frameobject.h>

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

#ifndef Py_BEGIN_CRITICAL_SECTION  /* before Python 3.13 there is always a GIL */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

#define FREE_OBJECTS 64  /* so many are kept for each method, to be used again */
#if defined(Py_GIL_DISABLED) || defined(HOLDFAST_NO_REUSE)
#define REUSE 0
#else
#define REUSE 1
#endif

/* Primitives make their dict when it is asked for. Before Python 3.12, methods would be found slower then. */
#define LAZY_DICT (PY_VERSION_HEX >= 0x030C0000)

static struct PyModuleDef module_def;

typedef struct State State;
typedef struct Function Function;
typedef struct Bound Bound;
typedef struct Coroutine Coroutine;

typedef struct {
    PyObject_HEAD
    PyObject *owner;
    PyObject *bound;
    PyObject *loop;
    PyObject *run;
    Py_ssize_t granted;
    Py_ssize_t owed_exits;
    PyObject *line;  /* a deque */
    PyObject *notes;  /* a dict */
    PyObject *keepers;  /* None or a set */
    PyObject *maker;    /* NULL, or what makes the loop's futures: see maker_of() */
    Py_ssize_t dead;
} Queue;

/* What all primitives begin with. */
typedef struct {
    PyObject_HEAD
    PyObject *queue;  /* NULL, None or a Queue */
#if LAZY_DICT
    PyObject *dict;   /* NULL, as long as it was given no attribute but its fields */
#endif
} Primitive;

typedef struct {
    Primitive base;
    char locked;
} Lock;

typedef struct {
    Primitive base;
    Py_ssize_t value;
    PyObject *large;  /* the value instead, if it is too large, or math.inf; then the Python bodies do all */
} Semaphore;

typedef struct {
    Primitive base;
    char value;
    Py_ssize_t woken;
} Event;

typedef struct {
    Primitive base;
    PyObject *lock;
    PyObject *grip;
} Condition;

typedef struct {
    Primitive base;
    PyObject *parties;
    PyObject *state;  /* a barrier._State */
    PyObject *context;  /* for _spare_nobody(), which does not look at it: call_soon() would make a copy each time */
    Py_ssize_t spared;
    PyObject *sparing;  /* NULL, None or a Handle */
} Barrier;

/* How a coroutine function goes on. Each returns what am_send would. */
typedef struct {
    bool (*at_once)(PyObject *self);  /* does it all if that needs no wait, else nothing and returns false */
    PySendResult (*begin)(Coroutine *, PyObject **);  /* if at_once() did nothing */
    PySendResult (*granted)(Coroutine *, PyObject **);  /* its waiter was; *result is what with, and is consumed */
    PySendResult (*left)(Coroutine *, PyObject *, PyObject **);  /* the wait has raised this exception; consumed */
} Steps;

enum method {
    QUEUE_JOIN, QUEUE_LEAVE, QUEUE_GRANT, QUEUE_RETIRE, QUEUE_RETIRE_HERE,
    LOCK_ACQUIRE, LOCK_TRY_ACQUIRE, LOCK_RELEASE, LOCK_LOCKED, LOCK_ENTER, LOCK_EXIT,
    SEMAPHORE_ACQUIRE, SEMAPHORE_TRY_ACQUIRE, SEMAPHORE_RELEASE, SEMAPHORE_ENTER, SEMAPHORE_EXIT,
    EVENT_WAIT, EVENT_SET,
    CONDITION_ACQUIRE, CONDITION_RELEASE, CONDITION_LOCKED, CONDITION_WAIT, CONDITION_ENTER, CONDITION_EXIT,
    BARRIER_WAIT, BARRIER_SPARE_NOBODY,
    METHODS
};

/* The second body of a method. It is a Function to Python; or a method descriptor of the twin, for which the interpreter
has a shorter way: release() and set(). acquire() and wait() cannot be, as such are no coroutine functions for inspect and
mock. */
typedef struct {
    const char *type;
    PyMethodDef method;    /* its name, and what a method descriptor calls */
    Py_ssize_t arguments;  /* at most so many after self, */
    Py_ssize_t optional;   /* of which the last so many may be missing */
    PyObject *(*run)(Function *, PyObject *self, PyObject *const *arguments, Py_ssize_t count);
    const Steps *steps;  /* of a coroutine function */
    vectorcallfunc shortcut;  /* does the plainest of calls, and gives function_vectorcall() all others; may be NULL */
} Body;

struct Function {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Body *body;
    PyObject *python;    /* the function that is the other body */
    PyObject *module;    /* keeps the state alive */
    PyTypeObject *type;  /* what self must be, */
    PyTypeObject *twin;  /* and mostly is */
    Py_ssize_t least, most;  /* arguments after self */
    bool special;            /* the interpreter looks it up by itself */
    State *state;
    PyObject *other;       /* of `__aenter__`, the twin's acquire(), of `__aexit__`, its release(), as they are to Python */
    unsigned int version;  /* while this is the twin's version; 0: not known */
    PyObject *spare;       /* the first of what was made for it, let go of, and is to be used again */
    int spares;            /* so many; each still has its references to its type and to this */
};

struct Bound {
    PyObject_HEAD
    Function *function;  /* keeps the state alive */
    PyObject *self;      /* of the method */
    vectorcallfunc vectorcall;
};

enum stage { CREATED, WAITING, RETAKING, DECLINED, ENDED };

struct Coroutine {
    PyObject_HEAD
    Function *function; /* keeps the state alive */
    PyObject *self;     /* of the method */
    enum stage stage;
    char gives_none;
    char notified;
    char early;         /* at a barrier that the round before has not left */
    char finalized;
    PyObject *line;     /* a Queue */
    PyObject *waiter;
    PyObject *awaited;  /* the iterator or the future that it is suspended on */
    PyObject *interruption;  /* what to raise once a condition has its lock again */
    PyObject *weakrefs;
    char running;       /* not beside `stage`: one read of both would wait until each is stored */
    char tracked;       /* by the collector: from the first wait on, as before there is no cycle through it */
};

/* What CPython's deque and Future do, called without a detour: their C functions, where they are as expected. With a
type that is NULL, and for objects of any other type, methods are looked up and called. */
typedef struct {
    PyTypeObject *deque;
    PyCFunction append, popleft, pop;
    lenfunc length;
    ssizeargfunc item;
    PyTypeObject *future;
    PyCFunction done, result;
    PyCFunction set;       /* set_result() on Python 3.11; NULL since then, as it has come to ask for more than that */
    PyObject *set_result;  /* a method descriptor */
    PyGetSetDef *blocking;
    PyObject *create_future;  /* BaseEventLoop's, which returns Future(loop=self) */
} Known;

struct State {
    PyTypeObject *function_type;
    PyTypeObject *bound_type;
    PyTypeObject *coroutine_type;
    PyTypeObject *finished_type;
    PyTypeObject *queue_type;
    PyTypeObject *queue_twin;    /* the subclass that all queues are of */
    PyTypeObject *lock_type;
    PyTypeObject *semaphore_type;
    PyTypeObject *event_type;
    PyTypeObject *condition_type;
    PyTypeObject *barrier_type;
    PyObject *filling, *draining, *broken;  /* of barrier._State, once a barrier was used */
    PyObject *finished;          /* NULL once the module is cleared */
    PyObject *get_running_loop;
    Known known;
    Function *functions[METHODS];
    PyObject *stop;              /* a StopIteration, used again and again */
    PyObject *zero;
    PyObject *str_append, *str_cancel, *str_cancelled, *str_close, *str_create_future, *str_done, *str_leave, *str_popleft,
        *str_pop, *str_set_result, *str_throw, *str_acquire, *str_release, *str_locked, *str_queue, *str_enter_line,
        *str_give_back, *str_hand_out, *str_aenter, *str_reacquire, *str_reacquire_closed, *str_end_round, *str_loop,
        *str_call_soon, *str_enter;
    PyObject *no_arguments;  /* the empty tuple */
    PyObject *keyword_context;  /* ("context",) */
};

/* References */

/* A new reference to what a field of `owner` holds; NULL stays NULL. */
static inline PyObject *
load(void *owner, PyObject *const *field)
{
    PyObject *value;
    (void)owner;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)owner);
    value = *field;
    Py_XINCREF(value);
    Py_END_CRITICAL_SECTION();
    return value;
}

/* Give a reference to a field of `owner`. */
static inline void
store(void *owner, PyObject **field, PyObject *value)
{
    PyObject *old;
    (void)owner;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)owner);
    old = *field;
    *field = value;
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
}

#define LOAD(owner, field) load((owner), &(owner)->field)
#define STORE(owner, field, value) store((owner), &(owner)->field, (value))

/* Take the exception that is set. */
static PyObject *
take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
#endif
}

/* Set an exception, and consume the reference; with NULL, none. */
static void
set_exception(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    if (exception == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

/* The exception that is set was raised while `earlier` was handled, which is consumed. */
static void
set_context(PyObject *earlier)
{
    PyObject *later = take_exception();
    PyObject *context = PyException_GetContext(later);
    if (context == NULL && later != earlier) {
        PyException_SetContext(later, earlier);
    }
    else {
        Py_XDECREF(context);
        Py_DECREF(earlier);
    }
    set_exception(later);
}

/* Call a method for what it does; 0, or -1 with an exception. */
static int
call(PyObject *object, PyObject *name)
{
    PyObject *result = PyObject_CallMethodNoArgs(object, name);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Is what a method returns true? -1 with an exception. */
static int
ask(PyObject *object, PyObject *name)
{
    PyObject *result = PyObject_CallMethodNoArgs(object, name);
    if (result == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(result);
    Py_DECREF(result);
    return truth;
}

/* Deques and futures */

/* line.append(waiter) */
static int
append(State *state, PyObject *line, PyObject *waiter)
{
    PyObject *none = Py_IS_TYPE(line, state->known.deque) ? state->known.append(line, waiter)
                                                          : PyObject_CallMethodOneArg(line, state->str_append, waiter);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* line.popleft() */
static inline PyObject *
pop_oldest(State *state, PyObject *line)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.popleft(line, NULL)
                                                : PyObject_CallMethodNoArgs(line, state->str_popleft);
}

/* line.pop() */
static inline PyObject *
pop_newest(State *state, PyObject *line)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.pop(line, NULL)
                                                : PyObject_CallMethodNoArgs(line, state->str_pop);
}

/* len(line) */
static inline Py_ssize_t
length_of(State *state, PyObject *line)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.length(line) : PyObject_Size(line);
}

/* line[index], with an index that is not negative */
static inline PyObject *
entry(State *state, PyObject *line, Py_ssize_t index)
{
    return Py_IS_TYPE(line, state->known.deque) ? state->known.item(line, index) : PySequence_GetItem(line, index);
}

/* waiter.done(); -1 with an exception */
static int
is_done(State *state, PyObject *waiter)
{
    if (!Py_IS_TYPE(waiter, state->known.future)) {
        return ask(waiter, state->str_done);
    }
    PyObject *done = state->known.done(waiter, NULL);
    Py_XDECREF(done);  /* True or False */
    return done == NULL ? -1 : done == Py_True;
}

/* waiter.set_result(result) */
static int
set_result(State *state, PyObject *waiter, PyObject *result)
{
    const Known *known = &state->known;
    PyObject *arguments[] = {waiter, result}, *none;
    if (!Py_IS_TYPE(waiter, known->future)) {
        none = PyObject_CallMethodOneArg(waiter, state->str_set_result, result);
    }
    else if (known->set != NULL) {
        none = known->set(waiter, result);
    }
    else {
        none = PyObject_Vectorcall(known->set_result, arguments, 2, NULL);
    }
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Wait queue: see _waitqueue.py. Where a return value is an int, -1 is an error, and DECLINED_HERE says that it is not
the plain case, and that nothing has been done. */

#define DECLINED_HERE (-2)

static inline bool
is_queue(State *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->queue_twin) || PyObject_TypeCheck(object, state->queue_type);
}

/* The queue of a primitive, a new reference; NULL if there is none, or it is not one of these, which sets *other. */
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
    PyObject *queue = ((Primitive *)primitive)->queue;
    return queue != NULL && queue != Py_None;
}

/* queue.run is this_run() */
static int
runs_here(State *state, Queue *queue)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *here = PyObject_CallNoArgs(state->get_running_loop);
    if (here == NULL) {
        return -1;
    }
    Py_DECREF(here);  /* only its address is of interest */
    return here == queue->run;
#else
    (void)state;
    return PyThreadState_Get()->async_gen_firstiter == queue->run;
#endif
}

/* if line is None or line.run is not this_run():
       line = primitive._enter_line()
   with `queue` for the line, NULL if it is None; consumed. */
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

/* queue.loop */
static PyObject *
queue_get_loop(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *loop = LOAD((Queue *)self, loop);
    return loop == NULL ? Py_NewRef(Py_None) : loop;
}

/* How the loop of a queue makes futures: {"loop": loop}, for Future, if it is one of asyncio's own and thus does no more
than call Future with that; else its create_future. Asked once, when the first waiter of that loop joins. */
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
        waiter = PyObject_Call((PyObject *)state->known.future, state->no_arguments, maker);
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

/* waiter = queue.loop.create_future()
   queue.line.append(waiter) */
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
    Py_XDECREF(line);
    return waiter;
}

/* if not (queue.line or queue.granted or queue._notes or queue.owed_exits or queue.bound):
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
    bool bound = queue->bound != NULL && queue->bound != Py_None;
    if (!waiting && !queue->granted && !noted && !queue->owed_exits && !bound && owner != NULL) {
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

/* The line, if the queue has no notes of its waiters; else NULL, with an exception or without. */
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

/* The short way of queue.grant(1): 1, or DECLINED_HERE. */
static int
grant_first(State *state, Queue *queue)
{
    int here = runs_here(state, queue);
    if (here <= 0) {
        return here < 0 ? -1 : DECLINED_HERE;
    }
    Py_ssize_t length;
    PyObject *line = plain_line(state, queue, &length);
    if (line == NULL) {
        return PyErr_Occurred() ? -1 : DECLINED_HERE;
    }
    int result = DECLINED_HERE;
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
            queue->granted += result == 1;
            Py_XDECREF(waiter);
        }
    }
    Py_DECREF(line);
    return result;
}

/* The short ways of queue.leave(waiter), of the oldest and the newest: 0, as neither was granted, or DECLINED_HERE. */
static int
leave_end(State *state, Queue *queue, PyObject *waiter)
{
    Py_ssize_t length;
    PyObject *line = plain_line(state, queue, &length);
    if (line == NULL) {
        return PyErr_Occurred() ? -1 : DECLINED_HERE;
    }
    int result = DECLINED_HERE;
    for (int end = 0; end < 2 && length > end && result == DECLINED_HERE; end++) {
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

/* queue.leave(waiter): whether it had been granted, which the caller must give back. */
static int
leave(State *state, Queue *queue, PyObject *waiter)
{
    int result = leave_end(state, queue, waiter);
    if (result == DECLINED_HERE) {
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
queue_retire_here(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
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

/* Function: two bodies. Whatever is asked of it, its Python one answers: name, signature, code, documentation. So inspect,
mock and who reads the source see a coroutine function where there is one. */

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

/* What a method descriptor does not do itself. */
static PyObject *
call_function(enum method method, PyObject *self)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &module_def);
    if (module == NULL) {
        return NULL;
    }
    PyObject *function = (PyObject *)((State *)PyModule_GetState(module))->functions[method];
    if (function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "holdfast is no longer there, as this interpreter ends");
        return NULL;
    }
    return function_vectorcall(function, &self, 1, NULL);
}

/* The plainest call: with self alone, and that of no subclass. */
static inline bool
takes_shortcut(Function *self, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    return PyVectorcall_NARGS(nargsf) == 1 && kwnames == NULL && Py_IS_TYPE(arguments[0], self->twin);
}

/* What is used again */

/* Where a spare object refers to the next one: in place of `self`, which Bound and Coroutine have there. */
static inline PyObject **
next_of(PyObject *spare)
{
    Py_BUILD_ASSERT(offsetof(Bound, self) == offsetof(Coroutine, self));
    return (PyObject **)((char *)spare + offsetof(Bound, self));
}

static inline PyObject *
pop_spare(Function *function)
{
    PyObject *spare = function->spare;
    if (spare != NULL) {
        function->spare = *next_of(spare);
        function->spares -= 1;
    }
    return spare;
}

/* One that was let go of; NULL, without an exception, if there is none. */
static inline PyObject *
use_again(Function *function)
{
    PyObject *object = pop_spare(function);
    if (object != NULL) {
        _Py_NewReference(object);
    }
    return object;
}

static void
free_object(PyObject *object, Function *function)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
    Py_DECREF(function);
}

/* At the end of a tp_dealloc: have it used again, or free it. */
static inline void
let_go(PyObject *object, Function *function, bool reusable)
{
    bool cleared = function->state->finished == NULL;  /* the module, as it is when an interpreter ends */
    if (REUSE && reusable && !cleared && function->spares < FREE_OBJECTS) {
        *next_of(object) = function->spare;
        function->spare = object;
        function->spares += 1;
    }
    else {
        free_object(object, function);
    }
}

static void
free_spares(Function *function)
{
    PyObject *object;
    while ((object = pop_spare(function)) != NULL) {
        free_object(object, function);
    }
}

/* Coroutine: what a coroutine is to who awaits, sends, throws, closes and looks at it. */

/* Python's own coroutines tell where they were made. */
static inline bool
origin_is_asked(void)
{
    return PyThreadState_Get()->coroutine_origin_tracking_depth != 0;
}

static inline void
make_new(Coroutine *coroutine)
{
    coroutine->stage = CREATED;
    coroutine->running = false;
    coroutine->notified = false;
    coroutine->early = false;
    coroutine->tracked = false;
    coroutine->finalized = false;
}

static inline PyObject *
new_coroutine(Function *function, PyObject *self, bool gives_none)
{
    State *state = function->state;
    if (origin_is_asked()) {
        return NULL;
    }
    Coroutine *coroutine = (Coroutine *)use_again(function);
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
        make_new(coroutine);
    }
    coroutine->self = Py_NewRef(self);
    coroutine->gives_none = gives_none;
    return (PyObject *)coroutine;
}

/* The body of a coroutine function. */
static PyObject *
coroutine_function(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return new_coroutine(function, self, false);
}

/* The shortcut of a coroutine function. */
static PyObject *
call_coroutine_function(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    Function *function = (Function *)object;
    if (takes_shortcut(function, arguments, nargsf, kwnames)) {
        PyObject *coroutine = new_coroutine(function, arguments[0], false);
        if (coroutine != NULL || PyErr_Occurred()) {
            return coroutine;
        }
    }
    return function_vectorcall(object, arguments, nargsf, kwnames);
}

/* The iterator that awaiting an object gives: _PyCoro_GetAwaitableIter(). */
static PyObject *
await_iterator(PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable)) {
        return Py_NewRef(awaitable);
    }
    PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression", Py_TYPE(awaitable)->tp_name);
        return NULL;
    }
    PyObject *iterator = async->am_await(awaitable);
    if (iterator != NULL && !PyIter_Check(iterator)) {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'", Py_TYPE(iterator)->tp_name);
        Py_CLEAR(iterator);
    }
    return iterator;
}

/* A future is awaited without an iterator: is that what a coroutine is suspended on? */
static inline bool
is_future(State *state, PyObject *awaited)
{
    return Py_IS_TYPE(awaited, state->known.future);
}

/* What the iterator of a future does: yield it until it is done. */
static PySendResult
send_to_future(State *state, PyObject *future, PyObject **result)
{
    const Known *known = &state->known;
    int done = is_done(state, future);
    if (done != 0) {
        *result = done < 0 ? NULL : known->result(future, NULL);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }
    PyObject *blocking = known->blocking->get(future, known->blocking->closure);
    if (blocking == Py_True) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    }
    bool yields = blocking == Py_False && known->blocking->set(future, Py_True, known->blocking->closure) == 0;
    Py_XDECREF(blocking);
    *result = yields ? Py_NewRef(future) : NULL;
    return yields ? PYGEN_NEXT : PYGEN_ERROR;
}

static inline PySendResult
send_to(State *state, PyObject *awaited, PyObject *value, PyObject **result)
{
    return is_future(state, awaited) ? send_to_future(state, awaited, result) : PyIter_Send(awaited, value, result);
}

/* Await something. What becomes of it, at once or later, end_of_wait() handles. */
static PySendResult
await(Coroutine *self, enum stage stage, PyObject *awaitable, PyObject **result)
{
    State *state = self->function->state;
    PyObject *awaited = is_future(state, awaitable) ? Py_NewRef(awaitable) : await_iterator(awaitable);
    if (awaited == NULL) {
        return PYGEN_ERROR;
    }
    self->stage = stage;
    STORE(self, awaited, Py_NewRef(awaited));
    if (!self->tracked) {
        self->tracked = true;
        PyObject_GC_Track(self);
    }
    PySendResult sent = send_to(state, awaited, Py_None, result);
    Py_DECREF(awaited);
    return sent;
}

/* Let the coroutine of the Python body do it all. */
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

/* A line has been entered: join it, and await the waiter. Consumes `line`. */
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
    if (sent == PYGEN_ERROR && self->awaited == NULL) {  /* its loop makes what can't be awaited */
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

static PySendResult retaken(Coroutine *, PySendResult, PyObject **);

/* What was awaited has returned *result, or raised: go on to the next wait, or to the end. */
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
            sent = retaken(self, sent, result);
            break;
        case CREATED: case DECLINED: case ENDED:
            break;
        }
    }
    return sent;
}

/* From here to stop_running() nobody else may run it. */
static int
start_running(Coroutine *self)
{
    bool was_running;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    was_running = self->running;
    self->running = true;
    Py_END_CRITICAL_SECTION();
    if (was_running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    return 0;
}

/* It is suspended, or has ended. */
static PySendResult
stop_running(Coroutine *self, PySendResult sent, PyObject **result)
{
    if (sent != PYGEN_NEXT) {
        self->stage = ENDED;
        STORE(self, self, NULL);
        if (self->line != NULL) {
            STORE(self, line, NULL);
            STORE(self, waiter, NULL);
            STORE(self, interruption, NULL);
        }
        if (sent == PYGEN_RETURN) {
            if (self->gives_none) {
                Py_SETREF(*result, Py_NewRef(Py_None));
            }
        }
        else if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
            PyObject *stop = take_exception();
            PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
            PyObject *error = take_exception();
            PyException_SetCause(error, Py_NewRef(stop));
            PyException_SetContext(error, stop);
            set_exception(error);
        }
    }
    self->running = false;
    return sent;
}

/* The short way, for those that end at once. Not where two threads may get here with the same coroutine. */
static inline bool
ends_at_once(Coroutine *self, PyObject *value)
{
#ifdef Py_GIL_DISABLED
    (void)self, (void)value;
    return false;
#else
    const Steps *steps = self->function->body->steps;
    if (self->stage != CREATED || self->running || value != Py_None || !steps->at_once(self->self)) {
        return false;
    }
    self->stage = ENDED;
    Py_CLEAR(self->self);
    return true;
#endif
}

/* The long way. Not inline, as the short one would then save more registers than it uses. */
static Py_NO_INLINE PySendResult
resume(Coroutine *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (start_running(self) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent;
    if (self->stage == CREATED) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
            self->running = false;
            return PYGEN_ERROR;
        }
        const Steps *steps = self->function->body->steps;
        sent = steps->at_once(self->self) ? return_true(result) : steps->begin(self, result);
    }
    else if (self->stage == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        self->running = false;
        return PYGEN_ERROR;
    }
    else {
        sent = send_to(self->function->state, self->awaited, value, result);
    }
    return stop_running(self, end_of_wait(self, sent, result), result);
}

static PySendResult
coroutine_am_send(PyObject *object, PyObject *value, PyObject **result)
{
    Coroutine *self = (Coroutine *)object;
    if (ends_at_once(self, value)) {
        *result = Py_NewRef(self->gives_none ? Py_None : Py_True);
        return PYGEN_RETURN;
    }
    return resume(self, value, result);
}

/* The return value as a StopIteration, for those who cannot have it otherwise. */
static PyObject *
yielded(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        if (result == Py_None) {
            PyErr_SetNone(PyExc_StopIteration);
        }
        else {
            PyErr_SetObject(PyExc_StopIteration, result);  /* which is no tuple and no exception */
        }
        Py_CLEAR(result);
    }
    return result;
}

/* Raise StopIteration(result) with the exception that served before, as long as nobody has kept it or written on it,
which who reads the value at once does not. Returns false, having done nothing, where that is not so. */
static bool
stop_again(State *state, PyObject *result)
{
#if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
    PyStopIterationObject *stop = (PyStopIterationObject *)state->stop;
    if (!PyLong_CheckExact(result) && result != Py_True) {
        return false;  /* it would keep the result alive */
    }
    if (stop == NULL || Py_REFCNT(stop) != 1 || stop->traceback != NULL || stop->context != NULL || stop->cause != NULL
        || stop->dict != NULL) {
        return false;
    }
    if (stop->value != result) {
        PyObject *arguments = PyTuple_Pack(1, result);
        if (arguments == NULL) {
            PyErr_Clear();
            return false;
        }
        Py_XSETREF(stop->args, arguments);
        Py_XSETREF(stop->value, Py_NewRef(result));
    }
    PyErr_SetRaisedException(Py_NewRef(stop));
    return true;
#else
    (void)state, (void)result;
    return false;
#endif
}

/* To the interpreter, NULL without an exception is a return of None. */
static PyObject *
coroutine_iternext(PyObject *object)
{
    PyObject *result;
    PySendResult sent = coroutine_am_send(object, Py_None, &result);
    if (sent == PYGEN_RETURN && (result == Py_None || stop_again(((Coroutine *)object)->function->state, result))) {
        Py_DECREF(result);
        return NULL;
    }
    return yielded(sent, result);
}

static PyObject *
coroutine_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = coroutine_am_send(self, value, &result);
    return yielded(sent, result);
}

/* Close what a coroutine is suspended on. */
static int
close_awaited(State *state, PyObject *awaited)
{
    if (is_future(state, awaited)) {
        return 0;
    }
    PyObject *close = PyObject_GetAttr(awaited, state->str_close);
    if (close == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    PyObject *none = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Throw into what a coroutine is suspended on. */
static PySendResult
throw_into(State *state, PyObject *awaited, PyObject *exception, PyObject **result)
{
    if (is_future(state, awaited)) {
        set_exception(Py_NewRef(exception));
        return PYGEN_ERROR;
    }
    PyObject *throw = PyObject_GetAttr(awaited, state->str_throw);
    if (throw == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            set_exception(Py_NewRef(exception));
        }
        return PYGEN_ERROR;
    }
    *result = PyObject_CallOneArg(throw, exception);
    Py_DECREF(throw);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = take_exception();
    *result = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* Raise `exception` where the coroutine is. */
static PySendResult
throw(Coroutine *self, PyObject *exception, PyObject **result)
{
    *result = NULL;
    if (start_running(self) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent = PYGEN_ERROR;
    if (self->stage == ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        self->running = false;
        return PYGEN_ERROR;
    }
    if (self->stage == CREATED) {
        set_exception(Py_NewRef(exception));
    }
    else if (self->stage == WAITING && is_future(self->function->state, self->awaited)) {  /* all cancellations */
        STORE(self, awaited, NULL);
        sent = self->function->body->steps->left(self, Py_NewRef(exception), result);
    }
    else if (PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit)) {
        if (close_awaited(self->function->state, self->awaited) == 0) {
            set_exception(Py_NewRef(exception));
        }
    }
    else {
        sent = throw_into(self->function->state, self->awaited, exception, result);
    }
    return stop_running(self, end_of_wait(self, sent, result), result);
}

/* The exception that the arguments of throw() mean. */
static PyObject *
exception_of(PyObject *type, PyObject *value, PyObject *traceback)
{
    PyObject *exception;
    if (PyExceptionInstance_Check(type)) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return NULL;
        }
        exception = Py_NewRef(type);
    }
    else if (PyExceptionClass_Check(type)) {
        if (value == Py_None) {
            exception = PyObject_CallNoArgs(type);
        }
        else if (PyObject_IsInstance(value, type) == 1) {
            exception = Py_NewRef(value);
        }
        else if (PyErr_Occurred()) {
            return NULL;
        }
        else if (PyTuple_Check(value)) {
            exception = PyObject_CallObject(type, value);
        }
        else {
            exception = PyObject_CallOneArg(type, value);
        }
        if (exception != NULL && !PyExceptionInstance_Check(exception)) {
            PyErr_Format(PyExc_TypeError, "calling %R should have returned an instance of BaseException, not %s", type,
                         Py_TYPE(exception)->tp_name);
            Py_CLEAR(exception);
        }
    }
    else {
        PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %s",
                     Py_TYPE(type)->tp_name);
        return NULL;
    }
    if (exception != NULL && traceback != Py_None && PyException_SetTraceback(exception, traceback) < 0) {
        Py_CLEAR(exception);
    }
    return exception;
}

/* The exception that is to be thrown by throw(type, value=None, traceback=None). */
static PyObject *
thrown(PyObject *const *arguments, Py_ssize_t count)
{
    if (count < 1 || count > 3) {
        return PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
    }
    return exception_of(arguments[0], count < 2 ? Py_None : arguments[1], count < 3 ? Py_None : arguments[2]);
}

static PyObject *
coroutine_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *exception = thrown(arguments, count), *result;
    if (exception == NULL) {
        return NULL;
    }
    PySendResult sent = throw((Coroutine *)self, exception, &result);
    Py_DECREF(exception);
    return yielded(sent, result);
}

static PyObject *
coroutine_close(PyObject *object, PyObject *Py_UNUSED(arguments))
{
    Coroutine *self = (Coroutine *)object;
    if (self->stage == CREATED || self->stage == ENDED) {
        if (start_running(self) < 0) {
            return NULL;
        }
        PyObject *nothing = NULL;
        PyErr_SetNone(PyExc_GeneratorExit);
        stop_running(self, PYGEN_ERROR, &nothing);
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    PyObject *exception = PyObject_CallNoArgs(PyExc_GeneratorExit), *result;
    if (exception == NULL) {
        return NULL;
    }
    PySendResult sent = throw(self, exception, &result);
    Py_DECREF(exception);
    Py_XDECREF(result);
    if (sent == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return NULL;
    }
    if (sent == PYGEN_ERROR) {
        if (!PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
            return NULL;
        }
        PyErr_Clear();
    }
    return Py_NewRef(Py_None);
}

static PyObject *
coroutine_await(PyObject *object)
{
    if (((Coroutine *)object)->awaited != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(object);
}

/* warnings._warn_unawaited_coroutine(self), as the interpreter does for its own */
static void
warn_never_awaited(PyObject *self)
{
    PyObject *warnings = PyImport_ImportModule("warnings"), *none = NULL;
    if (warnings != NULL) {
        none = PyObject_CallMethod(warnings, "_warn_unawaited_coroutine", "O", self);
        Py_DECREF(warnings);
    }
    if (none == NULL) {
        PyErr_WriteUnraisable(self);
    }
    Py_XDECREF(none);
}

static void
coroutine_finalize(PyObject *object)
{
    Coroutine *self = (Coroutine *)object;
    self->finalized = true;
    if (self->stage == ENDED) {
        return;
    }
    PyObject *pending = take_exception();
    if (self->stage == CREATED) {
        warn_never_awaited(object);
    }
    PyObject *none = coroutine_close(object, NULL);
    if (none == NULL) {
        PyErr_WriteUnraisable(object);
    }
    Py_XDECREF(none);
    set_exception(pending);
}

static int
coroutine_traverse(PyObject *object, visitproc visit, void *arg)
{
    Coroutine *self = (Coroutine *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->self);
    Py_VISIT(self->line);
    Py_VISIT(self->waiter);
    Py_VISIT(self->awaited);
    Py_VISIT(self->interruption);
    return 0;
}

/* Not the function, which each use needs, and which does not know its coroutines. */
static int
coroutine_clear(PyObject *object)
{
    Coroutine *self = (Coroutine *)object;
    self->stage = ENDED;
    Py_CLEAR(self->self);
    Py_CLEAR(self->line);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->awaited);
    Py_CLEAR(self->interruption);
    return 0;
}

/* False if somebody has it again, as who records warnings does. */
static Py_NO_INLINE bool
end_coroutine(Coroutine *self)
{
    if (self->stage != ENDED) {
        if (!self->tracked) {  /* who may live on has to be */
            self->tracked = true;
            PyObject_GC_Track(self);
        }
        if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
            return false;
        }
    }
    if (self->tracked) {
        PyObject_GC_UnTrack(self);
        (void)coroutine_clear((PyObject *)self);
    }
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    return true;
}

static void
coroutine_dealloc(PyObject *object)
{
    Coroutine *self = (Coroutine *)object;
    bool plain = self->stage == ENDED && !self->tracked && self->weakrefs == NULL;
    if (plain || end_coroutine(self)) {
        bool reusable = !self->finalized;
        make_new(self);
        let_go(object, self->function, reusable);
    }
}

static PyObject *
coroutine_repr(PyObject *object)
{
    PyObject *name = PyObject_GetAttrString(((Coroutine *)object)->function->python, "__qualname__");
    if (name == NULL) {
        return NULL;
    }
    PyObject *text = PyUnicode_FromFormat("<coroutine object %S at %p>", name, object);
    Py_DECREF(name);
    return text;
}

static PyObject *
coroutine_get_of_function(PyObject *object, void *name)
{
    return PyObject_GetAttrString(((Coroutine *)object)->function->python, name);
}

static PyObject *
coroutine_get_running(PyObject *object, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Coroutine *)object)->running);
}

static PyObject *
coroutine_get_suspended(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    return PyBool_FromLong(!self->running && self->stage != CREATED && self->stage != ENDED);
}

#if PY_VERSION_HEX >= 0x030f0000
/* What inspect.getcoroutinestate() asks for. */
static PyObject *
coroutine_get_state(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    return PyUnicode_FromString(self->running ? "CORO_RUNNING"
                                : self->stage == CREATED ? "CORO_CREATED"
                                : self->stage == ENDED ? "CORO_CLOSED"
                                : "CORO_SUSPENDED");
}
#endif

static PyObject *
coroutine_get_awaited(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    PyObject *awaited = LOAD(self, awaited);
    if (awaited == NULL) {
        return Py_NewRef(Py_None);
    }
    if (is_future(self->function->state, awaited)) {
        Py_SETREF(awaited, PyObject_GetIter(awaited));
    }
    return awaited;
}

/* A frame, for those who show where a task is: it stands at the first line of the Python twin. */
static PyObject *
coroutine_get_frame(PyObject *object, void *Py_UNUSED(closure))
{
    Coroutine *self = (Coroutine *)object;
    if (self->stage == ENDED) {
        return Py_NewRef(Py_None);
    }
    PyObject *python = self->function->python;
    return (PyObject *)PyFrame_New(
        PyThreadState_Get(), (PyCodeObject *)PyFunction_GET_CODE(python), PyFunction_GET_GLOBALS(python), NULL);
}

static PyObject *
get_none(PyObject *Py_UNUSED(object), void *Py_UNUSED(closure))
{
    return Py_NewRef(Py_None);
}

static PyMethodDef coroutine_methods[] = {
    {"send", coroutine_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))coroutine_throw, METH_FASTCALL, NULL},
    {"close", coroutine_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef coroutine_getset[] = {
    {"__name__", coroutine_get_of_function, NULL, NULL, "__name__"},
    {"__qualname__", coroutine_get_of_function, NULL, NULL, "__qualname__"},
    {"cr_code", coroutine_get_of_function, NULL, NULL, "__code__"},
    {"cr_await", coroutine_get_awaited, NULL, NULL, NULL},
    {"cr_frame", coroutine_get_frame, NULL, NULL, NULL},
    {"cr_origin", get_none, NULL, NULL, NULL},
    {"cr_running", coroutine_get_running, NULL, NULL, NULL},
    {"cr_suspended", coroutine_get_suspended, NULL, NULL, NULL},
#if PY_VERSION_HEX >= 0x030f0000
    {"cr_state", coroutine_get_state, NULL, NULL, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef coroutine_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Coroutine, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot coroutine_slots[] = {
    {Py_tp_dealloc, coroutine_dealloc},
    {Py_tp_traverse, coroutine_traverse},
    {Py_tp_clear, coroutine_clear},
    {Py_tp_finalize, coroutine_finalize},
    {Py_tp_repr, coroutine_repr},
    {Py_tp_iternext, coroutine_iternext},
    {Py_am_await, coroutine_await},
    {Py_am_send, coroutine_am_send},
    {Py_tp_methods, coroutine_methods},
    {Py_tp_getset, coroutine_getset},
    {Py_tp_members, coroutine_members},
    {0, NULL},
};

static PyType_Spec coroutine_spec = {
    .name = "holdfast._speedups.Coroutine",
    .basicsize = sizeof(Coroutine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = coroutine_slots,
};

/* Finished: the twin of _contextmanager._Finished, and as there, one serves all. */

static PySendResult
finished_am_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *
finished_iternext(PyObject *Py_UNUSED(self))
{
    return NULL;
}

static PyObject *
finished_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *
finished_throw(PyObject *Py_UNUSED(self), PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *exception = thrown(arguments, count);
    if (exception != NULL) {
        set_exception(exception);
    }
    return NULL;
}

static PyObject *
finished_close(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arguments))
{
    return Py_NewRef(Py_None);
}

static PyObject *
new_reference(PyObject *self)
{
    return Py_NewRef(self);
}

static int
traverse_type(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
finished_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef finished_methods[] = {
    {"send", finished_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))finished_throw, METH_FASTCALL, NULL},
    {"close", finished_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot finished_slots[] = {
    {Py_tp_dealloc, finished_dealloc},
    {Py_tp_traverse, traverse_type},
    {Py_tp_iternext, finished_iternext},
    {Py_am_await, new_reference},
    {Py_am_send, finished_am_send},
    {Py_tp_methods, finished_methods},
    {0, NULL},
};

static PyType_Spec finished_spec = {
    .name = "holdfast._speedups.Finished",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = finished_slots,
};

/* Bound: a bound method of which `async with` makes two for each block, calls them once and lets them go. Method objects
are made anew each time, and these are used again. Whatever else is asked of one, its class included, a method object made
for the question answers. From Python 3.14 on, `async with` binds nothing. */

static PyObject *bound_vectorcall(PyObject *, PyObject *const *, size_t, PyObject *);

static PyObject *
new_bound(Function *function, PyObject *self)
{
    State *state = function->state;
    Bound *bound = (Bound *)use_again(function);
    if (bound == NULL) {
        bound = PyObject_GC_New(Bound, state->bound_type);
        if (bound == NULL) {
            return NULL;
        }
        bound->function = (Function *)Py_NewRef(function);
    }
    bound->vectorcall = bound_vectorcall;
    bound->self = Py_NewRef(self);
    PyObject_GC_Track(bound);
    return (PyObject *)bound;
}

static void
bound_dealloc(PyObject *object)
{
    Bound *self = (Bound *)object;
    PyObject_GC_UnTrack(object);
    Py_DECREF(self->self);
    let_go(object, self->function, true);
}

/* No tp_clear: who refers to one can be told to let go of it. */
static int
bound_traverse(PyObject *object, visitproc visit, void *arg)
{
    Bound *self = (Bound *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->self);
    return 0;
}

static PyObject *
method_of(PyObject *bound)
{
    return PyMethod_New((PyObject *)((Bound *)bound)->function, ((Bound *)bound)->self);
}

static PyObject *
bound_vectorcall(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    Bound *bound = (Bound *)object;
    PyObject *function = (PyObject *)bound->function, *result;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (count == 0 && kwnames == NULL) {
        return bound->function->vectorcall(function, &bound->self, 1, NULL);
    }
    if (nargsf & PY_VECTORCALL_ARGUMENTS_OFFSET) {
        PyObject **place = (PyObject **)arguments - 1, *before = *place;
        *place = bound->self;
        result = bound->function->vectorcall(function, place, count + 1, kwnames);
        *place = before;
        return result;
    }
    PyObject *method = method_of(object);
    if (method == NULL) {
        return NULL;
    }
    result = PyObject_Vectorcall(method, arguments, nargsf, kwnames);
    Py_DECREF(method);
    return result;
}

static PyObject *
bound_getattro(PyObject *self, PyObject *name)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_GetAttr(method, name);
    Py_DECREF(method);
    return value;
}

static PyObject *
bound_repr(PyObject *self)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *text = PyObject_Repr(method);
    Py_DECREF(method);
    return text;
}

static Py_hash_t
bound_hash(PyObject *self)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(method);
    Py_DECREF(method);
    return hash;
}

static PyObject *
bound_richcompare(PyObject *self, PyObject *other, int operation)
{
    PyObject *method = method_of(self);
    if (method == NULL) {
        return NULL;
    }
    PyObject *others = Py_IS_TYPE(other, Py_TYPE(self)) ? method_of(other) : Py_NewRef(other);
    PyObject *answer = others == NULL ? NULL : PyObject_RichCompare(method, others, operation);
    Py_XDECREF(others);
    Py_DECREF(method);
    return answer;
}

static PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Bound, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_dealloc, bound_dealloc},
    {Py_tp_traverse, bound_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, bound_getattro},
    {Py_tp_repr, bound_repr},
    {Py_tp_hash, bound_hash},
    {Py_tp_richcompare, bound_richcompare},
    {Py_tp_members, bound_members},
    {0, NULL},
};

static PyType_Spec bound_spec = {
    .name = "holdfast._speedups.Bound",
    .basicsize = sizeof(Bound),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bound_slots,
};

/* Function: what it is besides a call */

static PyObject *
function_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    if (instance == NULL || instance == Py_None) {
        return Py_NewRef(self);
    }
    return ((Function *)self)->special ? new_bound((Function *)self, instance) : PyMethod_New(self, instance);
}

static PyObject *
function_getattro(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((Function *)self)->python, name);
    }
    return value;
}

static PyObject *
function_get_of_python(PyObject *self, void *name)
{
    return PyObject_GetAttrString(((Function *)self)->python, name);
}

static PyObject *
function_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<compiled twin of %R>", ((Function *)self)->python);
}

/* Pickled and copied like a function: by its name. */
static PyObject *
function_reduce(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    return PyObject_GetAttrString(((Function *)self)->python, "__qualname__");
}

/* No tp_clear: what it refers to, a call needs, and none of that was made with a reference to it. */
static int
function_traverse(PyObject *object, visitproc visit, void *arg)
{
    Function *self = (Function *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->python);
    Py_VISIT(self->module);
    Py_VISIT(self->type);
    Py_VISIT(self->twin);
    Py_VISIT(self->other);
    for (PyObject *spare = self->spare; spare != NULL; spare = *next_of(spare)) {
        Py_VISIT(Py_TYPE(spare));
        Py_VISIT(object);
    }
    return 0;
}

static void
function_dealloc(PyObject *object)
{
    Function *self = (Function *)object;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->python);
    Py_XDECREF(self->module);
    Py_XDECREF(self->type);
    Py_XDECREF(self->twin);
    Py_XDECREF(self->other);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef function_methods[] = {
    {"__reduce__", function_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(Function, python), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef function_getset[] = {
    {"__doc__", function_get_of_python, NULL, NULL, "__doc__"},
    {"__module__", function_get_of_python, NULL, NULL, "__module__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot function_slots[] = {
    {Py_tp_dealloc, function_dealloc},
    {Py_tp_traverse, function_traverse},
    {Py_tp_repr, function_repr},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, function_getattro},
    {Py_tp_descr_get, function_get},
    {Py_tp_methods, function_methods},
    {Py_tp_members, function_members},
    {Py_tp_getset, function_getset},
    {0, NULL},
};

static PyType_Spec function_spec = {
    .name = "holdfast._speedups.Function",
    .basicsize = sizeof(Function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
             | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = function_slots,
};

/* What Lock, Semaphore and Condition share */

/* self.release(), which a subclass or an instance may have; an exit that closes a coroutine is declined. */
static PyObject *
exit_context(Function *function, PyObject *self, PyObject *const *arguments, Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    if (arguments[0] == PyExc_GeneratorExit || call(self, state->str_release) < 0) {
        return NULL;
    }
    return Py_NewRef(state->finished);
}

/* Does the twin still have the other method of `self`, or has somebody put another one in its place? */
static Py_NO_INLINE bool
look_for_other(Function *self)
{
    State *state = self->state;
    PyObject *name = self->body->run == exit_context ? state->str_release : state->str_acquire;
    PyObject *found = PyObject_GetAttr((PyObject *)self->twin, name);  /* gives the class a version */
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

/* The same. As in the caches of the interpreter, the class has the same as long as it has the same version. */
static inline bool
class_has_other(Function *self)
{
#ifndef Py_GIL_DISABLED
    if (self->version != 0 && self->version == self->twin->tp_version_tag) {
        return true;
    }
#endif
    return look_for_other(self);
}

/* Is the release() of an instance of the twin the compiled one? */
static inline bool
releases_plainly(Function *exit, PyObject *self)
{
#if defined(Py_GIL_DISABLED) || !LAZY_DICT
    (void)exit, (void)self;
    return false;
#else
    return ((Primitive *)self)->dict == NULL && class_has_other(exit);
#endif
}

/* Is the acquire() of an instance of the twin the compiled one? Before Python 3.12 it would take a search to know whether
the instance has its own; there only the class is asked. */
static inline bool
acquires_plainly(Function *enter, PyObject *self)
{
#if LAZY_DICT
    return ((Primitive *)self)->dict == NULL && class_has_other(enter);
#else
    (void)self;
    return class_has_other(enter);
#endif
}

static inline PyObject *
call_release(Function *exit, PyObject *const *self)
{
    if (Py_IS_TYPE(exit->other, &PyMethodDescr_Type)) {
        return ((PyMethodDescrObject *)exit->other)->d_method->ml_meth(*self, NULL);
    }
    return ((Function *)exit->other)->vectorcall(exit->other, self, 1, NULL);
}

static PyObject *
call_exit_context(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    Function *self = (Function *)function;
    PyObject *finished = self->state->finished, *none;
    if (PyVectorcall_NARGS(nargsf) == 4 && kwnames == NULL && Py_IS_TYPE(arguments[0], self->twin)
        && arguments[1] != PyExc_GeneratorExit && finished != NULL) {
        Py_INCREF(finished);
        if (releases_plainly(self, arguments[0])) {
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

/* Is the acquire() of an instance of whatever class the compiled one? Before Python 3.12 only the class is asked. */
static bool
has_own_acquire(Function *enter, PyObject *self)
{
    PyObject *name = enter->state->str_acquire;
#ifdef Py_GIL_DISABLED
    PyObject *found = PyObject_GetAttr((PyObject *)Py_TYPE(self), name);
    Py_XDECREF(found);
#else
    PyObject *found = _PyType_Lookup(Py_TYPE(self), name);
#endif
    bool own = found != NULL && found == enter->other;
#if LAZY_DICT
    PyObject *dict = LOAD((Primitive *)self, dict);
    own = own && (dict == NULL || PyDict_Contains(dict, name) == 0);
    Py_XDECREF(dict);
#endif
    PyErr_Clear();
    return own;
}

/* What `__aenter__` returns: if acquire() is the compiled one, what has ended if take() takes it at once, else its
coroutine, or declined; if it is another one, `self._enter()`, which calls it. */
static PyObject *
enter_context(Function *function, PyObject *self, bool (*take)(PyObject *))
{
    State *state = function->state;
    if (has_own_acquire(function, self) && take(self)) {
        return Py_NewRef(state->finished);
    }
    PyObject *acquire = PyObject_GetAttr(self, state->str_acquire), *awaitable;
    if (acquire == NULL) {
        return NULL;
    }
    if (!(PyMethod_Check(acquire) && PyMethod_GET_SELF(acquire) == self
          && PyMethod_GET_FUNCTION(acquire) == function->other)) {
        awaitable = PyObject_CallMethodNoArgs(self, state->str_enter);
    }
    else {
        awaitable = new_coroutine((Function *)function->other, self, true);
    }
    Py_DECREF(acquire);
    return awaitable;
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
    if (granted < 0) {
        set_context(exception);
    }
    else {
        set_exception(exception);
    }
    return PYGEN_ERROR;
}

static bool
never_at_once(PyObject *Py_UNUSED(self))
{
    return false;
}

/* Lock: see lock.py */

static inline bool
take_free_lock(Lock *lock)
{
    if (lock->locked || has_queue((PyObject *)lock)) {
        return false;
    }
    lock->locked = true;
    return true;
}

static bool
lock_at_once(PyObject *self)
{
    return take_free_lock((Lock *)self);
}

static PySendResult
lock_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Lock *lock = (Lock *)self->self;
    bool other;
    Queue *line = queue_of(state, self->self, &other);
    if (other) {
        return decline(self, result);
    }
    line = enter_line(state, self->self, line);
    if (line == NULL) {
        return PYGEN_ERROR;
    }
    line->owed_exits = 0;
    if (!lock->locked) {
        lock->locked = true;
        int retired = retire(state, line);
        Py_DECREF(line);
        return retired < 0 ? PYGEN_ERROR : return_true(result);
    }
    return wait_in(self, line, result);
}

static PySendResult
lock_granted(Coroutine *self, PyObject **result)
{
    ((Queue *)self->line)->granted -= 1;
    return return_true(result);
}

static const Steps lock_steps = {lock_at_once, lock_begin, lock_granted, give_back_and_raise};

static PyObject *
lock_try_acquire(Function *Py_UNUSED(function), PyObject *self, PyObject *const *Py_UNUSED(arguments),
                 Py_ssize_t Py_UNUSED(count))
{
    return has_queue(self) ? NULL : PyBool_FromLong(take_free_lock((Lock *)self));
}

/* Unlock it if it is locked and nobody waits. */
static inline bool
unlock_unwanted(Lock *lock)
{
    bool unlocks = lock->locked && !has_queue((PyObject *)lock);
    lock->locked &= !unlocks;
    return unlocks;
}

/* Hand it to the first in the line, in the plain case; else nothing is done, and the answer is NULL. */
static PyObject *
release_lock(State *state, Lock *lock)
{
    if (unlock_unwanted(lock)) {
        return Py_NewRef(Py_None);
    }
    if (!lock->locked) {
        return NULL;
    }
    bool other;
    Queue *queue = queue_of(state, (PyObject *)lock, &other);
    if (queue == NULL) {
        return NULL;
    }
    int granted = grant_first(state, queue);
    if (granted == 1) {
        queue->owed_exits = 0;
    }
    Py_DECREF(queue);
    return granted == 1 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
lock_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return release_lock(function->state, (Lock *)self);
}

static PyObject *
call_lock_release(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    return unlock_unwanted((Lock *)self) ? Py_NewRef(Py_None) : call_function(LOCK_RELEASE, self);
}

static PyObject *
lock_locked(Function *Py_UNUSED(function), PyObject *self, PyObject *const *Py_UNUSED(arguments),
            Py_ssize_t Py_UNUSED(count))
{
    return has_queue(self) ? NULL : PyBool_FromLong(((Lock *)self)->locked);
}

static PyObject *
lock_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return enter_context(function, self, lock_at_once);
}

static PyObject *
call_lock_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    PyObject *finished = ((Function *)function)->state->finished;
    if (finished != NULL && takes_shortcut((Function *)function, arguments, nargsf, kwnames)
        && acquires_plainly((Function *)function, arguments[0]) && take_free_lock((Lock *)arguments[0])) {
        return Py_NewRef(finished);
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

/* Semaphore: see semaphore.py */

/* Take a permit if one is free and nobody waits. */
static inline bool
take_permit(Semaphore *semaphore)
{
    if (semaphore->value <= 0 || has_queue((PyObject *)semaphore)) {
        return false;
    }
    semaphore->value -= 1;
    return true;
}

static bool
semaphore_at_once(PyObject *self)
{
    return take_permit((Semaphore *)self);
}

static PySendResult
semaphore_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Semaphore *semaphore = (Semaphore *)self->self;
    if (semaphore->large != NULL) {
        return decline(self, result);
    }
    bool other;
    Queue *line = queue_of(state, self->self, &other);
    if (other) {
        return decline(self, result);
    }
    line = enter_line(state, self->self, line);
    if (line == NULL) {
        return PYGEN_ERROR;
    }
    if (semaphore->value > 0 && !line->granted) {
        semaphore->value -= 1;
        int retired = retire(state, line);
        Py_DECREF(line);
        return retired < 0 ? PYGEN_ERROR : return_true(result);
    }
    return wait_in(self, line, result);
}

static PySendResult
semaphore_granted(Coroutine *self, PyObject **result)
{
    ((Queue *)self->line)->granted -= 1;
    Semaphore *semaphore = (Semaphore *)self->self;
    bool free = semaphore->value > 0 || semaphore->large != NULL;
    if (free && call(self->self, self->function->state->str_hand_out) < 0) {
        Py_CLEAR(*result);
        return PYGEN_ERROR;
    }
    return return_true(result);
}

static const Steps semaphore_steps = {semaphore_at_once, semaphore_begin, semaphore_granted, give_back_and_raise};

static PyObject *
semaphore_try_acquire(Function *Py_UNUSED(function), PyObject *self, PyObject *const *Py_UNUSED(arguments),
                      Py_ssize_t Py_UNUSED(count))
{
    Semaphore *semaphore = (Semaphore *)self;
    return has_queue(self) || semaphore->large != NULL ? NULL : PyBool_FromLong(take_permit(semaphore));
}

/* Add a permit that nobody waits for. */
static inline bool
add_permit(Semaphore *semaphore)
{
    if (has_queue((PyObject *)semaphore) || semaphore->large != NULL || semaphore->value == PY_SSIZE_T_MAX) {
        return false;
    }
    semaphore->value += 1;
    return true;
}

static PyObject *
semaphore_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    State *state = function->state;
    if (!has_queue(self)) {
        return add_permit((Semaphore *)self) ? Py_NewRef(Py_None) : NULL;
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
call_semaphore_release(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    return add_permit((Semaphore *)self) ? Py_NewRef(Py_None) : call_function(SEMAPHORE_RELEASE, self);
}

static PyObject *
semaphore_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return ((Semaphore *)self)->large != NULL ? NULL : enter_context(function, self, semaphore_at_once);
}

static PyObject *
call_semaphore_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    PyObject *finished = ((Function *)function)->state->finished;
    if (finished != NULL && takes_shortcut((Function *)function, arguments, nargsf, kwnames)
        && acquires_plainly((Function *)function, arguments[0]) && take_permit((Semaphore *)arguments[0])) {
        return Py_NewRef(finished);
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

/* Event: see event.py */

static bool
event_at_once(PyObject *self)
{
    return ((Event *)self)->value;
}

static PySendResult
event_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    bool other;
    Queue *line = queue_of(state, self->self, &other);
    if (other) {
        return decline(self, result);
    }
    line = enter_line(state, self->self, line);
    if (line == NULL) {
        return PYGEN_ERROR;
    }
    if (((Event *)self->self)->value) {  /* set by another thread meanwhile */
        int retired = retire(state, line);
        Py_DECREF(line);
        return retired < 0 ? PYGEN_ERROR : return_true(result);
    }
    return wait_in(self, line, result);
}

static PySendResult
event_granted(Coroutine *self, PyObject **result)
{
    ((Event *)self->self)->woken -= 1;
    return return_true(result);
}

static PySendResult
event_left(Coroutine *self, PyObject *exception, PyObject **Py_UNUSED(result))
{
    State *state = self->function->state;
    int woken = is_done(state, self->waiter);
    if (woken > 0) {
        int cancelled = ask(self->waiter, state->str_cancelled);
        woken = cancelled < 0 ? -1 : !cancelled;
    }
    if (woken > 0) {
        ((Event *)self->self)->woken -= 1;
    }
    else if (woken == 0) {
        woken = leave(state, (Queue *)self->line, self->waiter);
    }
    if (woken < 0) {
        set_context(exception);
    }
    else {
        set_exception(exception);
    }
    return PYGEN_ERROR;
}

static const Steps event_steps = {event_at_once, event_begin, event_granted, event_left};

/* The body of a method whose descriptor does all that is plain. */
static PyObject *
declines(Function *Py_UNUSED(function), PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(arguments),
         Py_ssize_t Py_UNUSED(count))
{
    return NULL;
}

static PyObject *
call_event_set(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    if (has_queue(self)) {
        return call_function(EVENT_SET, self);
    }
    ((Event *)self)->value = true;
    return Py_NewRef(Py_None);
}

/* Condition: see condition.py */

/* Call a method of its lock; NULL with an exception. */
static PyObject *
call_grip(PyObject *condition, PyObject *name)
{
    PyObject *grip = LOAD((Condition *)condition, grip);
    if (grip == NULL) {
        PyErr_SetString(PyExc_AttributeError, "this condition has no lock");
        return NULL;
    }
    PyObject *result = PyObject_CallMethodNoArgs(grip, name);
    Py_DECREF(grip);
    return result;
}

/* Its lock if that is one of these, used as it is: a new reference, or NULL. */
static Lock *
own_lock(State *state, PyObject *condition)
{
    PyObject *grip = LOAD((Condition *)condition, grip);
    if (grip != NULL && !PyObject_TypeCheck(grip, state->lock_type)) {
        Py_CLEAR(grip);
    }
    return (Lock *)grip;
}

/* Its lock if that is no subclass of ours either: a new reference, or NULL. */
static inline PyObject *
plain_lock(State *state, PyObject *condition)
{
    PyObject *grip = LOAD((Condition *)condition, grip);
    Function *acquire = state->functions[LOCK_ACQUIRE];
    if (grip != NULL && !(acquire != NULL && Py_IS_TYPE(grip, acquire->twin))) {
        Py_CLEAR(grip);
    }
    return grip;
}

static PyObject *
call_condition_acquire(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    State *state = ((Function *)function)->state;
    if (takes_shortcut((Function *)function, arguments, nargsf, kwnames)) {
        PyObject *lock = plain_lock(state, arguments[0]), *coroutine = NULL;
        if (lock != NULL) {
            coroutine = new_coroutine(state->functions[LOCK_ACQUIRE], lock, false);
            Py_DECREF(lock);
        }
        if (coroutine != NULL || PyErr_Occurred()) {
            return coroutine;
        }
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

static PyObject *
condition_acquire(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    PyObject *grip = LOAD((Condition *)self, grip);
    PyObject *coroutine = grip == NULL ? NULL : PyObject_CallMethodNoArgs(grip, function->state->str_acquire);
    Py_XDECREF(grip);
    return coroutine;
}

static PyObject *
condition_release(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    Lock *lock = own_lock(function->state, self);
    PyObject *none = lock == NULL ? NULL : release_lock(function->state, lock);
    Py_XDECREF(lock);
    return none;
}

static PyObject *
call_condition_release(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    if (takes_shortcut((Function *)function, arguments, nargsf, kwnames)) {
        PyObject *lock = plain_lock(((Function *)function)->state, arguments[0]);
        bool unlocks = lock != NULL && unlock_unwanted((Lock *)lock);
        Py_XDECREF(lock);
        if (unlocks) {
            return Py_NewRef(Py_None);
        }
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

static PyObject *
condition_locked(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    Lock *lock = own_lock(function->state, self);
    PyObject *locked = lock == NULL || has_queue((PyObject *)lock) ? NULL : PyBool_FromLong(lock->locked);
    Py_XDECREF(lock);
    return locked;
}

static PyObject *
condition_enter(Function *function, PyObject *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    if (Py_IS_TYPE(self, function->twin) && !class_has_other(function)) {
        return PyObject_CallMethodNoArgs(self, function->state->str_enter);
    }
    PyObject *grip = LOAD((Condition *)self, grip);
    PyObject *awaitable = grip == NULL ? NULL : PyObject_CallMethodNoArgs(grip, function->state->str_aenter);
    Py_XDECREF(grip);
    return awaitable;
}

static PyObject *
call_condition_enter(PyObject *function, PyObject *const *arguments, size_t nargsf, PyObject *kwnames)
{
    PyObject *finished = ((Function *)function)->state->finished;
    if (finished != NULL && takes_shortcut((Function *)function, arguments, nargsf, kwnames)
        && class_has_other((Function *)function)) {
        State *state = ((Function *)function)->state;
        PyObject *lock = plain_lock(state, arguments[0]);
        bool taken = lock != NULL && acquires_plainly(state->functions[LOCK_ENTER], lock) && take_free_lock((Lock *)lock);
        Py_XDECREF(lock);
        if (taken) {
            return Py_NewRef(finished);
        }
    }
    return function_vectorcall(function, arguments, nargsf, kwnames);
}

static PySendResult
condition_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    int locked = ask(self->self, state->str_locked);
    if (locked <= 0) {
        return locked < 0 ? PYGEN_ERROR : decline(self, result);  /* which says what is wrong */
    }
    bool other;
    Queue *line = queue_of(state, self->self, &other);
    if (other) {
        return decline(self, result);
    }
    line = enter_line(state, self->self, line);
    if (line == NULL) {
        return PYGEN_ERROR;
    }
    if (call(self->self, state->str_release) < 0) {
        Py_DECREF(line);
        return PYGEN_ERROR;
    }
    return wait_in(self, line, result);
}

/* Raise what is set; a notification that it had goes to another. Only now, as the lock has been taken again. */
static PySendResult
pass_on_and_raise(Coroutine *self)
{
    if (self->notified) {
        PyObject *exception = take_exception();
        if (call(self->self, self->function->state->str_give_back) < 0) {
            set_context(exception);
        }
        else {
            set_exception(exception);
        }
    }
    return PYGEN_ERROR;
}

/* The lock was taken again, or that was given up. */
static PySendResult
retaken(Coroutine *self, PySendResult sent, PyObject **result)
{
    PyObject *interruption = self->interruption;
    self->interruption = NULL;
    if (sent == PYGEN_ERROR) {
        if (interruption != NULL) {
            set_context(interruption);
        }
        return pass_on_and_raise(self);
    }
    if (interruption != NULL) {
        Py_CLEAR(*result);
        set_exception(interruption);
        return pass_on_and_raise(self);
    }
    return return_true(result);
}

/* await self._grip._reacquire() */
static PySendResult
retake(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Lock *lock = own_lock(state, self->self);
    bool taken = lock != NULL && take_free_lock(lock);
    Py_XDECREF(lock);
    if (taken) {
        return retaken(self, PYGEN_RETURN, result);
    }
    Py_CLEAR(*result);
    PyObject *coroutine = call_grip(self->self, state->str_reacquire);
    PySendResult sent = PYGEN_ERROR;
    if (coroutine != NULL) {
        sent = await(self, RETAKING, coroutine, result);
        Py_DECREF(coroutine);
    }
    return self->awaited == NULL ? retaken(self, sent, result) : sent;
}

static PySendResult
condition_granted(Coroutine *self, PyObject **result)
{
    ((Queue *)self->line)->granted -= 1;
    self->notified = true;
    return retake(self, result);
}

static PySendResult
condition_left(Coroutine *self, PyObject *exception, PyObject **result)
{
    State *state = self->function->state;
    int notified = leave(state, (Queue *)self->line, self->waiter);
    if (notified < 0) {
        set_context(exception);
        return PYGEN_ERROR;
    }
    self->notified = notified;
    if (PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit)) {
        PyObject *none = call_grip(self->self, state->str_reacquire_closed);
        if (none == NULL) {
            set_context(exception);
        }
        else {
            set_exception(exception);
        }
        Py_XDECREF(none);
        return pass_on_and_raise(self);
    }
    STORE(self, interruption, exception);
    return retake(self, result);
}

static const Steps condition_steps = {never_at_once, condition_begin, condition_granted, condition_left};

/* Barrier: see barrier.py */

/* The members of _State, which the Python body knows. */
static int
know_barrier_states(Function *function)
{
    State *state = function->state;
    if (state->broken != NULL) {
        return 0;
    }
    PyObject *states = PyDict_GetItemString(PyFunction_GET_GLOBALS(function->python), "_State");
    if (states == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no _State");
        return -1;
    }
    struct {
        PyObject **field;
        const char *name;
    } members[] = {{&state->filling, "FILLING"}, {&state->draining, "DRAINING"}, {&state->broken, "BROKEN"}};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(members); i++) {
        PyObject *member = PyObject_GetAttrString(states, members[i].name);
        if (member == NULL) {
            return -1;
        }
        Py_XSETREF(*members[i].field, member);
    }
    return 0;
}

/* self._spare_nobody() */
static int
spare_nobody(State *state, Barrier *barrier)
{
    PyObject *sparing = LOAD(barrier, sparing);
    int result = 0;
    barrier->spared = 0;
    if (sparing != NULL && sparing != Py_None) {
        result = call(sparing, state->str_cancel);
        STORE(barrier, sparing, NULL);
    }
    Py_XDECREF(sparing);
    return result;
}

/* self._trip(line, waiting), if all of exactly so many can go, and all are there: 1; else DECLINED_HERE. */
static int
trip(State *state, Barrier *barrier, Queue *queue, Py_ssize_t waiting)
{
    Py_ssize_t length;
    PyObject *line = plain_line(state, queue, &length);
    if (line == NULL) {
        return PyErr_Occurred() ? -1 : DECLINED_HERE;
    }
    int result = length == waiting && waiting > 0 ? 1 : DECLINED_HERE;
    PyObject *waiters = result == 1 ? PyObject_GetIter(line) : NULL, *waiter;
    if (result == 1 && waiters == NULL) {
        result = -1;
    }
    while (result == 1 && (waiter = PyIter_Next(waiters)) != NULL) {
        int done = is_done(state, waiter);
        Py_DECREF(waiter);
        if (done != 0) {
            result = done < 0 ? -1 : DECLINED_HERE;
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
    queue->granted += granted;
    if (result == 1) {
        STORE(barrier, state, Py_NewRef(state->draining));
    }
    Py_DECREF(line);
    return result;
}

static PySendResult
barrier_begin(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Barrier *barrier = (Barrier *)self->self;
    if (know_barrier_states(self->function) < 0) {
        return PYGEN_ERROR;
    }
    Py_ssize_t parties = barrier->parties == NULL ? -1 : PyLong_AsSsize_t(barrier->parties);
    if (parties < 0) {
        PyErr_Clear();
    }
    bool other = true;
    Queue *line = parties < 2 || barrier->state == state->broken ? NULL : queue_of(state, self->self, &other);
    if (other) {
        return decline(self, result);
    }
    line = enter_line(state, self->self, line);
    if (line == NULL) {
        return PYGEN_ERROR;
    }
    if (barrier->state == state->broken) {  /* by another thread meanwhile: retire, and be told */
        int retired = retire(state, line);
        Py_DECREF(line);
        return retired < 0 ? PYGEN_ERROR : decline(self, result);
    }
    self->early = barrier->state != state->filling;
    PyObject *waiters = LOAD(line, line);
    Py_ssize_t waiting = waiters == NULL ? -1 : PyObject_Size(waiters);
    Py_XDECREF(waiters);
    if (waiting < 0) {
        Py_DECREF(line);
        return PYGEN_ERROR;
    }
    if (!self->early && waiting >= parties - 1) {  /* dead entries count here, and not in _trip() */
        int complete = trip(state, barrier, line, parties - 1);
        if (complete == DECLINED_HERE) {
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
   as the loop of the queue is the one that is running */
static int
spare(State *state, Barrier *barrier, Queue *queue, Py_ssize_t length)
{
    barrier->spared = length;
    PyObject *loop = queue_get_loop((PyObject *)queue, NULL), *context = LOAD(barrier, context), *sparing = NULL;
    if (context == NULL) {
        context = PyContext_New();
        STORE(barrier, context, Py_XNewRef(context));
    }
    if (context != NULL) {
        PyObject *arguments[] = {loop, (PyObject *)state->functions[BARRIER_SPARE_NOBODY], (PyObject *)barrier, context};
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

/* self._end_round(), called as the last of a round leaves */
static int
end_round(State *state, Barrier *barrier, Queue *queue)
{
    Py_ssize_t length = -1, parties = barrier->parties == NULL ? -1 : PyLong_AsSsize_t(barrier->parties);
    bool draining = parties > 0 && barrier->state == state->draining && barrier->base.queue == (PyObject *)queue;
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

static PySendResult
barrier_granted(Coroutine *self, PyObject **result)
{
    State *state = self->function->state;
    Barrier *barrier = (Barrier *)self->self;
    Queue *queue = (Queue *)self->line;
    queue->granted -= 1;
    bool complete = barrier->state == state->draining;
    if (queue->granted == 0 && end_round(state, barrier, queue) < 0) {
        Py_CLEAR(*result);
        return PYGEN_ERROR;
    }
    if (!complete) {
        Py_CLEAR(*result);
        PyObject *error = PyDict_GetItemString(PyFunction_GET_GLOBALS(self->function->python), "BrokenBarrierError");
        PyErr_SetString(error == NULL ? PyExc_RuntimeError : error, "Abort or reset of barrier");
        return PYGEN_ERROR;
    }
    return PYGEN_RETURN;
}

static PySendResult
barrier_left(Coroutine *self, PyObject *exception, PyObject **result)
{
    Barrier *barrier = (Barrier *)self->self;
    if (self->early && barrier->spared) {
        barrier->spared -= 1;
    }
    return give_back_and_raise(self, exception, result);
}

static const Steps barrier_steps = {never_at_once, barrier_begin, barrier_granted, barrier_left};

/* The fields, under the names that Python has for them */

static PyMemberDef queue_members[] = {
    {"_owner", T_OBJECT, offsetof(Queue, owner), 0, NULL},
    {"bound", T_OBJECT, offsetof(Queue, bound), 0, NULL},
    {"run", T_OBJECT, offsetof(Queue, run), 0, NULL},
    {"granted", T_PYSSIZET, offsetof(Queue, granted), 0, NULL},
    {"owed_exits", T_PYSSIZET, offsetof(Queue, owed_exits), 0, NULL},
    {"line", T_OBJECT, offsetof(Queue, line), 0, NULL},
    {"_notes", T_OBJECT, offsetof(Queue, notes), 0, NULL},
    {"keepers", T_OBJECT, offsetof(Queue, keepers), 0, NULL},
    {"_dead", T_PYSSIZET, offsetof(Queue, dead), 0, NULL},
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
    {NULL, NULL, NULL, NULL, NULL},
};

#define QUEUE_MEMBER {"_queue", T_OBJECT, offsetof(Primitive, queue), 0, NULL}
#if LAZY_DICT
#define PRIMITIVE_MEMBERS QUEUE_MEMBER, {"__dictoffset__", T_PYSSIZET, offsetof(Primitive, dict), READONLY, NULL}
#define LAST_GETSET {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL}, {NULL, NULL, NULL, NULL, NULL}
#else  /* the interpreter adds a dict of its own */
#define PRIMITIVE_MEMBERS QUEUE_MEMBER
#define LAST_GETSET {NULL, NULL, NULL, NULL, NULL}
#endif

static PyMemberDef lock_members[] = {
    PRIMITIVE_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

/* A flag is true or false, whatever is put into it. */
static int
set_flag(char *flag, PyObject *value)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    *flag = truth;
    return 0;
}

static PyObject *
lock_get_locked(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Lock *)self)->locked);
}

static int
lock_set_locked(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return set_flag(&((Lock *)self)->locked, value);
}

static PyGetSetDef lock_getset[] = {
    {"_locked", lock_get_locked, lock_set_locked, NULL, NULL},
    LAST_GETSET,
};

static PyMemberDef semaphore_members[] = {
    PRIMITIVE_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
semaphore_get_value(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *large = LOAD((Semaphore *)self, large);
    return large == NULL ? PyLong_FromSsize_t(((Semaphore *)self)->value) : large;
}

static int
semaphore_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || !(PyLong_Check(value) || PyFloat_Check(value))) {
        PyErr_SetString(PyExc_TypeError, "_value must be an integer, or math.inf");
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(value);
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        ((Semaphore *)self)->value = 0;
        STORE((Semaphore *)self, large, Py_NewRef(value));
    }
    else {
        ((Semaphore *)self)->value = number;
        STORE((Semaphore *)self, large, NULL);
    }
    return 0;
}

static PyGetSetDef semaphore_getset[] = {
    {"_value", semaphore_get_value, semaphore_set_value, NULL, NULL},
    LAST_GETSET,
};

static PyGetSetDef primitive_getset[] = {
    LAST_GETSET,
};

static PyMemberDef event_members[] = {
    PRIMITIVE_MEMBERS,
    {"_woken", T_PYSSIZET, offsetof(Event, woken), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
event_get_value(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Event *)self)->value);
}

static int
event_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return set_flag(&((Event *)self)->value, value);
}

static PyGetSetDef event_getset[] = {
    {"_value", event_get_value, event_set_value, NULL, NULL},
    LAST_GETSET,
};

static PyMemberDef condition_members[] = {
    PRIMITIVE_MEMBERS,
    {"_lock", T_OBJECT, offsetof(Condition, lock), 0, NULL},
    {"_grip", T_OBJECT, offsetof(Condition, grip), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef barrier_members[] = {
    PRIMITIVE_MEMBERS,
    {"_parties", T_OBJECT, offsetof(Barrier, parties), 0, NULL},
    {"_state", T_OBJECT, offsetof(Barrier, state), 0, NULL},
    {"_spared", T_PYSSIZET, offsetof(Barrier, spared), 0, NULL},
    {"_sparing", T_OBJECT, offsetof(Barrier, sparing), 0, NULL},
    {NULL, 0, 0, 0, NULL},
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
    Py_CLEAR(self->maker);
    return 0;
}

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

static int
condition_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Condition *)object)->lock);
    Py_VISIT(((Condition *)object)->grip);
    return primitive_traverse(object, visit, arg);
}

static int
condition_clear(PyObject *object)
{
    Py_CLEAR(((Condition *)object)->lock);
    Py_CLEAR(((Condition *)object)->grip);
    return primitive_clear(object);
}

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

/* Of the types with fields, each with its own tp_clear. */
#define DEALLOC(name, clear)                 \
    static void name(PyObject *self)         \
    {                                        \
        PyTypeObject *type = Py_TYPE(self);  \
        PyObject_GC_UnTrack(self);           \
        (void)clear(self);                   \
        type->tp_free(self);                 \
        Py_DECREF(type);                     \
    }

DEALLOC(queue_dealloc, queue_clear)
DEALLOC(primitive_dealloc, primitive_clear)
DEALLOC(semaphore_dealloc, semaphore_clear)
DEALLOC(condition_dealloc, condition_clear)
DEALLOC(barrier_dealloc, barrier_clear)

/* PyType_GenericNew, as object.__new__() makes the dict at once on Python 3.12. */
#define FIELDS_SPEC(name_, layout, deallocate, traverse, clear, members, getset)       \
    {                                                                                       \
        .name = "holdfast._speedups." name_,                                                \
        .basicsize = sizeof(layout),                                                        \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,             \
        .slots = (PyType_Slot[]){                                                           \
            {Py_tp_new, PyType_GenericNew},                                                 \
            {Py_tp_dealloc, deallocate},                                                    \
            {Py_tp_traverse, traverse},                                                     \
            {Py_tp_clear, clear},                                                           \
            {Py_tp_members, members},                                                       \
            {Py_tp_getset, getset},                                                         \
            {0, NULL},                                                                      \
        },                                                                                  \
    }

static PyType_Spec queue_spec = FIELDS_SPEC(
    "WaitQueue", Queue, queue_dealloc, queue_traverse, queue_clear, queue_members, queue_getset);
static PyType_Spec lock_spec = FIELDS_SPEC(
    "Lock", Lock, primitive_dealloc, primitive_traverse, primitive_clear, lock_members, lock_getset);
static PyType_Spec semaphore_spec = FIELDS_SPEC(
    "Semaphore", Semaphore, semaphore_dealloc, semaphore_traverse, semaphore_clear, semaphore_members,
    semaphore_getset);
static PyType_Spec event_spec = FIELDS_SPEC(
    "Event", Event, primitive_dealloc, primitive_traverse, primitive_clear, event_members, event_getset);
static PyType_Spec condition_spec = FIELDS_SPEC(
    "Condition", Condition, condition_dealloc, condition_traverse, condition_clear, condition_members,
    primitive_getset);
static PyType_Spec barrier_spec = FIELDS_SPEC(
    "Barrier", Barrier, barrier_dealloc, barrier_traverse, barrier_clear, barrier_members, primitive_getset);

/* The module */

/* A method descriptor has no documentation of its own, so inspect and help() find that of the Python body. */
#define DESCRIPTOR(name, call) {name, call, METH_NOARGS, name "($self, /)\n--\n\n"}
#define FUNCTION(name) {name, NULL, 0, NULL}
#define COROUTINE_FUNCTION(name) FUNCTION(name), 0, 0, coroutine_function

static Body bodies[METHODS] = {
    [QUEUE_JOIN] = {"WaitQueue", FUNCTION("join"), 0, 0, queue_join, NULL, NULL},
    [QUEUE_LEAVE] = {"WaitQueue", FUNCTION("leave"), 1, 0, queue_leave, NULL, NULL},
    [QUEUE_GRANT] = {"WaitQueue", FUNCTION("grant"), 1, 1, queue_grant, NULL, NULL},
    [QUEUE_RETIRE] = {"WaitQueue", FUNCTION("retire"), 0, 0, queue_retire, NULL, NULL},
    [QUEUE_RETIRE_HERE] = {"WaitQueue", FUNCTION("retire_here"), 0, 0, queue_retire_here, NULL, NULL},
    [LOCK_ACQUIRE] = {"Lock", COROUTINE_FUNCTION("acquire"), &lock_steps, call_coroutine_function},
    [LOCK_TRY_ACQUIRE] = {"Lock", FUNCTION("try_acquire"), 0, 0, lock_try_acquire, NULL, NULL},
    [LOCK_RELEASE] = {"Lock", DESCRIPTOR("release", call_lock_release), 0, 0, lock_release, NULL, NULL},
    [LOCK_LOCKED] = {"Lock", FUNCTION("locked"), 0, 0, lock_locked, NULL, NULL},
    [LOCK_ENTER] = {"Lock", FUNCTION("__aenter__"), 0, 0, lock_enter, NULL, call_lock_enter},
    [LOCK_EXIT] = {"Lock", FUNCTION("__aexit__"), 3, 0, exit_context, NULL, call_exit_context},
    [SEMAPHORE_ACQUIRE] = {"Semaphore", COROUTINE_FUNCTION("acquire"), &semaphore_steps, call_coroutine_function},
    [SEMAPHORE_TRY_ACQUIRE] = {"Semaphore", FUNCTION("try_acquire"), 0, 0, semaphore_try_acquire, NULL, NULL},
    [SEMAPHORE_RELEASE] = {"Semaphore", DESCRIPTOR("release", call_semaphore_release), 0, 0, semaphore_release, NULL, NULL},
    [SEMAPHORE_ENTER] = {"Semaphore", FUNCTION("__aenter__"), 0, 0, semaphore_enter, NULL, call_semaphore_enter},
    [SEMAPHORE_EXIT] = {"Semaphore", FUNCTION("__aexit__"), 3, 0, exit_context, NULL, call_exit_context},
    [EVENT_WAIT] = {"Event", COROUTINE_FUNCTION("wait"), &event_steps, call_coroutine_function},
    [EVENT_SET] = {"Event", DESCRIPTOR("set", call_event_set), 0, 0, declines, NULL, NULL},
    [CONDITION_ACQUIRE] = {"Condition", FUNCTION("acquire"), 0, 0, condition_acquire, NULL, call_condition_acquire},
    [CONDITION_RELEASE] = {"Condition", FUNCTION("release"), 0, 0, condition_release, NULL, call_condition_release},
    [CONDITION_LOCKED] = {"Condition", FUNCTION("locked"), 0, 0, condition_locked, NULL, NULL},
    [CONDITION_WAIT] = {"Condition", COROUTINE_FUNCTION("wait"), &condition_steps, call_coroutine_function},
    [CONDITION_ENTER] = {"Condition", FUNCTION("__aenter__"), 0, 0, condition_enter, NULL, call_condition_enter},
    [CONDITION_EXIT] = {"Condition", FUNCTION("__aexit__"), 3, 0, exit_context, NULL, call_exit_context},
    [BARRIER_WAIT] = {"Barrier", COROUTINE_FUNCTION("wait"), &barrier_steps, call_coroutine_function},
    [BARRIER_SPARE_NOBODY] = {"Barrier", FUNCTION("_spare_nobody"), 0, 0, barrier_spare_nobody, NULL, NULL},
};

static Function *
new_function(PyObject *module, const Body *body, PyTypeObject *type, PyObject *python, PyTypeObject *twin)
{
    State *state = PyModule_GetState(module);
    PyObject *method = PyObject_GetAttrString(python, body->method.ml_name);
    if (method != NULL && !PyFunction_Check(method)) {
        PyErr_Format(PyExc_TypeError, "%s.%s must be a function, not %R", body->type, body->method.ml_name, method);
        Py_CLEAR(method);
    }
    Function *function = method == NULL ? NULL : PyObject_GC_New(Function, state->function_type);
    if (function == NULL) {
        Py_XDECREF(method);
        return NULL;
    }
    function->vectorcall = body->shortcut == NULL ? function_vectorcall : body->shortcut;
    function->body = body;
    function->python = method;
    function->module = Py_NewRef(module);
    function->type = (PyTypeObject *)Py_NewRef(type);
    function->twin = (PyTypeObject *)Py_NewRef(twin);
    function->least = body->arguments - body->optional;
    function->most = body->arguments;
    function->special = strncmp(body->method.ml_name, "__", 2) == 0;
    function->state = state;
    function->other = NULL;
    function->version = 0;
    function->spare = NULL;
    function->spares = 0;
    PyObject_GC_Track(function);
    return function;
}

PyDoc_STRVAR(functions_doc,
"functions($module, type, python, twin, /)\n"
"--\n"
"\n"
"The methods of the class `python` that have a compiled body for instances of `type`, of which `twin` is a subclass.");

static PyObject *
functions(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    PyTypeObject *type, *twin;
    PyObject *python;
    if (!PyArg_ParseTuple(arguments, "O!OO!:functions", &PyType_Type, &type, &python, &PyType_Type, &twin)) {
        return NULL;
    }
    PyObject *found = PyDict_New();
    if (found == NULL) {
        return NULL;
    }
    const char *dot = strrchr(type->tp_name, '.');
    const char *type_name = dot == NULL ? type->tp_name : dot + 1;
    for (size_t i = 0; i < METHODS; i++) {
        Body *body = &bodies[i];
        if (strcmp(type_name, body->type) != 0) {
            continue;
        }
        Function *function = new_function(module, body, type, python, twin);
        PyObject *method = (PyObject *)function;
        if (function != NULL) {
            Py_XSETREF(state->functions[i], function);
            if (function->special) {  /* it comes after them */
                const char *other = body->run == exit_context ? "release" : "acquire";
                function->other = Py_XNewRef(PyDict_GetItemString(found, other));
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
    if (type == state->queue_type) {
        Py_XSETREF(state->queue_twin, (PyTypeObject *)Py_NewRef(twin));
    }
    return found;
}

/* Set *function to that of a method which `type` itself has with these flags. 0, or -1 if there is none, with an
exception or without. */
static int
know_method(PyCFunction *function, PyObject *type, const char *name, int flags)
{
    PyObject *method = PyObject_GetAttrString(type, name);
    bool own = method != NULL && Py_IS_TYPE(method, &PyMethodDescr_Type) && (PyObject *)PyDescr_TYPE(method) == type;
    if (own && ((PyMethodDescrObject *)method)->d_method->ml_flags == flags) {
        *function = ((PyMethodDescrObject *)method)->d_method->ml_meth;
    }
    Py_XDECREF(method);  /* the function is in static memory, and `type` is kept */
    return *function == NULL ? -1 : 0;
}

static int
know_deque(Known *known, PyObject *deque)
{
    if (know_method(&known->append, deque, "append", METH_O) < 0
        || know_method(&known->popleft, deque, "popleft", METH_NOARGS) < 0
        || know_method(&known->pop, deque, "pop", METH_NOARGS) < 0) {
        return -1;
    }
    PySequenceMethods *sequence = ((PyTypeObject *)deque)->tp_as_sequence;
    if (sequence == NULL || sequence->sq_length == NULL || sequence->sq_item == NULL) {
        return -1;
    }
    known->length = sequence->sq_length;
    known->item = sequence->sq_item;
    known->deque = (PyTypeObject *)Py_NewRef(deque);
    return 0;
}

static int
know_future(Known *known, PyObject *future, PyObject *loop)
{
    if (know_method(&known->done, future, "done", METH_NOARGS) < 0
        || know_method(&known->result, future, "result", METH_NOARGS) < 0) {
        return -1;  /* as is _pyfuture.Future */
    }
    PyObject *blocking = PyObject_GetAttrString(future, "_asyncio_future_blocking");
    if (blocking != NULL && Py_IS_TYPE(blocking, &PyGetSetDescr_Type)) {
        known->blocking = ((PyGetSetDescrObject *)blocking)->d_getset;
    }
    Py_XDECREF(blocking);
    known->set_result = PyObject_GetAttrString(future, "set_result");
    known->create_future = PyObject_GetAttrString(loop, "create_future");
    if (known->blocking == NULL || known->set_result == NULL || known->create_future == NULL) {
        return -1;
    }
    (void)know_method(&known->set, future, "set_result", METH_O);
    known->future = (PyTypeObject *)Py_NewRef(future);
    return 0;
}

/* What is not as expected is left out. */
static int
know(Known *known)
{
    struct {
        const char *module;
        const char *name;
        PyObject *value;
    } imports[] = {
        {"collections", "deque", NULL},
        {"asyncio.futures", "Future", NULL},
        {"asyncio.base_events", "BaseEventLoop", NULL},
    };
    int result = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(imports) && result == 0; i++) {
        PyObject *module = PyImport_ImportModule(imports[i].module);
        imports[i].value = module == NULL ? NULL : PyObject_GetAttrString(module, imports[i].name);
        Py_XDECREF(module);
        result = imports[i].value == NULL ? -1 : 0;
    }
    if (result == 0) {
        int unknown = know_deque(known, imports[0].value) < 0;
        unknown |= know_future(known, imports[1].value, imports[2].value) < 0;
        if (unknown && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        result = PyErr_Occurred() ? -1 : 0;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(imports); i++) {
        Py_XDECREF(imports[i].value);
    }
    return result;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);

    struct {
        PyObject **field;
        const char *text;
    } strings[] = {
        {&state->str_append, "append"},
        {&state->str_cancel, "cancel"},
        {&state->str_cancelled, "cancelled"},
        {&state->str_close, "close"},
        {&state->str_create_future, "create_future"},
        {&state->str_done, "done"},
        {&state->str_leave, "leave"},
        {&state->str_popleft, "popleft"},
        {&state->str_pop, "pop"},
        {&state->str_set_result, "set_result"},
        {&state->str_throw, "throw"},
        {&state->str_acquire, "acquire"},
        {&state->str_release, "release"},
        {&state->str_locked, "locked"},
        {&state->str_queue, "_queue"},
        {&state->str_enter_line, "_enter_line"},
        {&state->str_give_back, "_give_back"},
        {&state->str_hand_out, "_hand_out"},
        {&state->str_aenter, "__aenter__"},
        {&state->str_reacquire, "_reacquire"},
        {&state->str_reacquire_closed, "_reacquire_closed"},
        {&state->str_end_round, "_end_round"},
        {&state->str_loop, "loop"},
        {&state->str_call_soon, "call_soon"},
        {&state->str_enter, "_enter"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(strings); i++) {
        *strings[i].field = PyUnicode_InternFromString(strings[i].text);
        if (*strings[i].field == NULL) {
            return -1;
        }
    }

    struct {
        PyTypeObject **field;
        PyType_Spec *spec;
        bool public;
    } types[] = {
        {&state->function_type, &function_spec, false},
        {&state->bound_type, &bound_spec, false},
        {&state->coroutine_type, &coroutine_spec, true},
        {&state->finished_type, &finished_spec, false},
        {&state->queue_type, &queue_spec, true},
        {&state->lock_type, &lock_spec, true},
        {&state->semaphore_type, &semaphore_spec, true},
        {&state->event_type, &event_spec, true},
        {&state->condition_type, &condition_spec, true},
        {&state->barrier_type, &barrier_spec, true},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(types); i++) {
        *types[i].field = (PyTypeObject *)PyType_FromModuleAndSpec(module, types[i].spec, NULL);
        if (*types[i].field == NULL || (types[i].public && PyModule_AddType(module, *types[i].field) < 0)) {
            return -1;
        }
    }

    if (know(&state->known) < 0) {
        return -1;
    }
    state->no_arguments = PyTuple_New(0);
    state->keyword_context = Py_BuildValue("(s)", "context");
    state->zero = PyLong_FromLong(0);
    state->stop = PyObject_CallOneArg(PyExc_StopIteration, Py_True);
    PyObject *events = PyImport_ImportModule("asyncio.events");
    if (events == NULL || state->no_arguments == NULL || state->keyword_context == NULL || state->zero == NULL
        || state->stop == NULL) {
        Py_XDECREF(events);
        return -1;
    }
    state->get_running_loop = PyObject_GetAttrString(events, "_get_running_loop");
    Py_DECREF(events);
    if (state->get_running_loop == NULL) {
        return -1;
    }
    state->finished = state->finished_type->tp_alloc(state->finished_type, 0);
    if (state->finished == NULL || PyModule_AddObjectRef(module, "FINISHED", state->finished) < 0) {
        return -1;
    }
#ifdef __OPTIMIZE__  /* as gcc and clang say; others say nothing */
    return PyModule_AddIntConstant(module, "OPTIMIZED", 1);
#else
    return PyModule_AddIntConstant(module, "OPTIMIZED", 0);
#endif
}

#define ALL_REFERENCES(DO)                                                                                            \
    DO(function_type) DO(bound_type) DO(coroutine_type) DO(finished_type) DO(queue_type) DO(queue_twin)               \
    DO(lock_type) DO(semaphore_type) DO(event_type) DO(condition_type) DO(barrier_type)                               \
    DO(filling) DO(draining) DO(broken) DO(finished) DO(get_running_loop)                                             \
    DO(stop) DO(zero) DO(no_arguments) DO(keyword_context)                                                            \
    DO(known.deque) DO(known.future) DO(known.set_result) DO(known.create_future)                                     \
    DO(str_append) DO(str_cancel) DO(str_cancelled) DO(str_close) DO(str_create_future) DO(str_done) DO(str_leave)    \
    DO(str_popleft) DO(str_pop) DO(str_set_result) DO(str_throw)                                                      \
    DO(str_acquire) DO(str_release) DO(str_locked) DO(str_queue) DO(str_enter_line) DO(str_give_back)                 \
    DO(str_hand_out) DO(str_aenter) DO(str_reacquire)                                                                 \
    DO(str_reacquire_closed) DO(str_end_round) DO(str_loop) DO(str_call_soon) DO(str_enter)

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
#define VISIT(field) Py_VISIT(state->field);
    ALL_REFERENCES(VISIT)
#undef VISIT
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
    ALL_REFERENCES(CLEAR)
#undef CLEAR
    for (size_t i = 0; i < METHODS; i++) {
        if (state->functions[i] != NULL) {
            free_spares(state->functions[i]);
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
    .m_name = "holdfast._speedups",
    .m_doc = "The compiled twin of the task tier's hot paths; see _twins.py.",
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
