/* What the module keeps for one interpreter: its types, its methods, and the objects that many calls need.

What must hold: there is no state anywhere else, so each interpreter has its own. STRINGS and REFERENCES together name
every reference in State but those to the methods, which module_clear() knows of. */

/* Defined at the end of module.c: it names what rests on all other files. Here only its address is needed, which leads
from an object of one of our classes to the state. */
static struct PyModuleDef module_def;

/* A Function points to the state, and the state to each Function. */
typedef struct Function Function;

/* The methods that have a body in C. */
enum method {
    QUEUE_JOIN, QUEUE_LEAVE, QUEUE_GRANT, QUEUE_RETIRE, QUEUE_RETIRE_HERE,
    LOCK_ACQUIRE, LOCK_TRY_ACQUIRE, LOCK_RELEASE, LOCK_LOCKED, LOCK_ENTER, LOCK_EXIT,
    SEMAPHORE_ACQUIRE, SEMAPHORE_TRY_ACQUIRE, SEMAPHORE_RELEASE, SEMAPHORE_ENTER, SEMAPHORE_EXIT,
    EVENT_WAIT, EVENT_SET,
    CONDITION_ACQUIRE, CONDITION_RELEASE, CONDITION_LOCKED, CONDITION_WAIT, CONDITION_ENTER, CONDITION_EXIT,
    BARRIER_WAIT, BARRIER_SPARE_NOBODY,
    KEYED_LOCK_GETITEM, KEY_LOCK_TRY_ACQUIRE, KEY_LOCK_RELEASE, KEY_LOCK_ENTER, KEY_LOCK_EXIT,
    METHODS
};

/* The C functions behind CPython's deque, Future and _get_running_loop(), as far as they are as expected: see
deque_and_future.c. */
typedef struct {
    PyTypeObject *deque;   /* NULL if deques are not as expected */
    PyCFunction append, popleft, pop;
    lenfunc length;
    ssizeargfunc item;
    PyTypeObject *future;  /* NULL if futures are not as expected */
    PyCFunction done, result;
    PyCFunction set;           /* set_result() on Python 3.11 */
    PyCFunction set_by_class;  /* set_result() since 3.12, where it is a PyCMethod, which is passed its class as well */
    PyObject *set_result;      /* the method descriptor, in case it is neither */
    PyGetSetDef *blocking;
    PyGetSetDef *source;       /* _source_traceback; NULL if it is not as expected */
    PyObject *create_future;   /* BaseEventLoop's, which returns Future(loop=self) */
    PyCFunction running_loop;  /* NULL if it is not as expected */
    PyObject *running_loop_self;
} Known;

/* The names of what is looked up in Python objects. */
#define STRINGS(DO)                                                                                                   \
    DO(str_acquire, "acquire") DO(str_aenter, "__aenter__") DO(str_append, "append") DO(str_call_soon, "call_soon")   \
    DO(str_cancel, "cancel") DO(str_cancelled, "cancelled") DO(str_close, "close")                                    \
    DO(str_create_future, "create_future") DO(str_done, "done") DO(str_end_round, "_end_round")                       \
    DO(str_exception, "exception")                                                                                    \
    DO(str_enter, "_enter") DO(str_enter_line, "_enter_line") DO(str_give_back, "_give_back")                         \
    DO(str_hand_out, "_hand_out") DO(str_leave, "leave") DO(str_locked, "locked") DO(str_loop, "loop")                \
    DO(str_pop, "pop") DO(str_popleft, "popleft") DO(str_queue, "_queue") DO(str_reacquire, "_reacquire")             \
    DO(str_reacquire_closed, "_reacquire_closed") DO(str_release, "release") DO(str_set_result, "set_result")         \
    DO(str_tell_of, "_tell_of") DO(str_throw, "throw")

#define REFERENCES(DO)                                                                                                \
    DO(function_type) DO(bound_type) DO(coroutine_type) DO(finished_type) DO(queue_type) DO(queue_twin)               \
    DO(lock_type) DO(semaphore_type) DO(event_type) DO(condition_type) DO(barrier_type)                               \
    DO(keyed_lock_type) DO(key_lock_type) DO(keyed_lock_twin) DO(key_lock_twin)                                       \
    DO(filling) DO(draining) DO(broken) DO(finished) DO(get_running_loop)                                             \
    DO(stop) DO(zero) DO(no_arguments) DO(keyword_context)                                                            \
    DO(known.deque) DO(known.future) DO(known.set_result) DO(known.create_future) DO(known.running_loop_self)

typedef struct State {
    PyTypeObject *function_type, *bound_type, *coroutine_type, *finished_type;
    PyTypeObject *queue_type, *lock_type, *semaphore_type, *event_type, *condition_type, *barrier_type;
    PyTypeObject *keyed_lock_type, *key_lock_type;
    PyTypeObject *queue_twin;               /* the subclass that all queues are instances of */
    PyTypeObject *keyed_lock_twin;
    PyTypeObject *key_lock_twin;            /* the subclass that `locks[key]` makes an instance of */
    PyObject *filling, *draining, *broken;  /* of barrier._State */
    PyObject *finished;                     /* the one Finished; NULL once the module is cleared */
    PyObject *get_running_loop;             /* asyncio's, as it was when holdfast was imported; so it is in Python */
    Known known;
    bool tells_of_waits;        /* _hooks.are_installed */
    Function *functions[METHODS];
    PyObject *stop;             /* the StopIteration that is raised again and again: see awaiting.c */
    PyObject *zero;
    PyObject *no_arguments;     /* () */
    PyObject *keyword_context;  /* ("context",) */
#define FIELD(name, text) PyObject *name;
    STRINGS(FIELD)
#undef FIELD
} State;

/* The state that an object of one of our classes belongs to; NULL with an exception. */
static State *
state_of(PyObject *self)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &module_def);
    return module == NULL ? NULL : PyModule_GetState(module);
}
