/* The agent: init of a sandbox. Starts commands, reaps everything, answers the server; never touches a file itself
 * (a forked helper does, so that no file system can stop it) and never waits for anything but its own poll.
 */
#include "common.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

#ifndef TIOCSPTLCK
#define TIOCSPTLCK 0x40045431
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

enum {
    PENDING_MAX = 240, /* commands between fork and exec; below the descriptor limit of 1024 with room for messages */
    HELPERS_MAX = 64,
    PATIENCE_SECONDS = 60, /* for a helper and for a command's way to exec */
    BRIEF_MS = 10, /* a brief command that runs longer is answered as started; more time where many run */
    REAP_BURST = 64,   /* then look at the socket again, whatever a fork bomb does */
    PID_LIMIT = 4194304,
};

/* Between fork and exec: the pipe closes by the exec, or says why there was none. The pipe of a brief one is not
 * looked at before `quiet_until`: it would wake this process beside the very command that it waits for. */
static struct {
    uint32_t id;
    pid_t pid;
    int pipe;
    time_t deadline;
    int64_t quiet_until;
} pending[PENDING_MAX];
static int pending_count;

static struct {
    uint32_t id;
    pid_t pid;
    time_t deadline;
} helpers[HELPERS_MAX];
static int helper_count;

/* One bit a pid: was it started by a request? Only touched pages of it exist. */
static unsigned char started[PID_LIMIT / 8];

static struct message request;
static struct sandbox_fds folders;
static int control;

static int64_t now_ms(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (int64_t)moment.tv_sec * 1000 + moment.tv_nsec / 1000000;
}

static time_t now(void) { return (time_t)(now_ms() / 1000); }

/* The inside can stop (SIGSTOP) what is forked here before it has become something of its own; a stopped one would
 * keep its slot and its requester for ever. */
static void end_overdue(void) {
    time_t moment = now();
    for (int i = 0; i < pending_count; i++)
        if (moment > pending[i].deadline) kill(pending[i].pid, SIGKILL);
    for (int i = 0; i < helper_count; i++)
        if (moment > helpers[i].deadline) kill(helpers[i].pid, SIGKILL);
}

/* Return the id of a command that runs, 0 when there is nothing to tell of it yet or it failed, which is answered. */
static uint32_t take_pending(int index) {
    int failure[2];
    uint32_t id = pending[index].id;
    ssize_t got = read(pending[index].pipe, failure, sizeof failure);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got == (ssize_t)sizeof failure) {
        answer_failed(control, id, failure[0], failure[1], NULL);
        id = 0;
    } else {
        pid_t pid = pending[index].pid;
        started[pid / 8] |= (unsigned char)(1 << pid % 8);
    }
    close(pending[index].pipe);
    pending[index] = pending[--pending_count];
    return id;
}

static void settle(int index) {
    struct reply reply = {.op = RE_STARTED, .a = (int)pending[index].pid};
    reply.id = take_pending(index);
    if (reply.id) answer(control, &reply, NULL, 0, NULL, 0);
}

static void report_exit(pid_t pid, int status, const struct rusage *used) {
    for (int i = 0; i < helper_count; i++) {
        if (helpers[i].pid != pid) continue;
        /* A helper answers for itself and leaves with 0; killed from inside or out of memory, it has not. */
        if (status != 0) answer_failed(control, helpers[i].id, STAGE_HELPER, EINTR, "the file helper was killed");
        helpers[i] = helpers[--helper_count];
        return;
    }
    uint32_t unanswered = 0;
    for (int i = 0; i < pending_count; i++)
        if (pending[i].pid == pid) {
            unanswered = take_pending(i);
            break;
        }
    if (!(started[pid / 8] >> pid % 8 & 1)) return; /* an orphan */
    started[pid / 8] &= (unsigned char)~(1 << pid % 8);
    struct reply reply = {
        .op = RE_EXITED,
        .id = unanswered,
        .a = (int)pid,
        .b = status,
        .c = (uint64_t)used->ru_utime.tv_sec * 1000000u + (uint64_t)used->ru_utime.tv_usec,
        .d = (uint64_t)used->ru_stime.tv_sec * 1000000u + (uint64_t)used->ru_stime.tv_usec,
        .e = (uint64_t)used->ru_maxrss,
    };
    answer(control, &reply, NULL, 0, NULL, 0);
}

/* Return whether there may be more to reap. */
static int reap(void) {
    for (int i = 0; i < REAP_BURST; i++) {
        struct rusage used;
        int status;
        pid_t pid = wait4(-1, &status, WNOHANG, &used);
        if (pid <= 0) return 0;
        report_exit(pid, status, &used);
    }
    return 1;
}

