/* The same bytes to many sockets: the inner loop of a fan-out.
 *
 *     send_all(descriptors, data) -> None, or [(index, sent), ...]
 *
 * descriptors   a buffer of C ints: sockets that do not block
 * data          the bytes that each of them gets
 * returns       None where every socket took everything; else those that did not, by their index, with what they took.
 *               An error counts as 0 bytes: the caller writes the rest by the transport, which then finds the error.
 *
 * Laws: sockets are written in their order; the interpreter is free for other threads while a long list is written, once
 * for the list and not once for each socket, because each time another thread may keep it for its switch interval.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

/* From how many sockets on the interpreter is let go. */
enum { MANY = 16 };

struct rest {
    Py_ssize_t index, sent;
};

/* Write `data` to each socket; return how many did not take all, noted in *rests, or -1 where memory ran out. */
static Py_ssize_t send_each(const int *sockets, Py_ssize_t count, const char *data, size_t size, struct rest **rests) {
    Py_ssize_t incomplete = 0;
    for (Py_ssize_t index = 0; index < count; index++) {
        ssize_t sent = send(sockets[index], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == (ssize_t)size) continue;
        if (*rests == NULL && (*rests = malloc(sizeof(struct rest) * (size_t)count)) == NULL) return -1;
        (*rests)[incomplete].index = index;
        (*rests)[incomplete].sent = sent < 0 ? 0 : sent;
        incomplete++;
    }
    return incomplete;
}

static PyObject *as_list(const struct rest *rests, Py_ssize_t count) {
    PyObject *list = PyList_New(count);
    for (Py_ssize_t place = 0; list != NULL && place < count; place++) {
        PyObject *pair = Py_BuildValue("(nn)", rests[place].index, rests[place].sent);
        if (pair == NULL || PyList_SetItem(list, place, pair) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static PyObject *send_all(PyObject *module, PyObject *arguments) {
    Py_buffer descriptors, data;
    struct rest *rests = NULL;
    PyObject *answer = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*", &descriptors, &data)) return NULL;

    Py_ssize_t count = descriptors.len / (Py_ssize_t)sizeof(int), incomplete;
    if (count >= MANY) {
        Py_BEGIN_ALLOW_THREADS
        incomplete = send_each(descriptors.buf, count, data.buf, (size_t)data.len, &rests);
        Py_END_ALLOW_THREADS
    } else {
        incomplete = send_each(descriptors.buf, count, data.buf, (size_t)data.len, &rests);
    }
    if (incomplete < 0) PyErr_NoMemory();
    else if (incomplete > 0) answer = as_list(rests, incomplete);
    else {
        answer = Py_None;
        Py_INCREF(answer);
    }
    free(rests);
    PyBuffer_Release(&data);
    PyBuffer_Release(&descriptors);
    return answer;
}

static PyMethodDef methods[] = {
    {"send_all", send_all, METH_VARARGS, "Send the same bytes to many sockets; see the head of _fanout.c."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "antiphon._fanout", "The inner loop of a fan-out.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__fanout(void) { return PyModule_Create(&definition); }
