/* Stands before the C library and breaks what a test asks for: a file of that name in $SHIM_DIR turns a fault on.
 *
 *   fsync   fsync and fdatasync of the database fail with EIO
 *   lost-pages  an fsync of the database itself, not of its log, fails with EIO, and what was written since the last one is gone
 *   full    writes to the database fail with ENOSPC
 *   full-runs  the same of writes to the directories of runs
 *   lost-runs  an fsync of a run's output fails with EIO, and what was written is gone: the next fsync is good
 *   torn    the next write to the write-ahead log stops in its middle, and the process dies of SIGKILL
 *   zeros   the same, and what was to be written is zeros
 *   clock   holds seconds by which the wall clock is wrong
 *
 * A fault that has bitten leaves a file bit-NAME, so that a test cannot pass because nothing happened.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int path_of(char *path, const char *prefix, const char *name) {
  const char *dir = getenv("SHIM_DIR");
  return dir && snprintf(path, PATH_MAX, "%s/%s%s", dir, prefix, name) < PATH_MAX;
}

static int is_on(const char *name) {
  char path[PATH_MAX];
  return path_of(path, "", name) && access(path, F_OK) == 0;
}

static void has_bitten(const char *name) {
  char path[PATH_MAX];
  if (path_of(path, "bit-", name)) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
  }
}

static int names(int fd, const char *part) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, part) != NULL;
}

static int fails_to_sync(int fd) {
  if (!is_on("fsync") || !names(fd, "contentd.db")) return 0;
  has_bitten("fsync");
  errno = EIO;
  return 1;
}

/* As a file system that throws the pages away which it could not write. */
static int loses_what_was_written(int fd) {
  if (!is_on("lost-runs") || !names(fd, "/runs/v1/") || !names(fd, "/stdout")) return 0;
  has_bitten("lost-runs");
  off_t length = lseek(fd, 0, SEEK_END);
  if (ftruncate(fd, 0) || ftruncate(fd, length)) abort();
  errno = EIO;
  return 1;
}

/* What stood where the database was written to since its last fsync. Only its writer copies into it, one write after the other. */
static struct was {
  struct was *before;
  off64_t at;
  size_t count;
  char bytes[];
} *written;
static pthread_mutex_t written_lock = PTHREAD_MUTEX_INITIALIZER;

static int is_database(int fd) {
  return names(fd, "contentd.db") && !names(fd, "contentd.db-");
}

static void remember(int fd, size_t count, off64_t at) {
  if (!is_on("lost-pages") || !is_database(fd)) return;
  struct was *was = calloc(1, sizeof *was + count);
  if (!was) abort();
  was->at = at;
  was->count = count;
  if (pread64(fd, was->bytes, count, at) < 0) abort();
  pthread_mutex_lock(&written_lock);
  was->before = written;
  written = was;
  pthread_mutex_unlock(&written_lock);
}

static int loses_pages(int fd) {
  if (!is_database(fd)) return 0;
  int is_lost = is_on("lost-pages");
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  pthread_mutex_lock(&written_lock);
  while (written) {
    struct was *was = written;
    if (is_lost && real(fd, was->bytes, was->count, was->at) < 0) abort();
    if (is_lost) has_bitten("lost-pages");
    written = was->before;
    free(was);
  }
  pthread_mutex_unlock(&written_lock);
  errno = EIO;
  return is_lost;
}

int fsync(int fd) {
  REAL(int, "fsync", int);
  return fails_to_sync(fd) || loses_pages(fd) || loses_what_was_written(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  return fails_to_sync(fd) || loses_pages(fd) ? -1 : real(fd);
}

static int is_full(int fd) {
  const char *fault = is_on("full") && names(fd, "contentd.db") ? "full" : "full-runs";
  if (strcmp(fault, "full") && (!is_on(fault) || !names(fd, "/runs/v1/"))) return 0;
  has_bitten(fault);
  errno = ENOSPC;
  return 1;
}

static void tear(int fd, const void *bytes, size_t count, off64_t at) {
  const char *fault = is_on("torn") ? "torn" : is_on("zeros") ? "zeros" : NULL;
  /* The frames of pages, not their headers of 24 bytes: half a page is what a power cut leaves. */
  if (!fault || count < 512 || !names(fd, "contentd.db-wal")) return;
  has_bitten(fault);
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  if (!strcmp(fault, "torn")) {
    real(fd, bytes, count / 2, at);
  } else {
    char *zeros = calloc(1, count);
    if (zeros) real(fd, zeros, count, at);
  }
  kill(getpid(), SIGKILL);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  if (is_full(fd)) return -1;
  tear(fd, bytes, count, at);
  remember(fd, count, at);
  return real(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return pwrite64(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  REAL(ssize_t, "write", int, const void *, size_t);
  if (is_full(fd)) return -1;
  if (is_on("torn") || is_on("zeros")) tear(fd, bytes, count, lseek64(fd, 0, SEEK_CUR));
  return real(fd, bytes, count);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  REAL(int, "clock_gettime", clockid_t, struct timespec *);
  int result = real(clock, now);
  char path[PATH_MAX];
  if (clock == CLOCK_REALTIME && result == 0 && path_of(path, "", "clock")) {
    char text[32] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
      if (read(fd, text, sizeof text - 1) > 0) {
        now->tv_sec += atol(text);
        has_bitten("clock");
      }
      close(fd);
    }
  }
  return result;
}
