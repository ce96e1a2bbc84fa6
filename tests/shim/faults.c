/* A file layer between a program and the system, for tests: preloaded (LD_PRELOAD), it writes down what was not synced
 * so that a test can take it away as a power cut does, makes syncs fail and disks fill up on demand, and moves the
 * wall clock. It changes nothing else, and looks only at regular files below one folder.
 *
 *   FAULTS_ROOT     the folder whose files are watched (absolute, without a final slash)
 *   FAULTS_LOG      where to write down what happened; `tests/src/power.rs` reads it
 *   FAULTS_CONTROL  a file of 64 bytes, shared with the test: struct control below
 *
 * Log: records one after the other, each
 *   u32 length of the record after this field | u8 kind | u64 inode | u64 offset | u64 old size
 *   | u32 length a | a | u32 length b | b                                               (host byte order)
 * with kinds: W write (a old bytes, b new bytes), T truncate (offset new size, a old tail), S sync of a file,
 * C created (a path), R renamed (a from, b to), U unlinked (a path, b backup), D sync of a directory (a path).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int64_t clock_offset_s;   /* added to the wall clock */
    _Atomic int64_t syncs_until_fail; /* counts down at each sync; at 0 and below they fail with EIO; INT64_MAX: never */
    _Atomic int64_t bytes_until_full; /* counts down by bytes that make files longer; below 0: ENOSPC; INT64_MAX: never */
    _Atomic int64_t syncs;            /* how many syncs there were, so that a test sees the shim at work */
    int64_t reserved[4];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct control *control;
static char root[PATH_MAX];
static size_t root_len;
static int log_fd = -1;

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("FAULTS_ROOT"), *log = getenv("FAULTS_LOG"), *shared = getenv("FAULTS_CONTROL");
    if (!folder || !log || !shared || strlen(folder) >= sizeof root) return;
    int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED) return;
    strcpy(root, folder);
    root_len = strlen(root);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    control = map;
}

static int below_root(const char *path) {
    return control && !strncmp(path, root, root_len) && path[root_len] == '/';
}

