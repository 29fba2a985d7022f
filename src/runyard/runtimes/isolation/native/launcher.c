/* The launcher: clones sandboxes, writes their id maps, and tells the server when one has ended. */
#include "common.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

struct clone_args_ {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

enum { SYNC_MAX = 512 };

/* One living sandbox. `sync` is open until its id maps are written. */
struct entry {
    uint32_t id;
    pid_t pid;
};
static struct entry *entries;
static size_t entry_count, entry_room;

static struct {
    int fd;
    pid_t pid;
    unsigned uid_base;
} syncs[SYNC_MAX];
static int sync_count;

static struct message message;

static int remember(uint32_t id, pid_t pid) {
    if (entry_count == entry_room) {
        size_t room = entry_room ? entry_room * 2 : 256;
        struct entry *grown = realloc(entries, room * sizeof *grown);
        if (!grown) return -1;
        entries = grown;
        entry_room = room;
    }
    entries[entry_count++] = (struct entry){.id = id, .pid = pid};
    return 0;
}

static int write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t wrote = write(fd, text, strlen(text));
    close(fd);
    return wrote < 0 ? -1 : 0;
}

/* The new user namespace can only be mapped from outside: the child gave up that right by entering it. */
static void serve_sync(int index) {
    char byte = 0;
    ssize_t got = recv(syncs[index].fd, &byte, 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got == 1) {
        char path[64], map[64];
        snprintf(map, sizeof map, "0 %u 65536\n", syncs[index].uid_base);
        snprintf(path, sizeof path, "/proc/%d/gid_map", (int)syncs[index].pid);
        int failed = write_file(path, map);
        snprintf(path, sizeof path, "/proc/%d/uid_map", (int)syncs[index].pid);
        failed |= write_file(path, map);
        byte = failed ? 'x' : 'k';
        send(syncs[index].fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    close(syncs[index].fd);
    syncs[index] = syncs[--sync_count];
}

_Noreturn static void become_sandbox(int control, int sync, unsigned uid_base, char **argv) {
    /* The command line is visible inside; it says what it is there. */
    memset(argv[1], 0, strlen(argv[1]));
    memset(argv[0], 0, strlen(argv[0]));
    memcpy(argv[0], "init", 4);
    prctl(PR_SET_NAME, "init");
    struct setup setup = {.control = control, .sync = sync, .uid_base = uid_base};
    run_agent(&setup);
}

static int create(char **argv) {
    int has_cgroup = (message.head.a & FLAG_CGROUP) != 0;
    unsigned uid_base = (unsigned)message.head.b;
    int pair[2];
    if (message.fd_count != 1 + has_cgroup) return EINVAL;
    if (sync_count == SYNC_MAX) return EAGAIN;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return errno;
    /* The mount namespace is left to the moment of building: this one shows bases mounted until then. */
    struct clone_args_ args = {.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
    if (has_cgroup) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)message.fds[1];
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    int error = errno;
    if (pid == 0) become_sandbox(message.fds[0], pair[1], uid_base, argv);
    close(pair[1]);
    if (pid > 0 && remember(message.head.id, pid) < 0) {
        kill(pid, SIGKILL);
        pid = -1;
        error = ENOMEM;
    }
    if (pid < 0) {
        close(pair[0]);
        return error;
    }
    syncs[sync_count].fd = pair[0];
    syncs[sync_count].pid = pid;
    syncs[sync_count++].uid_base = uid_base;
    return -(int)pid;
}

static void serve_request(int socket, char **argv) {
    if (message.head.op == OP_CREATE) {
        int result = create(argv);
        if (result < 0) {
            struct reply reply = {.op = RE_STARTED, .id = message.head.id, .a = -result};
            answer(socket, &reply, NULL, 0, NULL, 0);
        } else {
            answer_failed(socket, message.head.id, STAGE_FORK, result, "clone a sandbox");
        }
    } else if (message.head.op == OP_KILL) {
        for (size_t i = 0; i < entry_count; i++)
            if (entries[i].id == message.head.id) kill(entries[i].pid, SIGKILL);
    }
    close_fds(&message);
}

static void reap(int socket) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < entry_count; i++) {
            if (entries[i].pid != pid) continue;
            struct reply reply = {.op = RE_EXITED, .id = entries[i].id, .a = (int)pid, .b = status};
            entries[i] = entries[--entry_count];
            answer(socket, &reply, NULL, 0, NULL, 0);
            break;
        }
    }
}

int run_launcher(int socket, char **argv) {
    int signals = child_signalfd();
    if (signals < 0) return 1;
    /* Descriptors 0 to 2 stay taken, so that a command's own never land there by chance. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        if (null != fd) dup2(null, fd);
    struct reply hello = {.op = RE_READY, .a = (int)getpid()};
    answer(socket, &hello, NULL, 0, NULL, 0);
    for (;;) {
        struct pollfd polls[2 + SYNC_MAX] = {
            {.fd = socket, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        for (int i = 0; i < sync_count; i++) polls[2 + i] = (struct pollfd){.fd = syncs[i].fd, .events = POLLIN};
        int count = sync_count;
        if (poll(polls, (nfds_t)(2 + count), -1) < 0 && errno != EINTR) return 1;
        for (int i = count - 1; i >= 0; i--)
            if (polls[2 + i].revents) serve_sync(i);
        if (polls[1].revents) {
            struct signalfd_siginfo info;
            while (read(signals, &info, sizeof info) > 0) {
            }
            reap(socket);
        }
        if (polls[0].revents) {
            int got = receive(socket, &message);
            /* The server is gone; every sandbox dies with this process (PR_SET_PDEATHSIG). */
            if (got < 0) return 0;
            if (got > 0) serve_request(socket, argv);
        }
    }
}