static void spawn(void) {
    int error_pipe[2];
    if (pipe2(error_pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        answer_failed(control, request.head.id, STAGE_RESOURCES, errno, "pipe");
        return;
    }
    /* fork, not vfork: under load a vfork would hold the agent until the child got a processor. */
    pid_t pid = fork();
    if (pid == 0) become_command(&request, error_pipe[1]);
    int error = errno;
    close(error_pipe[1]);
    if (pid < 0) {
        close(error_pipe[0]);
        answer_failed(control, request.head.id, STAGE_FORK, error, "fork");
        return;
    }
    pending[pending_count].id = request.head.id;
    pending[pending_count].pid = pid;
    int64_t moment = now_ms();
    int brief = request.head.a & SPAWN_BRIEF;
    pending[pending_count].deadline = (time_t)(moment / 1000) + PATIENCE_SECONDS;
    pending[pending_count].quiet_until = brief ? moment + BRIEF_MS + 2 * pending_count : 0;
    pending[pending_count++].pipe = error_pipe[0];
}

static void help(void) {
    pid_t pid = fork();
    if (pid == 0) serve_file(control, &request, &folders);
    if (pid < 0) {
        answer_failed(control, request.head.id, STAGE_FORK, errno, "fork");
        return;
    }
    helpers[helper_count].id = request.head.id;
    helpers[helper_count].deadline = now() + PATIENCE_SECONDS;
    helpers[helper_count++].pid = pid;
}

static void open_terminal(void) {
    int fds[2], unlock = 0;
    fds[0] = openat(folders.pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fds[0] < 0) {
        answer_failed(control, request.head.id, STAGE_RESOURCES, errno, "open a terminal");
        return;
    }
    /* The slave by descriptor, not by name: names in /dev are the inside's to change. */
    if (ioctl(fds[0], TIOCSPTLCK, &unlock) < 0 ||
        (fds[1] = ioctl(fds[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
        answer_failed(control, request.head.id, STAGE_RESOURCES, errno, "open the terminal's slave");
    } else {
        struct reply reply = {.op = RE_TERMINAL, .id = request.head.id};
        answer(control, &reply, NULL, 0, fds, 2);
        close(fds[1]);
    }
    close(fds[0]);
}

/* For the server, which answers on it: what is inside reaches it without a way out. */
static void listen_inside(void) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)request.head.a), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0) {
        answer_failed(control, request.head.id, STAGE_RESOURCES, errno, "open a port");
    } else {
        struct reply reply = {.op = RE_LISTENER, .id = request.head.id};
        answer(control, &reply, NULL, 0, &fd, 1);
    }
    if (fd >= 0) close(fd);
}

static uint32_t sweeping; /* id of the request, 0 for none */

/* Init inherits every orphan of its pid namespace, so without children it is alone. One signal to all reaches whatever
 * is being forked at that moment as well; it is sent again because a process may be starting one that was missed. */
static void sweep_on(void) {
    siginfo_t info;
    if (!sweeping) return;
    kill(-1, SIGKILL);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD) return;
    struct reply reply = {.op = RE_OK, .id = sweeping};
    sweeping = 0;
    answer(control, &reply, NULL, 0, NULL, 0);
}

static void go(void) {
    if (sethostname(request.payload, strnlen(request.payload, request.length)) < 0) {
        answer_failed(control, request.head.id, STAGE_SETUP, errno, "set the host name");
    } else if (lock_down() < 0) {
        answer_failed(control, request.head.id, STAGE_SETUP, errno, "lock the sandbox down");
        _exit(1); /* must never run a command half locked */
    } else {
        struct reply reply = {.op = RE_OK, .id = request.head.id};
        answer(control, &reply, NULL, 0, NULL, 0);
    }
}

static void serve_request(void) {
    static int ready;
    uint32_t op = request.head.op;
    if (op == OP_GO && !ready) {
        go();
        ready = 1;
    } else if (!ready) {
        answer_failed(control, request.head.id, STAGE_SETUP, EPERM, "not locked down yet");
    } else if (op == OP_SPAWN) {
        spawn();
    } else if (op == OP_SIGNAL) {
        if (request.head.a > 1) kill(-request.head.a, request.head.b);
    } else if (op == OP_TERMINAL) {
        open_terminal();
    } else if (op == OP_LISTEN) {
        listen_inside();
    } else if (op == OP_SWEEP) {
        sweeping = request.head.id;
        sweep_on();
    } else if (op >= OP_IDENTITY && op <= OP_UNLINK) {
        if (op == OP_IDENTITY) (void)!sethostname(request.payload, strnlen(request.payload, request.length));
        help();
    } else {
        answer_failed(control, request.head.id, STAGE_SETUP, ENOSYS, "unknown request");
    }
    close_fds(&request);
}

