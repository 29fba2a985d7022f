/* Datagrams with descriptors over AF_UNIX SOCK_SEQPACKET. */
#include "common.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

union control {
    char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

int receive(int socket, struct message *into) {
    struct iovec parts[2] = {
        {.iov_base = &into->head, .iov_len = sizeof into->head},
        {.iov_base = into->payload, .iov_len = INLINE_MAX},
    };
    union control control;
    struct msghdr header = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.space, .msg_controllen = sizeof control.space};
    into->fd_count = 0;
    ssize_t got;
    do {
        got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return errno == EAGAIN ? 0 : -1;
    if (got == 0) return -1;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
        int count = (int)((item->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < count && into->fd_count < FDS_MAX; i++)
            memcpy(&into->fds[into->fd_count++], CMSG_DATA(item) + (size_t)i * sizeof(int), sizeof(int));
    }
    into->length = (size_t)got > sizeof into->head ? (size_t)got - sizeof into->head : 0;
    into->payload[into->length] = 0;
    return 1;
}

void close_fds(struct message *message) {
    for (int i = 0; i < message->fd_count; i++)
        if (message->fds[i] >= 0) close(message->fds[i]);
    message->fd_count = 0;
}

int answer(int socket, const struct reply *reply, const char *text, size_t length, const int *fds, int fd_count) {
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)reply, .iov_len = sizeof *reply},
        {.iov_base = (void *)(uintptr_t)text, .iov_len = length},
    };
    union control control;
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.space;
        header.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
        struct cmsghdr *item = CMSG_FIRSTHDR(&header);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
        memcpy(CMSG_DATA(item), fds, (size_t)fd_count * sizeof(int));
    }
    ssize_t sent;
    for (;;) {
        /* Blocking: only the server can make this wait, and a dead server ends it. */
        sent = sendmsg(socket, &header, MSG_NOSIGNAL);
        if (sent >= 0 || (errno != EINTR && errno != ENOMEM && errno != ENOBUFS)) break;
        /* The sandbox is at its memory limit; an answer must not be lost for that. */
        if (errno != EINTR) usleep(1000);
    }
    return sent < 0 ? -1 : 0;
}

int answer_failed(int socket, uint32_t id, int stage, int error, const char *what) {
    struct reply reply = {.op = RE_FAILED, .id = id, .a = stage, .b = error};
    return answer(socket, &reply, what, what ? strlen(what) : 0, NULL, 0);
}

int child_signalfd(void) {
    sigset_t set;
    sigfillset(&set);
    /* Everything blocked: init must not be interrupted by what the inside sends it. */
    sigprocmask(SIG_SETMASK, &set, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

const char *take_field(const char **cursor, const char *end) {
    if (*cursor >= end) return NULL;
    const char *field = *cursor;
    const char *stop = memchr(field, 0, (size_t)(end - field));
    if (!stop) return NULL;
    *cursor = stop + 1;
    return field;
}

char *map_payload(struct message *message, size_t *length) {
    if (!(message->head.a & FLAG_MEMFD)) {
        *length = message->length;
        return message->payload;
    }
    struct stat about;
    if (message->fd_count < 1 || fstat(message->fds[0], &about) < 0 || about.st_size <= 0) {
        errno = EINVAL;
        return NULL;
    }
    *length = (size_t)about.st_size;
    char *mapped = mmap(NULL, *length, PROT_READ, MAP_PRIVATE, message->fds[0], 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}
