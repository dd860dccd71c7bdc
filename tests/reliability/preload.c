/* Preloaded into real filters: writes down their calls on files, or makes one of these fail.
 *
 * What is done to the files below $RECORD_ROOT is written to $RECORD_LOG, which disk.py reads:
 *
 * record :== call 8 | inode 8 | number 8 | length 4 | length 4 | bytes | bytes
 *
 * number is an offset, a size or a flag; the bytes are paths, or what was written.
 *
 * Of the calls of the kind $FAULT_CALL, a number as below, the one with the number $FAULT_FIRST
 * fails with the error $FAULT_ERROR, or, if that is 0, the process is killed instead of making it.
 * So do all that follow with $FAULT_SCOPE "on"; with "each", each process counts its own calls.
 * The file $FAULT_COUNTS has two numbers of 8 bytes for each kind, the calls of all processes and
 * the most of one, and at last how many failed. All that begins when a program starts, or when it
 * calls read_fault. A write of the same block as the one before is not counted: libdb fills its
 * log with zeros, some hundred times the same. Children that are forked are treated likewise, programs that are started are
 * left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static int record_file(void)
{
    static int descriptor = -1;
    const char *path = getenv("RECORD_LOG");
    if (descriptor < 0 && path)
        descriptor = syscall(SYS_openat, AT_FDCWD, path,
                             O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return descriptor;
}

static void record(char call, uint64_t inode, int64_t number,
                   const void *first, size_t first_length, const void *second, size_t second_length)
{
    struct { uint64_t call, inode; int64_t number; uint32_t first, second; } head = {
        call, inode, number, first_length, second_length};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)first, first_length},
                            {(void *)second, second_length}};
    if (record_file() >= 0)
        syscall(SYS_writev, record_file(), parts, 3);
}

static int below(const char *path)
{
    const char *root = getenv("RECORD_ROOT");
    return root && !strncmp(path, root, strlen(root));
}

/* As in preload.py. IMPORT is the opening of a file that is not below $RECORD_ROOT. */
enum kind { WRITE, PWRITE, OPEN_FILE, TRUNCATE_FILE, ALLOCATE, SYNC_FILE, RENAME, UNLINK, MKDIR,
            ALARM, IMPORT, KINDS };

static struct {
    enum kind kind;
    const char *scope;
    uint64_t first, own[KINDS];
    int error;
    struct { uint64_t calls[KINDS], most[KINDS], failed; } *counts;
} fault;

static void forget_calls(void)
{
    memset(fault.own, 0, sizeof fault.own);
}

