// LD_PRELOAD: remembers of each file how much of it a power cut would leave, in `.durable.<name>`
// beside it: its size when the last (f)sync that succeeded began. What was written while that went
// on counts as lost. While the file that FSYNCREC_STALL names exists, syncs take no end; while there
// is the one that FSYNCREC_FULL names, files take half of the next write and nothing from then on.
//
// It models appends that never reached the disc; not writes out of order, half a sector, or renames.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// One write of fixed length: a kill leaves the old number or the new one.
static void note(const char *file, long long size, int only_less) {
  const char *name = strrchr(file, '/');
  if (!name) return;
  char path[1100], text[32];
  snprintf(path, sizeof path, "%.*s/.durable.%s", (int)(name - file), file, name + 1);
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  if (fd < 0) return;
  ssize_t had = pread(fd, text, 20, 0);
  if (had > 0) text[had] = 0;
  if (!only_less || (had > 0 && atoll(text) > size)) {
    snprintf(text, sizeof text, "%020lld", size);
    if (pwrite(fd, text, 20, 0) != 20) abort();
  }
  close(fd);
}

static int name_of(int fd, char *file, size_t room) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, file, room - 1);
  if (length <= 0) return 0;
  file[length] = 0;
  return 1;
}

static int sync_and_note(const char *what, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, what);
  char file[1000];
  struct stat before;
  int known = name_of(fd, file, sizeof file) && !fstat(fd, &before) && S_ISREG(before.st_mode);
  const char *stall = getenv("FSYNCREC_STALL");
  while (stall && !access(stall, F_OK)) usleep(5000);
  int result = real(fd);
  if (!result && known) note(file, before.st_size, 0);
  return result;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  static ssize_t (*real)(int, const void *, size_t);
  static int halved;
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  const char *full = getenv("FSYNCREC_FULL");
  struct stat file;
  int is_full = full && !access(full, F_OK) && !fstat(fd, &file) && S_ISREG(file.st_mode);
  if (is_full && !halved++ && count > 1) return real(fd, bytes, count / 2);
  if (!is_full) return real(fd, bytes, count);
  errno = ENOSPC;
  return -1;
}

int fsync(int fd) { return sync_and_note("fsync", fd); }
int fdatasync(int fd) { return sync_and_note("fdatasync", fd); }

static int cut_and_note(const char *what, int fd, off_t length) {
  int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, what);
  char file[1000];
  int result = real(fd, length);
  if (!result && name_of(fd, file, sizeof file)) note(file, length, 1);
  return result;
}

static int cut_path_and_note(const char *what, const char *file, off_t length) {
  int (*real)(const char *, off_t) = (int (*)(const char *, off_t))dlsym(RTLD_NEXT, what);
  int result = real(file, length);
  char whole[1000];
  if (!result && realpath(file, whole)) note(whole, length, 1);
  return result;
}

// What a file is cut to, its next bytes do not continue.
int ftruncate(int fd, off_t length) { return cut_and_note("ftruncate", fd, length); }
int ftruncate64(int fd, off_t length) { return cut_and_note("ftruncate64", fd, length); }
int truncate(const char *file, off_t length) { return cut_path_and_note("truncate", file, length); }
int truncate64(const char *file, off_t length) {
  return cut_path_and_note("truncate64", file, length);
}
