/* Writes down what a process does to the files below $RECORD_ROOT, to $RECORD_LOG: preloaded into
 * real filters by power.py, which reads it.
 *
 * record :== call 8 | inode 8 | number 8 | length 4 | length 4 | bytes | bytes
 *
 * number is an offset, a size or a flag; the bytes are paths, or what was written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* The inode of an open file of ours, or 0; paths of ours are always absolute. */
static uint64_t file_of(int descriptor, int *directory)
{
    char link[40], path[PATH_MAX];
    struct stat status;
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
        int descriptor = REAL(int, #name, const char *, int, ...)(path, flags, mode); \
        opened(descriptor, path, flags);                                     \
        return descriptor;                                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                         \
    int name(int at, const char *path, int flags, ...)                       \
    {                                                                        \
        va_list list;                                                        \
        va_start(list, flags);                                               \
        mode_t mode = va_arg(list, mode_t);                                  \
        va_end(list);                                                        \
        int descriptor = REAL(int, #name, int, const char *, int, ...)(at, path, flags, mode); \
        opened(descriptor, path, flags);                                     \
        return descriptor;                                                   \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *data, size_t size)
{
    ssize_t done = REAL(ssize_t, "write", int, const void *, size_t)(descriptor, data, size);
    uint64_t inode = done > 0 ? file_of(descriptor, NULL) : 0;
    if (inode)
        record('w', inode, lseek(descriptor, 0, SEEK_CUR) - done, data, done, "", 0);
    return done;
}

#define PWRITE(name)                                                         \
    ssize_t name(int descriptor, const void *data, size_t size, off64_t at)  \
    {                                                                        \
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
    int failed = REAL(int, "rename", const char *, const char *)(from, to);
    if (!failed && below(to))
        record('r', 0, 0, from, strlen(from), to, strlen(to));
    return failed;
}

int unlink(const char *path)
{
    int failed = REAL(int, "unlink", const char *)(path);
    if (!failed && below(path))
        record('u', 0, 0, path, strlen(path), "", 0);
    return failed;
}

int rmdir(const char *path)
{
    int failed = REAL(int, "rmdir", const char *)(path);
    if (!failed && below(path))
        record('u', 0, 0, path, strlen(path), "", 0);
    return failed;
}

int mkdir(const char *path, mode_t mode)
{
    int failed = REAL(int, "mkdir", const char *, mode_t)(path, mode);
    if (!failed && below(path))
        record('m', inode_of(path), 0, path, strlen(path), "", 0);
    return failed;
}
