/* The sandbox's view of files. Runs as host root in the sandbox's own mount namespace, before its user namespace is
 * entered, so that the mounts belong to the host's root and nothing inside can change or undo one.
 *
 * Targets are opened below the new root without following any link and mounted through /proc/self/fd: the writable
 * layer was written by the inside in an earlier life, and a link in it must not lead a mount elsewhere.
 */
#include "common.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { RESOLVE = 0x04 | RESOLVE_IN_ROOT_ }; /* RESOLVE_NO_SYMLINKS within the new root */

static int fail(struct setup *setup, const char *what) {
    setup->failed_at = what;
    return -1;
}

static const char *fd_path(int fd) {
    static char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/* Open a folder below `root` to mount on; made when missing and owned by the inside's root. */
static int open_target(const struct setup *setup, int root, const char *path) {
    while (*path == '/') path++;
    if (!*path) return dup(root);
    if (mkdirat(root, path, 0755) == 0) (void)!fchownat(root, path, setup->uid_base, setup->uid_base, AT_SYMLINK_NOFOLLOW);
    return open_how(root, path, O_PATH | O_DIRECTORY, 0, RESOLVE);
}

static int mount_on(const struct setup *setup, int root, const char *path, const char *source, const char *type,
                    unsigned long flags, const char *data) {
    int target = open_target(setup, root, path);
    if (target < 0) return -1;
    int result = mount(source, fd_path(target), type, flags, data);
    int error = errno;
    close(target);
    errno = error;
    return result;
}

/* Bind `source`, or without one the path itself, on an existing path. */
static int bind_on(int root, const char *path, const char *source, unsigned long more_flags) {
    int target = open_how(root, path, O_PATH, 0, RESOLVE);
    if (target < 0) return -1;
    int result = mount(source ? source : fd_path(target), fd_path(target), NULL, MS_BIND | (source ? 0 : MS_REC), NULL);
    int error = errno;
    close(target);
    if (result == 0 && more_flags) {
        target = open_how(root, path, O_PATH, 0, RESOLVE);
        if (target < 0) return -1;
        result = mount(NULL, fd_path(target), NULL, MS_REMOUNT | MS_BIND | more_flags, NULL);
        error = errno;
        close(target);
    }
    errno = error;
    return result;
}

static int mount_overlays(struct setup *setup, const char **cursor, int *root) {
    const char *mountpoint = take_field(cursor, setup->spec_end);
    const char *target, *options;
    *root = -1;
    while ((target = take_field(cursor, setup->spec_end)) && (options = take_field(cursor, setup->spec_end))) {
        if (strcmp(target, "/") == 0) {
            if (mount("overlay", mountpoint, "overlay", MS_NODEV | MS_NOSUID, options) < 0)
                return fail(setup, "mount the root overlay");
            *root = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
        } else if (mount_on(setup, *root, target, "overlay", "overlay", MS_NODEV | MS_NOSUID, options) < 0) {
            return fail(setup, "mount a further overlay");
        }
    }
    return *root < 0 ? fail(setup, "find the root overlay in the specification") : 0;
}

static int make_devices(struct setup *setup, int root) {
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {{"/proc/self/fd", "fd"},       {"/proc/self/fd/0", "stdin"},
                                           {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
                                           {"pts/ptmx", "ptmx"}};
    unsigned owner = setup->uid_base;
    char options[96], source[32];
    snprintf(options, sizeof options, "mode=755,uid=%u,gid=%u,size=1m,nr_inodes=1024", owner, owner);
    if (mount_on(setup, root, "dev", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, options) < 0)
        return fail(setup, "mount /dev");
    int dev = open_how(root, "dev", O_PATH | O_DIRECTORY, 0, RESOLVE);
    if (dev < 0) return fail(setup, "open /dev");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        int made = openat(dev, nodes[i], O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        if (made < 0) return fail(setup, "make a device");
        close(made);
        snprintf(source, sizeof source, "/dev/%s", nodes[i]);
        if (bind_on(dev, nodes[i], source, 0) < 0) return fail(setup, source[5] == 't' ? "bind /dev/tty" : "bind a device");
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        if (symlinkat(links[i][0], dev, links[i][1]) < 0) return fail(setup, "link in /dev");
        (void)!fchownat(dev, links[i][1], owner, owner, AT_SYMLINK_NOFOLLOW);
    }
    /* The group of terminals is `tty`, 5, inside; `max` bounds what one sandbox takes of the host's terminals. */
    snprintf(options, sizeof options, "newinstance,ptmxmode=0666,mode=0620,gid=%u,max=1024", owner + 5);
    if (mount_on(setup, dev, "pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC, options) < 0)
        return fail(setup, "mount /dev/pts");
    snprintf(options, sizeof options, "mode=1777,uid=%u,gid=%u,size=256m", owner, owner);
    if (mount_on(setup, dev, "shm", "shm", "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return fail(setup, "mount /dev/shm");
    close(dev);
    return 0;
}

/* What of /proc says too much or changes the host. Most is root's on the host and so closed already; this is the
 * second lock. Entries that this kernel lacks are skipped. */
static int make_proc(struct setup *setup, int root, struct sandbox_fds *out) {
    static const char *const hidden[] = {"proc/kcore", "proc/keys", "proc/key-users", "proc/timer_list",
                                         "proc/kmsg",  "proc/kallsyms", "proc/sched_debug", "proc/latency_stats",
                                         "proc/sysrq-trigger"};
    static const char *const hidden_folders[] = {"proc/scsi", "proc/acpi", "proc/fs", "proc/bus", "proc/irq"};
    if (mount_on(setup, root, "proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return fail(setup, "mount /proc");
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (bind_on(root, hidden[i], "/dev/null", 0) < 0 && errno != ENOENT) return fail(setup, hidden[i]);
    for (size_t i = 0; i < sizeof hidden_folders / sizeof *hidden_folders; i++) {
        int target = open_how(root, hidden_folders[i], O_PATH | O_DIRECTORY, 0, RESOLVE);
        if (target < 0) continue;
        int done = mount("none", fd_path(target), "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0,nr_inodes=2");
        close(target);
        if (done < 0) return fail(setup, hidden_folders[i]);
    }
    out->sysctl = open_how(root, "proc/sys", O_PATH | O_DIRECTORY, 0, RESOLVE);
    if (bind_on(root, "proc/sys", NULL, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC) < 0)
        return fail(setup, "make /proc/sys read-only");
    return 0;
}

/* No sysfs: its devices and groups are the host's. Only what programs ask to count processors. */
static int make_sys(struct setup *setup, int root) {
    static const char *const shown[] = {"devices/system/cpu", "devices/system/node", "kernel/mm/transparent_hugepage"};
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    char path[64], source[64];
    if (mount_on(setup, root, "sys", "sys", "tmpfs", flags, "mode=755,size=64k,nr_inodes=64") < 0)
        return fail(setup, "mount /sys");
    int sys = open_how(root, "sys", O_PATH | O_DIRECTORY, 0, RESOLVE);
    if (sys < 0) return fail(setup, "open /sys");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        snprintf(source, sizeof source, "/sys/%s", shown[i]);
        if (access(source, F_OK) < 0) continue;
        for (const char *slash = strchr(shown[i], '/');; slash = strchr(slash + 1, '/')) {
            size_t length = slash ? (size_t)(slash - shown[i]) : strlen(shown[i]);
            memcpy(path, shown[i], length);
            path[length] = 0;
            mkdirat(sys, path, 0755);
            if (!slash) break;
        }
        if (bind_on(sys, shown[i], source, flags | MS_RDONLY) < 0) return fail(setup, "bind in /sys");
    }
    int done = mount(NULL, fd_path(sys), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL);
    close(sys);
    return done < 0 ? fail(setup, "make /sys read-only") : 0;
}

/* A home to start commands in and a place for temporary files, which an image made for one program may lack. */
static void make_homes(const struct setup *setup, int root) {
    static const struct { const char *name; mode_t mode; } homes[] = {{"root", 0700}, {"tmp", 01777}};
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++)
        if (mkdirat(root, homes[i].name, homes[i].mode) == 0)
            (void)!fchownat(root, homes[i].name, setup->uid_base, setup->uid_base, AT_SYMLINK_NOFOLLOW);
}

int build_root(struct setup *setup, struct sandbox_fds *out) {
    const char *cursor = setup->spec;
    const char *folder = take_field(&cursor, setup->spec_end);
    int root;
    if (!folder) return fail(setup, "read the specification");
    umask(0);
    /* Private: what is mounted here must not show in the server's namespace, nor later host mounts in here. */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return fail(setup, "make mounts private");
    /* Overlay options fit in one page; relative paths keep them short. */
    if (chdir(folder) < 0) return fail(setup, "enter the data folder");
    if (mount_overlays(setup, &cursor, &root) < 0) return -1;
    make_homes(setup, root);
    if (make_proc(setup, root, out) < 0 || make_sys(setup, root) < 0 ||
        make_devices(setup, root) < 0)
        return -1;
    out->proc = open_how(root, "proc", O_PATH | O_DIRECTORY, 0, RESOLVE);
    out->pts = open_how(root, "dev/pts", O_PATH | O_DIRECTORY, 0, RESOLVE);
    out->shm = open_how(root, "dev/shm", O_PATH | O_DIRECTORY, 0, RESOLVE);
    if (out->proc < 0 || out->pts < 0 || out->shm < 0) return fail(setup, "open /proc, /dev/pts and /dev/shm");
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0) return fail(setup, "pivot_root");
    /* The old root lies on top of the new one at this point; with it goes every file of the host. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) return fail(setup, "detach the host's files");
    close(root);
    umask(022);
    return 0;
}