/* The path as it is, made absolute; the files of interest are named without dots or links. */
static int absolute(int dir, const char *path, char *out) {
    char base[PATH_MAX];
    if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (dir == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t len = readlink(link, base, sizeof base - 1);
        if (len < 0) return 0;
        base[len] = 0;
    }
    return snprintf(out, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

/* Whether the descriptor is a regular file (want_dir: a directory) of interest; `path` gets its name. */
static int watched(int fd, int want_dir, struct stat *info, char *path) {
    int saved = errno;
    char link[64];
    ssize_t len = -1;
    if (control && fstat(fd, info) == 0 && (want_dir ? S_ISDIR(info->st_mode) : S_ISREG(info->st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        len = readlink(link, path, PATH_MAX - 1);
    }
    errno = saved;
    if (len < 0) return 0;
    path[len] = 0;
    return below_root(path) || (want_dir && !strcmp(path, root));
}

static void put(char kind, uint64_t inode, uint64_t offset, uint64_t size, const void *a, uint32_t a_len, const void *b,
                uint32_t b_len) {
    uint32_t len = 1 + 3 * 8 + 4 + a_len + 4 + b_len;
    struct iovec parts[] = {
        {&len, 4}, {&kind, 1}, {&inode, 8}, {&offset, 8}, {&size, 8}, {&a_len, 4}, {(void *)a, a_len},
        {&b_len, 4}, {(void *)b, b_len},
    };
    int saved = errno;
    if (syscall(SYS_writev, log_fd, parts, 9) != (ssize_t)(len + 4)) abort(); /* a log with a hole proves nothing */
    errno = saved;
}

static ssize_t write_at(int fd, const void *data, size_t len, off_t offset, int positioned) {
    struct stat info;
    char path[PATH_MAX];
    if (!watched(fd, 0, &info, path)) {
        return positioned ? syscall(SYS_pwrite64, fd, data, len, offset) : syscall(SYS_write, fd, data, len);
    }
    pthread_mutex_lock(&lock);
    fstat(fd, &info);
    if (!positioned) {
        offset = fcntl(fd, F_GETFL) & O_APPEND ? info.st_size : lseek(fd, 0, SEEK_CUR);
    }
    off_t end = offset + (off_t)len;
    if (end > info.st_size && atomic_load(&control->bytes_until_full) != INT64_MAX &&
        atomic_fetch_sub(&control->bytes_until_full, end - info.st_size) < end - info.st_size) {
        pthread_mutex_unlock(&lock);
        errno = ENOSPC;
        return -1;
    }
    size_t old_len = offset >= info.st_size ? 0 : (size_t)(info.st_size - offset);
    if (old_len > len) old_len = len;
    char *old = malloc(old_len + 1);
    if (!old) abort();
    if (old_len) {
        /* The descriptor may be for writing only. */
        int reader = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        ssize_t got = reader < 0 ? -1 : syscall(SYS_pread64, reader, old, old_len, offset);
        if (reader >= 0) syscall(SYS_close, reader);
        if (got != (ssize_t)old_len) abort();
    }
    ssize_t written = positioned ? syscall(SYS_pwrite64, fd, data, len, offset) : syscall(SYS_write, fd, data, len);
    if (written > 0) {
        if (old_len > (size_t)written) old_len = written;
        put('W', info.st_ino, offset, info.st_size, old, old_len, data, written);
    }
    free(old);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int fd, const void *data, size_t len) { return write_at(fd, data, len, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) { return write_at(fd, data, len, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) { return write_at(fd, data, len, offset, 1); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat info;
    char path[PATH_MAX];
    if (!watched(fd, 0, &info, path)) return syscall(SYS_writev, fd, parts, count);
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = write_at(fd, parts[i].iov_base, parts[i].iov_len, 0, 0);
        if (written < 0) return sum ? sum : written;
        sum += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return sum;
}

static int truncated(int fd, off_t size) {
    struct stat info;
    char path[PATH_MAX];
    if (!watched(fd, 0, &info, path)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    fstat(fd, &info);
    size_t tail = size < info.st_size ? (size_t)(info.st_size - size) : 0;
    char *old = malloc(tail + 1);
    if (!old) abort();
    if (tail) {
        int reader = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        ssize_t got = reader < 0 ? -1 : syscall(SYS_pread64, reader, old, tail, size);
        if (reader >= 0) syscall(SYS_close, reader);
        if (got != (ssize_t)tail) abort();
    }
    int result = syscall(SYS_ftruncate, fd, size);
    if (result == 0) put('T', info.st_ino, size, info.st_size, old, tail, "", 0);
    free(old);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size); }

static int synced(int fd, int only_data) {
    struct stat info;
    char path[PATH_MAX];
    int is_dir = 0;
    if (!watched(fd, 0, &info, path) && !(is_dir = watched(fd, 1, &info, path))) {
        return syscall(only_data ? SYS_fdatasync : SYS_fsync, fd);
    }
    atomic_fetch_add(&control->syncs, 1);
    if (atomic_load(&control->syncs_until_fail) != INT64_MAX &&
        atomic_fetch_sub(&control->syncs_until_fail, 1) <= 0) {
        errno = EIO;
        return -1;
    }
    pthread_mutex_lock(&lock);
    int result = 0; /* the power never really fails: the page cache is as good as the disk */
    if (is_dir) put('D', info.st_ino, 0, 0, path, strlen(path), "", 0);
    else put('S', info.st_ino, 0, 0, path, strlen(path), "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return synced(fd, 0); }
int fdatasync(int fd) { return synced(fd, 1); }

static int opened(int dir, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    struct stat info;
    if (!control || !(flags & (O_CREAT | O_TRUNC)) || !absolute(dir, path, full) || !below_root(full)) {
        return syscall(SYS_openat, dir, path, flags, mode);
    }
    pthread_mutex_lock(&lock);
    int is_new = syscall(SYS_faccessat, AT_FDCWD, full, F_OK) != 0, cuts = !is_new && flags & O_TRUNC;
    if (is_new && atomic_load(&control->bytes_until_full) < 0) {
        pthread_mutex_unlock(&lock);
        errno = ENOSPC;
        return -1;
    }
    int fd = syscall(SYS_openat, dir, path, cuts ? flags & ~O_TRUNC : flags, mode);
    if (fd >= 0 && is_new && fstat(fd, &info) == 0) put('C', info.st_ino, 0, 0, full, strlen(full), "", 0);
    pthread_mutex_unlock(&lock);
    if (fd >= 0 && cuts) truncated(fd, 0);
    return fd;
}

#define MODE(flags, mode)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags, mode) return opened(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags, mode) return opened(dir, path, flags, mode); }

/* Keeps the inode alive under a name beside the log, so that its removal can be undone. */
static void backup(const char *path, char *name) {
    static int number;
    char target[PATH_MAX];
    snprintf(name, PATH_MAX, "%s.%d.%d", getenv("FAULTS_LOG"), (int)getpid(), number++);
    snprintf(target, sizeof target, "%s", path);
    if (syscall(SYS_linkat, AT_FDCWD, target, AT_FDCWD, name, 0) != 0) name[0] = 0;
}

static int unlinked(int dir, const char *path, int flags) {
    char full[PATH_MAX], kept[PATH_MAX];
    if (!control || flags & AT_REMOVEDIR || !absolute(dir, path, full) || !below_root(full)) {
        return syscall(SYS_unlinkat, dir, path, flags);
    }
    pthread_mutex_lock(&lock);
    backup(full, kept);
    int result = syscall(SYS_unlinkat, dir, path, flags);
    if (result == 0) put('U', 0, 0, 0, full, strlen(full), kept, strlen(kept));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlinked(dir, path, flags); }

static int renamed(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char full_from[PATH_MAX], full_to[PATH_MAX], kept[PATH_MAX];
    if (!control || !absolute(from_dir, from, full_from) || !absolute(to_dir, to, full_to) || !below_root(full_to)) {
        return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    }
    pthread_mutex_lock(&lock);
    kept[0] = 0;
    if (!flags && syscall(SYS_faccessat, AT_FDCWD, full_to, F_OK) == 0) backup(full_to, kept);
    int result = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (result == 0) {
        if (kept[0]) put('U', 0, 0, 0, full_to, strlen(full_to), kept, strlen(kept));
        put('R', 0, 0, 0, full_from, strlen(full_from), full_to, strlen(full_to));
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renamed(from_dir, from, to_dir, to, 0);
}
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return renamed(from_dir, from, to_dir, to, flags);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        time->tv_sec += atomic_load(&control->clock_offset_s);
    }
    return result;
}
