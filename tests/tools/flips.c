/* SPDX-License-Identifier: Apache-2.0 */
/* usage: flips SLUICE TARGET MODEL ALIAS flipping|stepping N SEED KNOWN...
 *
 * Promotes and rolls back MODEL on ALIAS by real commands of SLUICE (numbers 1 to as
 * many as there are KNOWN directories), until `latest` below TARGET has changed N
 * times; stepping: every second command is `target step`. Of eight commands two have
 * one failing system call (TEST_FAULT: a build that knows it), one is killed at a
 * system call, and one is killed from outside at any moment. Meanwhile eight readers
 * resolve `latest` once each time, and read all files below what it gave; one more
 * reader resolves it for every file, as readers must not do.
 *
 * Prints lines "name count"; ends with 0 when everything was done. What the counts have
 * to be is for the caller to say. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    READERS = 8,
    FILES_MAX = 64,
    KNOWN_MAX = 64,
    DIGEST = 32,
    PAUSE_US = 1000, /* between two views of a reader: the commands want a turn too */
    CALLS = 28,      /* a promotion makes about so many that can fail */
    KILL_US = 9000,  /* and takes about so long */
};

/* What a reader saw: all files, by name. */
struct view {
    char *path[FILES_MAX];
    unsigned char digest[FILES_MAX][DIGEST];
    int n;
};
struct counts {
    int64_t views, missing, mixed;
};
static struct {
    const char *sluice, *model, *alias, *target;
    char latest[4096], said[4096]; /* the link; where the last command's words go */
    unsigned char known[KNOWN_MAX][DIGEST];
    struct view whole; /* names of the files, for the reader that asks by name */
    int n_known;
    bool stepping;
    volatile bool done;
    pthread_mutex_t mu;
    char first_wrong[512];
} all = { .mu = PTHREAD_MUTEX_INITIALIZER };
extern char **environ;

/* ---- reading
 * ---------------------------------------------------------------------------- */

static void
view_release(struct view *v)
{
    for (int i = 0; i < v->n; i++)
        free(v->path[i]);
    v->n = 0;
}

static bool
read_file(int fd, unsigned char digest[DIGEST])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    char block[65536];
    ssize_t n;

    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    while ((n = read(fd, block, sizeof(block))) > 0)
        EVP_DigestUpdate(md, block, (size_t)n);
    EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    return n == 0;
}

/* Below an open directory, by openat; takes the descriptor. */
static bool
read_below(int fd, const char *prefix, struct view *v)
{
    DIR *d = fdopendir(fd);
    struct dirent *e;
    bool good = d != NULL;

    while (good && (e = readdir(d)) != NULL) {
        char *path;
        struct stat st;
        int sub;

        if (e->d_name[0] == '.')
            continue;
        sub = openat(fd, e->d_name, O_RDONLY | O_CLOEXEC);
        good = sub >= 0 && fstat(sub, &st) == 0 && v->n < FILES_MAX &&
               asprintf(&path, "%s%s%s", prefix, *prefix ? "/" : "", e->d_name) > 0;
        if (!good) {
            if (sub >= 0)
                close(sub);
        } else if (S_ISDIR(st.st_mode)) {
            good = read_below(sub, path, v);
            free(path);
        } else {
            good = read_file(sub, v->digest[v->n]);
            v->path[v->n++] = path;
            close(sub);
        }
    }
    if (d)
        closedir(d);
    return good;
}

static void
view_digest(struct view *v, unsigned char out[DIGEST])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool used[FILES_MAX] = { false };

    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (int k = 0; k < v->n; k++) { /* in the order of names */
        int least = -1;

        for (int i = 0; i < v->n; i++)
            if (!used[i] && (least < 0 || strcmp(v->path[i], v->path[least]) < 0))
                least = i;
        used[least] = true;
        EVP_DigestUpdate(md, v->path[least], strlen(v->path[least]) + 1);
        EVP_DigestUpdate(md, v->digest[least], DIGEST);
    }
    EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
}

