/* File requests: each runs in a forked helper that answers the server itself and leaves.
 *
 * The helper's root is the sandbox, so no path leads out but a magic link of /proc, and those are never followed.
 * It is as mighty as root inside, no more. What is slow or stuck in it delays one request only.
 */
#include "common.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { HOPS_MAX = 40, PROC_MAGIC = 0x9fa0 };

static int out;
static uint32_t request_id;

_Noreturn static void failed(int stage, int error, const char *what) {
    answer_failed(out, request_id, stage, error, what);
    _exit(0);
}

_Noreturn static void done(void) {
    struct reply reply = {.op = RE_OK, .id = request_id};
    answer(out, &reply, NULL, 0, NULL, 0);
    _exit(0);
}

_Noreturn static void refuse_kind(mode_t mode) {
    if (S_ISDIR(mode)) failed(STAGE_NOT_FILE, EISDIR, "it is a directory");
    failed(STAGE_NOT_FILE, EINVAL, "it is not a regular file");
}

_Noreturn static void open_existing(const char *path, const struct sandbox_fds *folders) {
    char link[32];
    struct stat about;
    struct statfs where;
    /* Look first without opening: opening a FIFO wakes its writer, opening a device may do anything. */
    int found = open_how(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_MAGICLINKS_);
    if (found < 0) failed(STAGE_PATH, errno, "open");
    if (fstat(found, &about) < 0 || fstatfs(found, &where) < 0) failed(STAGE_PATH, errno, "stat");
    if (!S_ISREG(about.st_mode)) refuse_kind(about.st_mode);
    /* Files of /proc have no size and may describe this very process. */
    if (where.f_type == PROC_MAGIC) failed(STAGE_NOT_FILE, EINVAL, "files of /proc can only be read by commands");
    snprintf(link, sizeof link, "self/fd/%d", found);
    /* Non-blocking for the sake of leases: a holder could keep the open waiting. */
    int fd = openat(folders->proc, link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) failed(STAGE_PATH, errno, "open");
    struct reply reply = {.op = RE_FILE, .id = request_id, .c = (uint64_t)about.st_size};
    answer(out, &reply, NULL, 0, &fd, 1);
    _exit(0);
}

/* Open a folder, made with its parents where missing. `path` is changed and restored. */
static int open_folder(int base, char *path) {
    int folder = open_how(base, path, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_MAGICLINKS_);
    if (folder >= 0 || errno != ENOENT) return folder;
    folder = *path == '/' ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : open_how(base, ".", O_PATH | O_DIRECTORY, 0, 0);
    while (folder >= 0) {
        while (*path == '/') path++;
        if (!*path) break;
        char *stop = strchrnul(path, '/'), kept = *stop;
        *stop = 0;
        if (mkdirat(folder, path, 0755) < 0 && errno != EEXIST) return -1;
        int next = open_how(folder, path, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_MAGICLINKS_);
        close(folder);
        *stop = kept;
        folder = next;
        path = stop;
    }
    return folder;
}

/* Where a normal write to `path` would end up: links in the last component are followed, also to nowhere.
 * Returns the folder; leaves the last name at `*name` and what is there now in `about` (st_mode 0: nothing). */
