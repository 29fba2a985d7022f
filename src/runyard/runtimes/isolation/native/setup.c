/* From a fresh clone to a locked-down init: user namespace, network, limits, capabilities. */
#include "common.h"

#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <grp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Capability numbers of the kernel's interface; the C library does not name them. */
enum {
    CHOWN = 0, DAC_OVERRIDE = 1, FOWNER = 3, FSETID = 4, KILL = 5, SETGID = 6, SETUID = 7, SETPCAP = 8,
    NET_BIND_SERVICE = 10, SYS_CHROOT = 18, SYS_ADMIN = 21, AUDIT_WRITE = 29, SETFCAP = 31, LAST_CAP = 63,
};

/* What a package manager or a daemon that changes its user needs, over the sandbox's own files and processes only.
 * Not: MKNOD and NET_RAW, which containers often keep, nor NET_ADMIN and SYS_ADMIN, nor anything about the host. */
static const uint64_t INSIDE_CAPS = 1ull << CHOWN | 1ull << DAC_OVERRIDE | 1ull << FOWNER | 1ull << FSETID | 1ull << KILL |
                                    1ull << SETGID | 1ull << SETUID | 1ull << SETPCAP | 1ull << NET_BIND_SERVICE |
                                    1ull << SYS_CHROOT | 1ull << AUDIT_WRITE | 1ull << SETFCAP;

static int set_caps(uint64_t caps) {
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } data[2] = {
        {(uint32_t)caps, (uint32_t)caps, 0},
        {(uint32_t)(caps >> 32), (uint32_t)(caps >> 32), 0},
    };
    return (int)syscall(SYS_capset, &header, data);
}

void drop_to_inside_caps(void) { set_caps(INSIDE_CAPS); }

static int fail(struct setup *setup, const char *what) {
    setup->failed_at = what;
    return -1;
}

static int write_below(int folder, const char *path, const char *text) {
    int fd = openat(folder, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t wrote = write(fd, text, strlen(text));
    close(fd);
    return wrote < 0 ? -1 : 0;
}

/* Who makes a user namespace is charged for what is used in it: inotify instances, queued signals, locked memory. As
 * host root one sandbox could use those up for the host's own daemons. Capabilities are kept, so that this also works
 * where only the privileged may make user namespaces. */
static int become_range_owner(const struct setup *setup) {
    if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setresgid(setup->uid_base, setup->uid_base, setup->uid_base) < 0 ||
        setgroups(0, NULL) < 0 || setresuid(setup->uid_base, setup->uid_base, setup->uid_base) < 0)
        return -1;
    return set_caps(1ull << SYS_ADMIN);
}

static int enter_user_namespace(struct setup *setup) {
    if (become_range_owner(setup) < 0) return fail(setup, "take the owner's id");
    if (unshare(CLONE_NEWUSER) < 0) return fail(setup, "unshare the user namespace");
    char byte = 'm';
    if (send(setup->sync, &byte, 1, MSG_NOSIGNAL) != 1 || recv(setup->sync, &byte, 1, 0) != 1 || byte != 'k')
        return fail(setup, "map ids");
    close(setup->sync);
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return fail(setup, "become root inside");
    return 0;
}

/* Owned by the new user namespace, so that init keeps the right to set them up and the host's root is not needed. */
static int enter_network(struct setup *setup) {
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0) return fail(setup, "unshare network, ipc and uts");
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (any < 0 || ioctl(any, SIOCSIFFLAGS, &lo) < 0) return fail(setup, "bring loopback up");
    close(any);
    return 0;
}

int open_route_socket(void) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0 /* NETLINK_ROUTE */); }

static void set_limits(void) {
    struct rlimit none = {0, 0}, files;
    setrlimit(RLIMIT_CORE, &none);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        struct rlimit wanted = {1024, 1048576};
        /* Raising the hard limit takes a capability of the host that a server in a container may lack. */
        if (setrlimit(RLIMIT_NOFILE, &wanted) < 0) {
            files.rlim_cur = files.rlim_max < 1024 ? files.rlim_max : 1024;
            setrlimit(RLIMIT_NOFILE, &files);
        }
    }
}

/* Through the /proc/sys that lies under the read-only one; each is the sandbox's own copy. */
static void set_sysctls(int sysctl) {
    /* Ping without CAP_NET_RAW. */
    write_below(sysctl, "net/ipv4/ping_group_range", "0 65535");
    /* Low ports for everybody, as in other containers: nobody else's are in this network namespace. */
    write_below(sysctl, "net/ipv4/ip_unprivileged_port_start", "0");
    /* Memory that outlives its processes must leave room for init below the smallest memory limit: when it fills the
     * limit alone, init is all that the kernel finds to kill. 32 MiB of shared memory, 2 MiB of queues and of
     * semaphores; /dev/shm is bounded by the server, who knows the limit. */
    write_below(sysctl, "kernel/shmall", "8192");
    write_below(sysctl, "kernel/msgmni", "128");
    write_below(sysctl, "kernel/sem", "250 32000 32 128");
}

int take_seat(struct setup *setup) {
    /* First of all: descriptors of the launcher, among them sockets of the server and of other sandboxes. */
    if (dup3(setup->control, 3, O_CLOEXEC) < 0 && setup->control != 3) return fail(setup, "place the socket");
    if (dup3(setup->sync, 4, O_CLOEXEC) < 0 && setup->sync != 4) return fail(setup, "place the socket");
    setup->control = 3;
    setup->sync = 4;
    syscall(SYS_close_range, 5u, ~0u, 0u);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* What runs in sandboxes goes before the host's own processes when memory runs out. Set once here instead of for
     * each command, which would cost a twentieth of its start: among equals the largest goes, and init is tiny. */
    write_below(AT_FDCWD, "/proc/self/oom_score_adj", "500");
    return 0;
}

int enter_sandbox(struct setup *setup, struct sandbox_fds *out) {
    if (unshare(CLONE_NEWNS) < 0) return fail(setup, "unshare the mount namespace");
    set_limits();
    if (build_root(setup, out) < 0 || enter_user_namespace(setup) < 0 || enter_network(setup) < 0) return -1;
    set_sysctls(out->sysctl);
    close(out->sysctl);
    /* Again: changing ids clears both. The launcher's death ends every sandbox. */
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct pollfd gone = {.fd = setup->control, .events = POLLIN};
    if (poll(&gone, 1, 0) > 0 && gone.revents & POLLHUP) return fail(setup, "find the server alive");
    return 0;
}

int lock_down(void) {
    /* After the groups are attached, so that the sandbox sees its own group as the root of all. */
    if (unshare(CLONE_NEWCGROUP) < 0) return -1;
    for (int cap = 0; cap <= LAST_CAP; cap++)
        if (!(INSIDE_CAPS >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno == EPERM) return -1;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    /* SYS_ADMIN of the sandbox's user namespace stays with init alone, for the host name. Commands lose it by exec. */
    if (set_caps(INSIDE_CAPS | 1ull << SYS_ADMIN) < 0) return -1;
    return install_filter();
}
