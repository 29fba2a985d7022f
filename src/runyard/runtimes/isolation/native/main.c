/* Entry: `runyard-agent launcher` with the server's socket as descriptor 3, or `runyard-agent scan FOLDER [SKIPPED...]`. */
#include "common.h"

#include <sys/prctl.h>
#include <sys/socket.h>

enum { SERVER_FD = 3 };

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "scan") == 0) return run_scan(argv[2], argv + 3);
    if (argc != 2 || strcmp(argv[1], "launcher") != 0) {
        static const char usage[] = "runyard-agent is started by the Runyard server, not by hand\n";
        return write(2, usage, sizeof usage - 1) < 0 ? 3 : 2;
    }
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(SERVER_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) return 2;
    fcntl(SERVER_FD, F_SETFD, FD_CLOEXEC);
    /* Nobody may open this process's descriptors or memory through /proc. */
    prctl(PR_SET_DUMPABLE, 0);
    /* The server ignores some signals and an exec keeps that; commands inside start with none ignored. */
    /* By bare system call: the C library keeps some numbers to itself. All zero is the default action. */
    static const char default_action[64];
    for (int number = 1; number < 65; number++) syscall(SYS_rt_sigaction, number, default_action, NULL, 8ul);
    /* An interrupt typed at the server's terminal is the server's to handle. */
    setsid();
    return run_launcher(SERVER_FD, argv);
}