static int find_place(char *path, char **name, struct stat *about) {
    static char target[PATH_MAX];
    int base = AT_FDCWD;
    for (int hop = 0; hop < HOPS_MAX; hop++) {
        char *slash = strrchr(path, '/');
        char root[] = "/", here[] = ".";
        *name = slash ? slash + 1 : path;
        if (!**name || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) refuse_kind(S_IFDIR);
        if (slash) *slash = 0;
        int folder = open_folder(base, !slash ? here : slash == path ? root : path);
        if (folder < 0) return -1;
        memset(about, 0, sizeof *about);
        if (fstatat(folder, *name, about, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? folder : -1;
        if (!S_ISLNK(about->st_mode)) return folder;
        char read_target[PATH_MAX];
        struct statfs where;
        /* The text of a magic link is a path of somebody else's root. */
        if (fstatfs(folder, &where) < 0 || where.f_type == PROC_MAGIC) {
            errno = ELOOP;
            return -1;
        }
        ssize_t length = readlinkat(folder, *name, read_target, sizeof read_target - 1);
        if (length < 0) return -1;
        memcpy(target, read_target, (size_t)length);
        target[length] = 0;
        path = target;
        base = folder;
    }
    errno = ELOOP;
    return -1;
}

_Noreturn static void create_sibling(char *path) {
    char *name, text[64 + NAME_MAX + 2];
    struct stat about;
    uint64_t random = 0;
    int fds[2];
    fds[1] = find_place(path, &name, &about);
    if (fds[1] < 0) failed(STAGE_PATH, errno, "open the folder");
    if (about.st_mode && !S_ISREG(about.st_mode)) refuse_kind(about.st_mode);
    if (strlen(name) > NAME_MAX) failed(STAGE_PATH, ENAMETOOLONG, "name");
    if (getrandom(&random, sizeof random, 0) < 0) random = (uint64_t)getpid();
    int length = snprintf(text, sizeof text, ".runyard-%016llx", (unsigned long long)random);
    fds[0] = openat(fds[1], text, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fds[0] < 0) failed(STAGE_PATH, errno, "create");
    /* A file that is replaced keeps its owner and mode, as if it had been written in place. */
    if (about.st_mode && (about.st_uid || about.st_gid)) (void)!fchown(fds[0], about.st_uid, about.st_gid);
    fchmod(fds[0], about.st_mode ? about.st_mode & 0777 : 0644);
    size_t total = (size_t)length + 1;
    memcpy(text + total, name, strlen(name) + 1);
    total += strlen(name) + 1;
    struct reply reply = {.op = RE_FILE, .id = request_id};
    answer(out, &reply, text, total, fds, 2);
    _exit(0);
}

/* Write the small files that tell the sandbox who it is; one that cannot be written is the inside's own doing. */
_Noreturn static void write_identity(const char *cursor, const char *end) {
    char path[PATH_MAX], temporary[32];
    const char *wanted, *content, *name;
    snprintf(temporary, sizeof temporary, ".runyard-%d", (int)getpid());
    take_field(&cursor, end); /* the host name, set already */
    while ((wanted = take_field(&cursor, end)) && (content = take_field(&cursor, end))) {
        if (strlen(wanted) >= sizeof path) continue;
        memcpy(path, wanted, strlen(wanted) + 1);
        char *slash = strrchr(path, '/');
        if (!slash) continue;
        *slash = 0;
        name = slash + 1;
        int folder = open_folder(AT_FDCWD, path);
        int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd >= 0) {
            /* Renamed over whatever is there, so a link or FIFO of that name is replaced, never followed. */
            if (write(fd, content, strlen(content)) < 0 || renameat(folder, temporary, folder, name) < 0)
                unlinkat(folder, temporary, 0);
            close(fd);
        }
        close(folder);
    }
    done();
}

_Noreturn void serve_file(int socket, struct message *request, const struct sandbox_fds *folders) {
    char path[PATH_MAX];
    sigset_t none;
    out = socket;
    request_id = request->head.id;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    drop_to_inside_caps();
    (void)!chdir("/root"); /* what relative paths are relative to; the root of all when there is none */
    const char *cursor = request->payload, *end = request->payload + request->length;
    if (request->head.op == OP_IDENTITY) write_identity(cursor, end);
    const char *first = take_field(&cursor, end), *second = take_field(&cursor, end);
    if (!first || strlen(first) >= sizeof path) failed(STAGE_PATH, ENAMETOOLONG, "path");
    memcpy(path, first, strlen(first) + 1);
    switch (request->head.op) {
    case OP_OPEN:
        open_existing(path, folders);
    case OP_CREATE_FILE:
        create_sibling(path);
    case OP_RENAME:
        if (request->fd_count != 1 || !second || renameat(request->fds[0], first, request->fds[0], second) < 0)
            failed(STAGE_PATH, errno, "rename");
        done();
    case OP_UNLINK:
        if (request->fd_count != 1 || unlinkat(request->fds[0], first, 0) < 0) failed(STAGE_PATH, errno, "unlink");
        done();
    default:
        failed(STAGE_SETUP, ENOSYS, "unknown request");
    }
}