__attribute__((constructor)) void read_fault(void)
{
    const char *path = getenv("FAULT_COUNTS");
    if (!path)
        return;
    fault.kind = atoi(getenv("FAULT_CALL"));
    fault.scope = strdup(getenv("FAULT_SCOPE"));
    fault.first = atoll(getenv("FAULT_FIRST"));
    fault.error = atoi(getenv("FAULT_ERROR"));
    int descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    fault.counts = mmap(NULL, sizeof *fault.counts, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    pthread_atfork(NULL, NULL, forget_calls);
    unsetenv("LD_PRELOAD");
}

/* Returns whether this call is to fail, with errno set; a killed process does not return. */
static int fails_if(enum kind kind, int counted)
{
    if (!fault.counts)
        return 0;
    uint64_t number = __atomic_add_fetch(&fault.counts->calls[kind], counted, __ATOMIC_SEQ_CST);
    fault.own[kind] += counted;
    if (fault.own[kind] > fault.counts->most[kind])
        fault.counts->most[kind] = fault.own[kind];
    if (kind != fault.kind)
        return 0;
    if (!strcmp(fault.scope, "each"))
        number = fault.own[kind];
    int on = !strcmp(fault.scope, "on");
    if (!fault.first || number < fault.first || (!on && (number > fault.first || !counted)))
        return 0;
    __atomic_add_fetch(&fault.counts->failed, 1, __ATOMIC_SEQ_CST);
    if (!fault.error)
        kill(getpid(), SIGKILL);
    errno = fault.error;
    return 1;
}

static int fails(enum kind kind)
{
    return fails_if(kind, 1);
}

static int is_new(const char *data, size_t size)
{
    static uint64_t last;
    uint64_t sum = size;
    for (size_t at = 0; fault.counts && at < size; at++)
        sum = sum * 1099511628211u + (unsigned char)data[at];
    int new = size < 4096 || sum != last;
    last = sum;
    return new;
}

/* The inode of an open file of ours, or 0; paths of ours are always absolute. */
static uint64_t file_of(int descriptor, int *directory)
{
    char link[40], path[PATH_MAX];
    struct stat status;
    if (!getenv("RECORD_LOG"))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (!below(path) || fstat(descriptor, &status))
        return 0;
    if (directory)
        *directory = S_ISDIR(status.st_mode);
    return status.st_ino;
}

static uint64_t inode_of(const char *path)
{
    struct stat status;
    return lstat(path, &status) ? 0 : status.st_ino;
}

static void opened(int descriptor, const char *path, int flags)
{
    if (descriptor >= 0 && flags & (O_CREAT | O_TRUNC) && below(path))
        record('c', inode_of(path), !!(flags & O_TRUNC), path, strlen(path), "", 0);
}

#define OPEN(name)                                                           \
    int name(const char *path, int flags, ...)                               \
    {                                                                        \
        va_list list;                                                        \
        va_start(list, flags);                                               \
        mode_t mode = va_arg(list, mode_t);                                  \
        va_end(list);                                                        \
        if (fails(below(path) ? OPEN_FILE : IMPORT))                         \
            return -1;                                                       \
        int descriptor = REAL(int, #name, const char *, int, ...)(path, flags, mode); \
        opened(descriptor, path, flags);                                     \
        return descriptor;                                                   \
    }
OPEN(open)
OPEN(open64)
OPEN(__open64_2)

#define OPENAT(name)                                                         \
    int name(int at, const char *path, int flags, ...)                       \
    {                                                                        \
        va_list list;                                                        \
        va_start(list, flags);                                               \
        mode_t mode = va_arg(list, mode_t);                                  \
        va_end(list);                                                        \
        if (fails(below(path) ? OPEN_FILE : IMPORT))                         \
            return -1;                                                       \
        int descriptor = REAL(int, #name, int, const char *, int, ...)(at, path, flags, mode); \
        opened(descriptor, path, flags);                                     \
        return descriptor;                                                   \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *data, size_t size)
{
    if (fails_if(WRITE, is_new(data, size)))
        return -1;
    ssize_t done = REAL(ssize_t, "write", int, const void *, size_t)(descriptor, data, size);
    uint64_t inode = done > 0 ? file_of(descriptor, NULL) : 0;
    if (inode)
        record('w', inode, lseek(descriptor, 0, SEEK_CUR) - done, data, done, "", 0);
    return done;
}

#define PWRITE(name)                                                         \
    ssize_t name(int descriptor, const void *data, size_t size, off64_t at)  \
    {                                                                        \
        if (fails(PWRITE))                                                   \
            return -1;                                                       \
        ssize_t done = REAL(ssize_t, #name, int, const void *, size_t, off64_t)(descriptor, data, size, at); \
        uint64_t inode = done > 0 ? file_of(descriptor, NULL) : 0;           \
        if (inode)                                                           \
            record('w', inode, at, data, done, "", 0);                       \
        return done;                                                         \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define FTRUNCATE(name)                                                      \
    int name(int descriptor, off64_t size)                                   \
    {                                                                        \
        if (fails(TRUNCATE_FILE))                                            \
            return -1;                                                       \
        int failed = REAL(int, #name, int, off64_t)(descriptor, size);       \
        uint64_t inode = failed ? 0 : file_of(descriptor, NULL);             \
        if (inode)                                                           \
            record('t', inode, size, "", 0, "", 0);                          \
        return failed;                                                       \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define TRUNCATE(name)                                                       \
    int name(const char *path, off64_t size)                                 \
    {                                                                        \
        if (fails(TRUNCATE_FILE))                                            \
            return -1;                                                       \
        int failed = REAL(int, #name, const char *, off64_t)(path, size);    \
        if (!failed && below(path))                                          \
            record('t', inode_of(path), size, "", 0, "", 0);                 \
        return failed;                                                       \
    }
TRUNCATE(truncate)
TRUNCATE(truncate64)

#define FALLOCATE(name)                                                      \
    int name(int descriptor, off64_t at, off64_t size)                       \
    {                                                                        \
        if (fails(ALLOCATE))                                                 \
            return errno; /* which it returns, not -1 */                     \
        int failed = REAL(int, #name, int, off64_t, off64_t)(descriptor, at, size); \
        uint64_t inode = failed ? 0 : file_of(descriptor, NULL);             \
        if (inode)                                                           \
            record('a', inode, at + size, "", 0, "", 0);                     \
        return failed;                                                       \
    }
FALLOCATE(posix_fallocate)
FALLOCATE(posix_fallocate64)

#define SYNC(name)                                                           \
    int name(int descriptor)                                                 \
    {                                                                        \
        if (fails(SYNC_FILE))                                                \
            return -1;                                                       \
        int directory = 0, failed = REAL(int, #name, int)(descriptor);       \
        uint64_t inode = failed ? 0 : file_of(descriptor, &directory);       \
        if (inode)                                                           \
            record('s', inode, directory, "", 0, "", 0);                     \
        return failed;                                                       \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to)
{
    if (below(to) && fails(RENAME)) /* coverage(1) has files of its own */
        return -1;
    int failed = REAL(int, "rename", const char *, const char *)(from, to);
    if (!failed && below(to))
        record('r', 0, 0, from, strlen(from), to, strlen(to));
    return failed;
}

#define REMOVAL(name)                                                        \
    int name(const char *path)                                               \
    {                                                                        \
        if (fails(UNLINK))                                                   \
            return -1;                                                       \
        int failed = REAL(int, #name, const char *)(path);                   \
        if (!failed && below(path))                                          \
            record('u', 0, 0, path, strlen(path), "", 0);                    \
        return failed;                                                       \
    }
REMOVAL(unlink)
REMOVAL(rmdir)

int mkdir(const char *path, mode_t mode)
{
    if (fails(MKDIR))
        return -1;
    int failed = REAL(int, "mkdir", const char *, mode_t)(path, mode);
    if (!failed && below(path))
        record('m', inode_of(path), 0, path, strlen(path), "", 0);
    return failed;
}

/* Without a descriptor to spare, libdb sleeps for 12 s: a fault need not be waited for. */
int select(int count, fd_set *in, fd_set *out, fd_set *other, struct timeval *timeout)
{
    struct timeval none = {0, 0};
    if (!count && fault.counts)
        timeout = &none;
    return REAL(int, "select", int, fd_set *, fd_set *, fd_set *, struct timeval *)(
        count, in, out, other, timeout);
}

unsigned alarm(unsigned seconds)
{
    fails(ALARM); /* which cannot: a process can be killed here, though */
    return REAL(unsigned, "alarm", unsigned)(seconds);
}
