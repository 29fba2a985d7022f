/* From a fork of init to a command: runs in the child, ends in exec or in a reason on the error pipe. */
#include "common.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

_Noreturn static void give_up(int error_pipe, int stage) {
    int failure[2] = {stage, errno};
    (void)!write(error_pipe, failure, sizeof failure);
    _exit(127);
}

static void place_descriptors(struct message *request, int first, int error_pipe) {
    int count = request->fd_count - first;
    if (count < 3 || count > 4) {
        errno = EINVAL;
        give_up(error_pipe, STAGE_RESOURCES);
    }
    if (count == 4) {
        /* Out of the way first: any of the three others may sit on the number wanted. */
        int extra = fcntl(request->fds[first + 3], F_DUPFD_CLOEXEC, 64);
        for (int i = 0; i < 3; i++) request->fds[first + i] = fcntl(request->fds[first + i], F_DUPFD_CLOEXEC, 64);
        if (extra < 0 || dup2(extra, EXTRA_FD) < 0) give_up(error_pipe, STAGE_RESOURCES);
    }
    /* Received descriptors are above 2 because init keeps 0 to 2 taken. */
    for (int i = 0; i < 3; i++)
        if (dup2(request->fds[first + i], i) < 0) give_up(error_pipe, STAGE_RESOURCES);
}

/* As execvp does, but with the command's own PATH. */
static void execute(char **argv, char **env) {
    static char candidate[PATH_MAX];
    const char *name = argv[0], *path = default_path;
    size_t name_length = strlen(name);
    int seen_denied = 0;
    if (!*name) {
        errno = ENOENT;
        return;
    }
    if (strchr(name, '/')) {
        execve(name, argv, env);
        return;
    }
    for (char **entry = env; *entry; entry++)
        if (strncmp(*entry, "PATH=", 5) == 0) path = *entry + 5;
    for (const char *part = path;; part++) {
        const char *stop = strchrnul(part, ':');
        size_t length = (size_t)(stop - part);
        if (length + name_length + 2 <= sizeof candidate) {
            memcpy(candidate, part, length);
            if (length) candidate[length++] = '/';
            memcpy(candidate + length, name, name_length + 1);
            execve(candidate, argv, env);
            if (errno == EACCES) seen_denied = 1;
            else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP) return;
        }
        if (!*stop) break;
        part = stop;
    }
    errno = seen_denied ? EACCES : ENOENT;
}

/* Wait for the word to go on. Without it this command must never have run. */
static void pass_gate(int gate, int error_pipe) {
    char word;
    ssize_t got;
    do got = read(gate, &word, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1) return;
    errno = ECANCELED;
    give_up(error_pipe, STAGE_RESOURCES);
}

_Noreturn void become_command(struct message *request, int error_pipe) {
    size_t length;
    int gate = -1;
    if (request->head.a & SPAWN_GATED) {
        errno = EINVAL;
        if (request->fd_count < 4) give_up(error_pipe, STAGE_RESOURCES);
        gate = request->fds[--request->fd_count];
    }
    int first = request->head.a & FLAG_MEMFD ? 1 : 0;
    /* Off the number that the fourth descriptor gets. */
    if (request->fd_count - first == 4) error_pipe = fcntl(error_pipe, F_DUPFD_CLOEXEC, 64);
    char *payload = map_payload(request, &length);
    size_t argc = (size_t)request->head.b, envc = (size_t)request->head.c;
    size_t room = (argc + envc + 2) * sizeof(char *);
    char **argv = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!payload || argv == MAP_FAILED) give_up(error_pipe, STAGE_RESOURCES);
    char **env = argv + argc + 1;
    const char *cursor = payload, *end = payload + length;
    const char *cwd = take_field(&cursor, end);
    int whole = cwd != NULL && argc > 0;
    for (size_t i = 0; i < argc; i++) whole &= (argv[i] = (char *)(uintptr_t)take_field(&cursor, end)) != NULL;
    for (size_t i = 0; i < envc; i++) whole &= (env[i] = (char *)(uintptr_t)take_field(&cursor, end)) != NULL;
    if (!whole) {
        errno = EINVAL;
        give_up(error_pipe, STAGE_RESOURCES);
    }
    setsid();
    place_descriptors(request, first, error_pipe);
    if (request->head.a & SPAWN_TTY && ioctl(0, TIOCSCTTY, 0) < 0) give_up(error_pipe, STAGE_RESOURCES);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir(cwd) < 0) give_up(error_pipe, STAGE_CWD);
    /* All others are close-on-exec one by one; this is the second lock. */
    syscall(SYS_close_range, (unsigned)(request->fd_count - first == 4 ? EXTRA_FD + 1 : 3), ~0u, CLOSE_RANGE_CLOEXEC_);
    if (gate >= 0) pass_gate(gate, error_pipe);
    execute(argv, env);
    give_up(error_pipe, STAGE_EXEC);
}