static bool
is_known(struct view *v)
{
    unsigned char digest[DIGEST];

    view_digest(v, digest);
    for (int i = 0; i < all.n_known; i++)
        if (memcmp(all.known[i], digest, DIGEST) == 0)
            return true;
    return false;
}

static void
wrong(const char *what)
{
    pthread_mutex_lock(&all.mu);
    if (!all.first_wrong[0])
        snprintf(all.first_wrong, sizeof(all.first_wrong), "%s", what);
    pthread_mutex_unlock(&all.mu);
}

static void *
reader(void *arg)
{
    struct counts *c = arg;

    while (!all.done) {
        struct view v = { .n = 0 };
        int dir = open(all.latest, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd = dir >= 0 ? openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        bool good = fd >= 0 && read_below(fd, "", &v);

        c->views++;
        if (!good) {
            c->missing++;
            wrong(strerror(errno));
        } else if (!is_known(&v)) {
            c->mixed++;
            wrong("files that are of no one version");
        }
        if (dir >= 0)
            close(dir);
        view_release(&v);
        usleep(PAUSE_US);
    }
    return NULL;
}

/* As one must not: the link is followed for each file. */
static void *
careless(void *arg)
{
    struct counts *c = arg;

    while (!all.done) {
        struct view v = { .n = 0 };
        bool good = true;

        for (int i = 0; good && i < all.whole.n; i++) {
            char path[8192];
            int fd;

            snprintf(path, sizeof(path), "%s/%s", all.latest, all.whole.path[i]);
            fd = open(path, O_RDONLY | O_CLOEXEC);
            good = fd >= 0 && read_file(fd, v.digest[v.n]);
            if (good)
                v.path[v.n++] = strdup(all.whole.path[i]);
            if (fd >= 0)
                close(fd);
            usleep(PAUSE_US);
        }
        c->views++;
        c->missing += !good;
        c->mixed += good && !is_known(&v);
        view_release(&v);
    }
    return NULL;
}

/* ---- commands
 * ----------------------------------------------------------------------------- */

static uint64_t
chance(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % below;
}

/* The number that `latest` shows: "v3" or "3"; 0: none. */
static int
shown(void)
{
    char text[256];
    ssize_t n = readlink(all.latest, text, sizeof(text) - 1);
    const char *at = text;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (*at == 'v')
        at++;
    return (int)strtol(at, NULL, 10);
}

/* The exit status, or -signal. kill_us < 0: it is not killed. */
static int
run(char **argv, const char *fault, int kill_us)
{
    posix_spawn_file_actions_t to;
    int status;
    pid_t pid;

    if (fault)
        setenv("TEST_FAULT", fault, 1);
    else
        unsetenv("TEST_FAULT");
    posix_spawn_file_actions_init(&to);
    posix_spawn_file_actions_addopen(&to, 1, all.said, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&to, 1, 2);
    if (posix_spawnp(&pid, argv[0], &to, NULL, argv, environ) != 0)
        return 127;
    posix_spawn_file_actions_destroy(&to);
    if (kill_us >= 0) {
        usleep((useconds_t)kill_us);
        kill(pid, SIGKILL);
    }
    if (waitpid(pid, &status, 0) < 0)
        return 127;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

struct done {
    int64_t commands, flips, good, failed, killed, unexpected;
};

/* What failed that nothing was done to. 7: the interrupted rollback before was finished
 * first, and nothing is older; 8: the server is not there yet. */
static void
judge(const char *what, int status, struct done *d)
{
    char words[240] = "", line[512];
    FILE *f;

    if (status == 0 || (status == 7 && strcmp(what, "rollback") == 0) ||
        (status == 8 && strcmp(what, "step") == 0))
        return;
    f = fopen(all.said, "re");
    if (f && !fgets(words, sizeof(words), f))
        words[0] = '\0';
    if (f)
        fclose(f);
    snprintf(line, sizeof(line), "%s: status %d: %s", what, status, words);
    wrong(line);
    d->unexpected++;
}

/* With what the dice say. */
static void
one_command(uint64_t *dice, struct done *d)
{
    static const char *const faults[] = { "EIO", "ENOSPC", "EACCES", "EMFILE" };
    const int before = shown(), how = (int)chance(dice, 8);
    char ref[256], place[256], fault[64];
    char *promote[] = { (char *)all.sluice, "promote", ref, "--to",
                        (char *)all.alias,  "--again", NULL };
    char *rollback[] = { (char *)all.sluice, "rollback", place, NULL };
    char *step[] = { (char *)all.sluice, "target", "step", (char *)all.target, NULL };
    char **argv = rollback;
    int status;

    snprintf(place, sizeof(place), "%s@%s", all.model, all.alias);
    snprintf(ref, sizeof(ref), "%s@%d", all.model,
             before == 0 ? 1 : 2 + (int)chance(dice, (uint64_t)all.n_known - 1));
    snprintf(fault, sizeof(fault), "any:%d:%s", 1 + (int)chance(dice, CALLS),
             how == 2 ? "kill" : faults[chance(dice, 4)]);
    if (all.stepping && chance(dice, 2) == 0)
        argv = step;
    else if (before <= 1 || chance(dice, 4) == 0)
        argv = promote;
    status =
        run(argv, how <= 2 ? fault : NULL, how == 3 ? (int)chance(dice, KILL_US) : -1);
    d->commands++;
    d->flips += shown() != before;
    if (status == 0)
        d->good++;
    else if (status < 0)
        d->killed++;
    else
        d->failed++;
    if (how > 3)
        judge(argv == step ? "step" : argv == promote ? ref : "rollback", status, d);
}

static void
say(const char *name, int64_t n)
{
    printf("%s %" PRId64 "\n", name, n);
}

int
main(int argc, char **argv)
{
    struct counts c[READERS + 1] = { { .views = 0 } }, sum = { .views = 0 };
    struct done d = { .commands = 0 };
    pthread_t threads[READERS + 1];
    uint64_t dice = 88172645463325252u;
    int64_t n;

    if (argc < 9 || argc - 8 > KNOWN_MAX) {
        fputs("usage: flips SLUICE TARGET MODEL ALIAS flipping|stepping N SEED "
              "KNOWN...\n",
              stderr);
        return 2;
    }
    all.sluice = argv[1];
    all.model = argv[3];
    all.alias = argv[4];
    snprintf(all.latest, sizeof(all.latest), "%s/%s/latest", argv[2], all.model);
    snprintf(all.said, sizeof(all.said), "%s.said", argv[2]);
    all.stepping = strcmp(argv[5], "stepping") == 0;
    all.target = strrchr(argv[2], '/') ? strrchr(argv[2], '/') + 1 : argv[2];
    n = strtoll(argv[6], NULL, 10);
    dice += strtoull(argv[7], NULL, 10) * 0x9e3779b97f4a7c15u;
    for (int i = 8; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        view_release(&all.whole);
        if (fd < 0 || !read_below(fd, "", &all.whole)) {
            fprintf(stderr, "flips: %s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        view_digest(&all.whole, all.known[all.n_known++]);
    }
    for (int i = 0; i <= READERS; i++)
        if (pthread_create(&threads[i], NULL, i < READERS ? reader : careless, &c[i]))
            return 1;
    while (d.flips < n && d.commands < (all.stepping ? 40 : 10) * n + 100 &&
           d.unexpected < 20)
        one_command(&dice, &d);
    all.done = true;
    for (int i = 0; i <= READERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < READERS; i++) {
        sum.views += c[i].views;
        sum.missing += c[i].missing;
        sum.mixed += c[i].mixed;
    }
    say("flips", d.flips);
    say("commands", d.commands);
    say("commands_good", d.good);
    say("commands_failed", d.failed);
    say("commands_killed", d.killed);
    say("unexpected", d.unexpected);
    say("views", sum.views);
    say("missing", sum.missing);
    say("mixed", sum.mixed);
    say("careless_views", c[READERS].views);
    say("careless_mixed", c[READERS].mixed);
    if (all.first_wrong[0])
        printf("# first: %s\n", all.first_wrong);
    unlink(all.said);
    return d.flips < n;
}
