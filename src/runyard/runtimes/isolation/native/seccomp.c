/* The system call filter: a list of what is refused. Everything a program may want of its own sandbox stays allowed;
 * refused is what reaches past namespaces, what has a record of kernel faults and no use here, and foreign ABIs.
 * Installed once by init, inherited by every command.
 */
#include "common.h"

#include <sys/prctl.h>
#include <sys/socket.h>

struct insn {
    uint16_t code;
    uint8_t jt, jf;
    uint32_t k;
};
struct program {
    unsigned short length;
    const struct insn *code;
};

enum {
    LOAD = 0x20, JUMP_EQ = 0x15, JUMP_GE = 0x35, JUMP_SET = 0x45, RETURN = 0x06,
    AT_NR = 0, AT_ARCH = 4, AT_ARG0 = 16, AT_ARG1 = 24, /* low words, little endian */
    ALLOW = 0x7fff0000, FAIL = 0x00050000,
};

#if defined(__x86_64__)
#define OWN_ARCH 0xc000003eu
#elif defined(__aarch64__)
#define OWN_ARCH 0xc00000b7u
#else
#error "the system call filter knows x86_64 and aarch64"
#endif

#ifndef SYS_prlimit64
#define SYS_prlimit64 SYS_prlimit
#endif

/* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; for unshare also NEWTIME. */
#define NEW_NAMESPACES 0x7e020000u

/* Numbers given as such are those that every architecture shares. */
static const uint32_t refused[] = {
    SYS_mount, SYS_umount2, SYS_pivot_root, 428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */,
    431 /* fsconfig */, 432 /* fsmount */, 433 /* fspick */, 442 /* mount_setattr */, 467 /* open_tree_attr */,
    SYS_setns, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, 438 /* pidfd_getfd */,
    SYS_bpf, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_perf_event_open, SYS_userfaultfd,
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load,
    SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_quotactl, 443 /* quotactl_fd */, SYS_acct, SYS_swapon, SYS_swapoff,
    SYS_reboot, SYS_syslog, SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_vhangup,
    SYS_lookup_dcookie, SYS_nfsservctl, SYS_fanotify_init, SYS_move_pages, SYS_migrate_pages,
#if defined(__x86_64__)
    SYS_iopl, SYS_ioperm, SYS_uselib, SYS_sysfs, SYS_ustat, SYS_modify_ldt, SYS_create_module, SYS__sysctl,
#endif
};
/* Refused as if the kernel did not know them, so that libraries fall back instead of giving up. */
static const uint32_t absent[] = {SYS_clone3, 425, 426, 427 /* io_uring */};
/* Families with their own namespace: unix, inet, inet6, netlink. Not vsock, which leads to the hypervisor. */
static const uint32_t families[] = {1, 2, 10, 16};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static struct insn code[256];
static unsigned short length;

static void emit(uint16_t op, uint32_t k, uint8_t jt, uint8_t jf) {
    code[length++] = (struct insn){.code = op, .jt = jt, .jf = jf, .k = k};
}

static void refuse(uint32_t nr, int error) {
    emit(JUMP_EQ, nr, 0, 1);
    emit(RETURN, FAIL | (uint32_t)error, 0, 0);
}

/* For one call: refuse when the argument shares a bit with `mask`; leaves the number loaded again. */
static void refuse_bits(uint32_t nr, uint32_t argument, uint32_t mask) {
    emit(JUMP_EQ, nr, 0, 4);
    emit(LOAD, argument, 0, 0);
    emit(JUMP_SET, mask, 0, 1);
    emit(RETURN, FAIL | EPERM, 0, 0);
    emit(RETURN, ALLOW, 0, 0);
}

/* For one call: refuse when the argument is 1, the process id of init. The kernel lets anybody with init's user id set
 * its limits and scheduling, and a limit on processor time can even kill it. */
static void refuse_on_init(uint32_t nr, uint32_t argument) {
    emit(JUMP_EQ, nr, 0, 4);
    emit(LOAD, argument, 0, 0);
    emit(JUMP_EQ, 1, 0, 1);
    emit(RETURN, FAIL | EPERM, 0, 0);
    emit(RETURN, ALLOW, 0, 0);
}

static void refuse_families(uint32_t nr) {
    emit(JUMP_EQ, nr, 0, (uint8_t)(COUNT(families) + 3));
    emit(LOAD, AT_ARG0, 0, 0);
    for (size_t i = 0; i < COUNT(families); i++)
        emit(JUMP_EQ, families[i], (uint8_t)(COUNT(families) - i), 0);
    emit(RETURN, FAIL | EAFNOSUPPORT, 0, 0);
    emit(RETURN, ALLOW, 0, 0);
}

int install_filter(void) {
    length = 0;
    emit(LOAD, AT_ARCH, 0, 0);
    emit(JUMP_EQ, OWN_ARCH, 1, 0);
    emit(RETURN, FAIL | ENOSYS, 0, 0);
    emit(LOAD, AT_NR, 0, 0);
#if defined(__x86_64__)
    emit(JUMP_GE, 0x40000000, 0, 1); /* the x32 ABI shares the architecture's name */
    emit(RETURN, FAIL | ENOSYS, 0, 0);
#endif
    for (size_t i = 0; i < COUNT(refused); i++) refuse(refused[i], EPERM);
    for (size_t i = 0; i < COUNT(absent); i++) refuse(absent[i], ENOSYS);
    refuse_bits(SYS_clone, AT_ARG0, NEW_NAMESPACES);
    refuse_bits(SYS_unshare, AT_ARG0, NEW_NAMESPACES | 0x80);
    refuse_on_init(SYS_prlimit64, AT_ARG0);
    refuse_on_init(SYS_sched_setaffinity, AT_ARG0);
    refuse_on_init(SYS_sched_setscheduler, AT_ARG0);
    refuse_on_init(SYS_sched_setparam, AT_ARG0);
    refuse_on_init(SYS_sched_setattr, AT_ARG0);
    refuse_on_init(SYS_setpriority, AT_ARG1);
    refuse_on_init(SYS_ioprio_set, AT_ARG1);
    refuse_families(SYS_socket);
    refuse_families(SYS_socketpair);
    /* TIOCSTI types into a terminal, TIOCLINUX pastes into one: both as somebody else. */
    emit(JUMP_EQ, SYS_ioctl, 0, 5);
    emit(LOAD, AT_ARG1, 0, 0);
    emit(JUMP_EQ, 0x5412, 1, 0);
    emit(JUMP_EQ, 0x541c, 0, 1);
    emit(RETURN, FAIL | EPERM, 0, 0);
    emit(RETURN, ALLOW, 0, 0);
    emit(RETURN, ALLOW, 0, 0);
    struct program program = {.length = length, .code = code};
    return (int)syscall(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, &program);
}
