/* What the parts of runyard-agent share: the wire format, kernel constants the C library may lack, and small helpers.
 *
 * One static program, two roles that last. The launcher is started by the server and makes sandboxes; each sandbox's first
 * process is a fork of it, the agent, which is init of the sandbox and starts commands in it. There is no exec in
 * between, because loading a program is what costs most here. Neither role allocates memory once it runs. A third role,
 * the scan, answers one question and ends.
 */
#ifndef RUNYARD_COMMON_H
#define RUNYARD_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* ---- wire format: one datagram each, native byte order, a fixed head and then text or fields ending in NUL ---- */

enum {
    INLINE_MAX = 32768, /* larger payloads come in a memfd, the first descriptor of the message */
    FDS_MAX = 8,
};

enum request_op {
    /* to the launcher */
    OP_CREATE = 1, /* fds: agent socket [, cgroup2 folder]; b=first id of the range outside */
    OP_KILL = 2,   /* id names the sandbox */
    /* to an agent */
    OP_BUILD = 15, /* payload: specification; answered by RE_READY */
    OP_GO = 16,       /* groups are attached: enter the cgroup namespace, lock down, set the host name */
    OP_IDENTITY = 17, /* payload: host name, then pairs of path and content to write */
    OP_SPAWN = 18,    /* fds: stdin stdout stderr [extra]; a=flags b=argc c=envc; payload: cwd, argv, env */
    OP_SIGNAL = 19,   /* a=process group b=signal; no answer */
    OP_OPEN = 20,     /* payload: path */
    OP_CREATE_FILE = 21, /* payload: path */
    OP_RENAME = 22,   /* fds: folder; payload: from, to */
    OP_UNLINK = 23,   /* fds: folder; payload: name */
    OP_TERMINAL = 24,
    OP_LISTEN = 25, /* open a port on the loopback inside */
    OP_SWEEP = 26, /* kill everything inside but init; answered when all of it is reaped */
};

enum spawn_flags {
    SPAWN_TTY = 1,
    FLAG_MEMFD = 2,  /* the payload is in the first descriptor */
    FLAG_CGROUP = 4, /* the last descriptor of OP_CREATE is a cgroup2 folder */
    SPAWN_GATED = 8, /* the last descriptor of OP_SPAWN is a pipe: exec after a byte from it, give up at its end */
    SPAWN_BRIEF = 16, /* a command that ends soon is answered by its end alone */
};

enum { EXTRA_FD = 9 }; /* where the fourth descriptor of OP_SPAWN ends up */

enum reply_op {
    RE_OK = 1,
    RE_FAILED = 2,  /* a=stage b=errno; payload: what was tried */
    RE_READY = 3,   /* the sandbox is set up; fds: a route socket of its network namespace, /dev/shm */
    RE_STARTED = 4, /* a=pid */
    /* From an agent: a=pid b=wait status c=user us d=system us e=peak KiB, and id of a spawn that has not been answered
     * by RE_STARTED, else 0; from the launcher: id, b=status. */
    RE_EXITED = 5,
    RE_FILE = 6,    /* c=size; fds: file [, folder]; payload: temporary name, final name */
    RE_TERMINAL = 7, /* fds: master slave */
    RE_LISTENER = 8, /* fds: listening socket */
};

enum stage {
    STAGE_SETUP = 1,     /* making the sandbox */
    STAGE_FORK = 2,      /* no process left */
    STAGE_RESOURCES = 3, /* descriptors, terminal, port, memory */
    STAGE_CWD = 4,
    STAGE_EXEC = 5,
    STAGE_PATH = 6,    /* a file could not be reached */
    STAGE_NOT_FILE = 7, /* it is no regular file */
    STAGE_HELPER = 8,  /* the helper process died */
};

struct request {
    uint32_t op, id;
    int32_t a, b, c;
};

struct reply {
    uint32_t op, id;
    int32_t a, b;
    uint64_t c, d, e;
};

struct message {
    struct request head;
    size_t length; /* of the payload */
    int fds[FDS_MAX];
    int fd_count;
    char payload[INLINE_MAX + 1];
};

/* ---- wire.c ---- */
int receive(int socket, struct message *into); /* 1 a message, 0 nothing now, -1 the other side is gone */
void close_fds(struct message *message);
int answer(int socket, const struct reply *reply, const char *text, size_t length, const int *fds, int fd_count);
int answer_failed(int socket, uint32_t id, int stage, int error, const char *what);
int child_signalfd(void);
const char *take_field(const char **cursor, const char *end); /* next NUL-terminated field or NULL */
char *map_payload(struct message *message, size_t *length);  /* the payload, wherever it is; NULL with errno */

/* ---- setup.c, mounts.c, seccomp.c ---- */
struct sandbox_fds {
    int proc; /* the sandbox's own /proc, whatever is done to its path later */
    int pts;  /* its devpts */
    int shm;  /* its /dev/shm, for the server to bound; closed once handed over */
    int sysctl; /* /proc/sys before it was made read-only; closed once set up */
};
struct setup {
    int control;           /* the agent's socket */
    int sync;              /* to the launcher, which alone may write the id maps */
    unsigned uid_base;
    const char *spec, *spec_end;
    const char *failed_at; /* what was tried last, for the answer */
};
int build_root(struct setup *setup, struct sandbox_fds *out);
int take_seat(struct setup *setup);
int enter_sandbox(struct setup *setup, struct sandbox_fds *out);
int open_route_socket(void);
int lock_down(void);
void drop_to_inside_caps(void);
int install_filter(void);

/* ---- launcher.c, scan.c, agent.c, spawn.c, files.c ---- */
int run_launcher(int socket, char **argv);
int run_scan(const char *root, char *const *skipped);
_Noreturn void run_agent(struct setup *setup);
_Noreturn void become_command(struct message *request, int error_pipe);
_Noreturn void serve_file(int socket, struct message *request, const struct sandbox_fds *fds);

/* ---- kernel interface that older headers lack; numbers are the same on all architectures since 424 ---- */
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define RESOLVE_NO_MAGICLINKS_ 0x02
#define RESOLVE_IN_ROOT_ 0x10
#define CLOSE_RANGE_CLOEXEC_ 4u

struct open_how_ {
    uint64_t flags, mode, resolve;
};

static inline int open_how(int folder, const char *path, int flags, int mode, uint64_t resolve) {
    struct open_how_ how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC, .mode = (uint64_t)mode, .resolve = resolve};
    return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

#endif
