/* fsync and fdatasync that fail while a file exists: what a disk does that is about to give up. */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(void) {
    const char *file = getenv("FSYNC_FAILS_WHILE");
    return file != NULL && access(file, F_OK) == 0;
}

static int call(long number, int fd) {
    if (fails()) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, fd);
}

int fsync(int fd) { return call(SYS_fsync, fd); }
int fdatasync(int fd) { return call(SYS_fdatasync, fd); }
