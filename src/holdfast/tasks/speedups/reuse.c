/* Objects that are used again: an object that one operation has released serves the next one.

Each Function has a pool for what its calls return (coroutines, or locks of a key), and one for its bound methods.

What must hold: an object in a pool keeps its references to its type and to its Function, and no others. The pools are
emptied when the module is cleared, which happens when the interpreter ends. Without the GIL they stay empty. */

#define FREE_OBJECTS 64  /* the most that a pool keeps */

typedef struct {
    PyObject *first;
    int count, most;
} Pool;

/* How the objects begin that are kept in pools. In a pool, `self` is the next object. */
typedef struct {
    PyObject_HEAD
    Function *function;
    PyObject *self;
} Reusable;

#define ASSERT_REUSABLE(layout, second)                                                                               \
    Py_BUILD_ASSERT(offsetof(layout, function) == offsetof(Reusable, function)                                        \
                    && offsetof(layout, second) == offsetof(Reusable, self))

static inline PyObject **
next_of(PyObject *spare)
{
    return &((Reusable *)spare)->self;
}

static inline PyObject *
pop_spare(Pool *pool)
{
    PyObject *spare = pool->first;
    if (spare != NULL) {
        pool->first = *next_of(spare);
        pool->count -= 1;
    }
    return spare;
}

/* An object of the pool; NULL, without an exception, if the pool is empty. */
static inline PyObject *
use_again(Pool *pool)
{
    PyObject *object = pop_spare(pool);
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

/* The end of a tp_dealloc: keep the object for its next use, or free it. */
static inline void
keep_or_free(PyObject *object, Function *function, Pool *pool, bool reusable)
{
    if (REUSE && reusable && pool->count < pool->most) {
        *next_of(object) = pool->first;
        pool->first = object;
        pool->count += 1;
    }
    else {
        free_object(object, function);
    }
}

/* Empty the pool for good. */
static void
close_pool(Pool *pool, Function *function)
{
    PyObject *object;
    pool->most = 0;
    while ((object = pop_spare(pool)) != NULL) {
        free_object(object, function);
    }
}

static int
traverse_pool(Pool *pool, PyObject *function, visitproc visit, void *arg)
{
    for (PyObject *spare = pool->first; spare != NULL; spare = *next_of(spare)) {
        Py_VISIT(Py_TYPE(spare));
        Py_VISIT(function);
    }
    return 0;
}