/* Cloned and attached to its groups, which is what takes long; wait for what to become. */
static void await_building(struct setup *setup) {
    struct pollfd polls[1] = {{.fd = setup->control, .events = POLLIN}};
    while (poll(polls, 1, -1) < 0) {
    }
    if (receive(setup->control, &request) != 1) _exit(0);
    size_t length;
    setup->spec = map_payload(&request, &length);
    if (request.head.op != OP_BUILD || !setup->spec) _exit(1);
    setup->spec_end = setup->spec + length;
}

static void build(struct setup *setup) {
    if (enter_sandbox(setup, &folders) < 0) {
        answer_failed(control, 0, STAGE_SETUP, errno, setup->failed_at);
        _exit(1);
    }
    /* Lets the server set the inside's addresses without entering the namespace. */
    int fds[2] = {open_route_socket(), folders.shm};
    if (fds[0] < 0) {
        answer_failed(control, 0, STAGE_SETUP, errno, "open a route socket");
        _exit(1);
    }
    close_fds(&request);
    struct reply ready = {.op = RE_READY};
    answer(control, &ready, NULL, 0, fds, 2);
    close(fds[0]);
    close(fds[1]);
}

/* A process that sleeps wakes up where it slept, or where its waker runs: on a host of two processors this one and the
 * server would share one for ever, each request's fork holding up the server beside an idle processor. With more of
 * them the kernel looks for an idle one by itself. */
static void step_aside(void) {
    cpu_set_t all, other;
    if (sched_getaffinity(0, sizeof all, &all) < 0 || CPU_COUNT(&all) != 2) return;
    int here = sched_getcpu();
    if (here < 0 || !CPU_ISSET(here, &all)) return;
    other = all;
    CPU_CLR(here, &other);
    sched_setaffinity(0, sizeof other, &other);
    sched_setaffinity(0, sizeof all, &all);
}

/* Fill in what to wait for. Return how long at most, in milliseconds. */
static int watch_pending(struct pollfd *polls) {
    int patience = pending_count || helper_count ? PATIENCE_SECONDS * 1000 / 4 : -1;
    int64_t moment = pending_count ? now_ms() : 0;
    for (int i = 0; i < pending_count; i++) {
        int64_t quiet = pending[i].quiet_until - moment;
        polls[i] = (struct pollfd){.fd = quiet > 0 ? -1 : pending[i].pipe, .events = POLLIN};
        if (quiet > 0 && quiet < patience) patience = (int)quiet;
    }
    return patience;
}

_Noreturn void run_agent(struct setup *setup) {
    struct pollfd polls[2 + PENDING_MAX];
    if (take_seat(setup) < 0) _exit(1);
    control = setup->control;
    await_building(setup);
    build(setup);
    int signals = child_signalfd();
    if (signals < 0) _exit(1);
    int more = 0;
    for (;;) {
        /* With all slots taken requests wait in the socket. */
        short wanted = pending_count < PENDING_MAX && helper_count < HELPERS_MAX ? POLLIN : 0;
        int count = pending_count;
        polls[0] = (struct pollfd){.fd = control, .events = wanted};
        polls[1] = (struct pollfd){.fd = signals, .events = POLLIN};
        int patience = watch_pending(polls + 2);
        int found = poll(polls, (nfds_t)(2 + count), more ? 0 : patience);
        if (found < 0) continue;
        if (found == 0 || helper_count == HELPERS_MAX || pending_count == PENDING_MAX) end_overdue();
        /* The server closed this sandbox or died; with init everything inside is killed. */
        if (polls[0].revents & (POLLHUP | POLLERR)) _exit(0);
        for (int i = count - 1; i >= 0; i--)
            if (polls[2 + i].revents) settle(i);
        if (polls[1].revents) {
            struct signalfd_siginfo info;
            more = read(signals, &info, sizeof info) > 0;
        }
        if (more || polls[1].revents) {
            more = reap();
            if (!more) sweep_on();
            int idle = !more && !pending_count && !helper_count && !(polls[0].revents & POLLIN);
            if (idle) step_aside();
        }
        if (polls[0].revents & POLLIN) {
            int got = receive(control, &request);
            if (got < 0) _exit(0);
            if (got > 0) serve_request();
        }
    }
}
