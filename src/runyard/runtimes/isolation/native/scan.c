/* Scan: print the paths below a folder that not everybody may read, relative to it, each ending in NUL.
 *
 * A role of its own for speed: a host has some hundred thousand files, and each of them costs no more here than its
 * system call. It holds one descriptor for each folder on the way down and ends with its answer.
 */
#include "common.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { READ = 04, READ_AND_ENTER = 05 }; /* what everybody needs of a file and of a folder */

static char path[PATH_MAX];

static int is_skipped(char *const *skipped) {
    while (*skipped != NULL) {
        if (strcmp(*skipped++, path) == 0) return 1;
    }
    return 0;
}

static int scan_folder(int fd, size_t length, char *const *skipped);

/* The path holds the folder, `length` bytes long; 0 when the entry was dealt with, -1 with errno. */
static int scan_entry(int folder, size_t length, const struct dirent *entry, char *const *skipped) {
    const char *name = entry->d_name;
    if (entry->d_type == DT_LNK || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return 0;
    size_t size = strlen(name);
    if (length + size + 2 > sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(path + length, name, size + 1);
    if (is_skipped(skipped)) return 0;
    struct stat status;
    /* What is gone by now, nobody can read. */
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? 0 : -1;
    mode_t mode = status.st_mode;
    if (S_ISLNK(mode)) return 0;
    if (S_ISDIR(mode) && (mode & READ_AND_ENTER) == READ_AND_ENTER) {
        int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner < 0) return errno == ENOENT ? 0 : -1;
        path[length + size] = '/';
        return scan_folder(inner, length + size + 1, skipped);
    }
    if (S_ISREG(mode) && (mode & READ)) return 0;
    return fwrite(path, 1, length + size + 1, stdout) == length + size + 1 ? 0 : -1;
}

static int scan_folder(int fd, size_t length, char *const *skipped) {
    DIR *folder = fdopendir(fd);
    if (folder == NULL) return -1;
    int result = 0;
    while (result == 0) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            result = errno == 0 ? 0 : -1;
            break;
        }
        result = scan_entry(fd, length, entry, skipped);
    }
    int error = errno;
    closedir(folder);
    errno = error;
    return result;
}

int run_scan(const char *root, char *const *skipped) {
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && scan_folder(fd, 0, skipped) == 0 && fflush(stdout) == 0) return 0;
    fprintf(stderr, "%s: %s\n", fd < 0 ? root : path, strerror(errno));
    return 1;
}
