/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes, how they are run, and what must hold after whatever happened to one. */
#include "tests/crash/crash.h"

#include "base/db.h"
#include "base/fs.h"
#include "repo/repo.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* One line a scene: what is there before, what happens. The current directory is empty
 * at first; ../../models has A, B (A and a file), C (one byte of B differs), big, wide
 * and wider (a long file, of which the second has some bytes more). The word "server"
 * is the URL of crash_server.c. */
#define PUSHED "init; push ../../models/A m; "
#define LIVE PUSHED "push ../../models/B m; target add web web --alias prod; "
#define SERVED                                                                         \
    PUSHED "push ../../models/B m; target add web web --alias prod --layout "          \
           "tfserving; "
#define SCANNED                                                                        \
    PUSHED                                                                             \
    "push ../../models/B m; push ../../models/C m; target add web web --alias "        \
    "prod --layout tfserving-scan; promote m@1 --to prod; promote m@2 --to prod; "
#define TRITON                                                                         \
    PUSHED "push ../../models/B m; target add web web --alias prod --layout triton; "  \
           "promote m@1 --to prod"
/* Goes on by the steps its server is ready for: load, label, look, done. */
#define STEPPED SERVED "promote m@1 --to prod; target set web --status_url server"
#define WIDE PUSHED "push ../../models/wide m; push ../../models/wider m"
#define COLD WIDE "; cold m@2"
#define SCENE(name, setup, run, flags)                                                 \
    {                                                                                  \
        name, setup, run, flags, NULL                                                  \
    }
#define SCENE_WITH(verb, name, setup, run, flags)                                      \
    {                                                                                  \
        name, setup, run, flags, verb                                                  \
    }
const struct scene scenes[] = {
    SCENE("init", "", "init", SCENE_FAST | SCENE_ONCE),
    SCENE("push the first", "init", "push ../../models/A m", SCENE_FAST),
    SCENE("push another", PUSHED, "push ../../models/B m", SCENE_FAST),
    SCENE("push the same", PUSHED, "push ../../models/A m", 0),
    SCENE("push with a golden set", "init",
          "push ../../models/A m --golden ../../models/golden", 0),
    SCENE("push big", "init", "push ../../models/big m", SCENE_BIG),
    SCENE("pull", PUSHED, "pull m@1 out", SCENE_ONCE),
    SCENE("pull links", PUSHED, "pull m@1 out --link", SCENE_ONCE),
    SCENE("alias alone", PUSHED, "promote m@1 --to prod", 0),
    SCENE("target add", PUSHED "promote m@1 --to prod",
          "target add web web --alias prod", SCENE_ONCE),
    SCENE("promote the first", LIVE, "promote m@1 --to prod", SCENE_FAST),
    SCENE("promote another", LIVE "promote m@1 --to prod", "promote m@2 --to prod",
          SCENE_FAST),
    SCENE("rollback", LIVE "promote m@1 --to prod; promote m@2 --to prod",
          "rollback m@prod --to 1", 0),
    SCENE("promote for TF Serving", SERVED "promote m@1 --to prod",
          "promote m@2 --to prod", 0),
    SCENE("weights", SERVED "promote m@1 --to prod", "weights m@prod 1=90% 2=10%", 0),
    SCENE("rollback for TF Serving",
          SERVED "promote m@1 --to prod; promote m@2 --to prod",
          "rollback m@prod --to 1", 0),
    SCENE("promote without a config file", SCANNED, "promote m@3 --to prod", 0),
    SCENE("down by two without a config file", SCANNED "promote m@3 --to prod",
          "rollback m@prod --to 1", 0),
    SCENE("promote for Triton", TRITON, "promote m@2 --to prod", 0),
    SCENE("rollback for Triton", TRITON "; promote m@2 --to prod",
          "rollback m@prod --to 1", 0),
    SCENE("mirror", SERVED "promote m@1 --to prod", "weights m@prod --mirror 2=10%", 0),
    SCENE("release to a server that is asked", STEPPED, "promote m@2 --to prod", 0),
    SCENE("steps", STEPPED "; promote m@2 --to prod", "target step web", SCENE_LATE),
    SCENE("release and its steps", STEPPED, "promote m@2 --to prod --wait 3",
          SCENE_LATE),
    SCENE("steps of Triton",
          TRITON "; target set web --status_url server; "
                 "promote m@2 --to prod",
          "target step web", SCENE_LATE),
    SCENE("target set", SERVED "promote m@1 --to prod",
          "target set web --serving_root /models", SCENE_LATE),
    SCENE("freeze", PUSHED "promote m@1 --to prod", "freeze m@prod --reason why", 0),
    SCENE("golden add", PUSHED, "golden add m ../../models/exam --name exam", 0),
    SCENE("policy set", PUSHED, "policy set prod --require-acceptance *", 0),
    SCENE("grant", PUSHED, "grant nobody push m", 0),
    SCENE("hook set", PUSHED, "hook set pre-promote ../../models/A/saved_model.pb", 0),
    SCENE("hook remove", PUSHED "hook set gate-x ../../models/A/saved_model.pb",
          "hook remove gate-x", SCENE_ONCE),
    SCENE("key rotate", PUSHED, "key rotate store", 0),
    SCENE("key rotate again", PUSHED "key rotate store; push ../../models/B m",
          "key rotate store --leaked", 0),
    SCENE("fsck", PUSHED, "fsck", 0),
    SCENE("list", PUSHED, "list", 0),
    SCENE_WITH("delete", "delete", PUSHED "push ../../models/B m", "delete m@1",
               SCENE_ONCE),
    SCENE_WITH("undelete", "undelete", PUSHED "push ../../models/B m; delete m@1",
               "undelete m@1", SCENE_ONCE),
    SCENE_WITH("gc", "gc", PUSHED "push ../../models/B m; delete m@1 --days 0",
               "gc --yes", 0),
    SCENE_WITH("gc", "gc of the trash",
               PUSHED "push ../../models/B m; delete m@1 --days 0; gc --yes",
               "gc --empty_trash --yes", 0),
    SCENE("cold", WIDE, "cold m@2", SCENE_ONCE),
    SCENE("warm", COLD, "warm m@2", SCENE_ONCE),
    SCENE_WITH("tag", "tag", PUSHED, "tag m@1 stage=eval", 0),
    SCENE_WITH("attach", "attach", PUSHED,
               "attach m@1 report ../../models/C/assets/note", SCENE_ONCE),
    SCENE("detach", PUSHED "attach m@1 report ../../models/C/assets/note",
          "detach m@1 report", SCENE_ONCE),
    SCENE("note", PUSHED, "note m@1 good", 0),
    SCENE("hold", PUSHED, "hold m@1 --reason why", SCENE_ONCE),
    SCENE("unhold", PUSHED "hold m@1 --reason why", "unhold m@1", SCENE_ONCE),
    SCENE("quarantine", PUSHED, "push ../../models/B m --quarantine", 0),
    SCENE("accept", "init; push ../../models/A m --quarantine",
          "accept m@1 --unchecked --reason why", SCENE_ONCE),
    SCENE("reject", PUSHED, "reject m@1 --reason why", SCENE_ONCE),
    SCENE("config set", PUSHED, "config set quarantine on", 0),
    SCENE("gc by retention rules",
          PUSHED "push ../../models/B m; retention set m --keep_last 1",
          "gc --retention --yes", 0),
    SCENE("gc beside cold", COLD "; push ../../models/C m; delete m@4 --days 0",
          "gc --empty_trash --yes", 0),
    SCENE("pull what is cold", COLD, "pull m@2 out", SCENE_ONCE),
    SCENE("delete what is cold", COLD "; delete m@2 --days 0", "gc --yes", 0),
    SCENE("backup", PUSHED, "backup bak", 0),
    SCENE("backup again", PUSHED "backup bak; push ../../models/B m", "backup bak", 0),
    SCENE("backup of what is cold", COLD, "backup bak", 0),
    SCENE("restore", PUSHED "backup bak", "restore bak --to other", SCENE_ONCE),
    SCENE("export", PUSHED, "export m@1 bundle", SCENE_ONCE),
    SCENE("import", PUSHED "export m@1 bundle", "import bundle --as n", 0),
    SCENE("scrub", PUSHED, "fsck --scrub", 0),
    SCENE("rebuild", LIVE "promote m@1 --to prod", "fsck --rebuild", 0),
    SCENE("repair", PUSHED "pull m@1 copy; damage", "fsck --repair --from copy",
          SCENE_DAMAGED),
    SCENE("push with a key", PUSHED, "push ../../models/B m --idempotency_key k",
          SCENE_KEYED),
    SCENE("note with a key", PUSHED, "note m@1 good --idempotency_key k", SCENE_KEYED),
    SCENE("promote with a key", LIVE,
          "promote m@1 --to prod --again --idempotency_key k", SCENE_KEYED),
    SCENE("delete with a key", PUSHED "push ../../models/B m",
          "delete m@1 --idempotency_key k", SCENE_KEYED),
    SCENE("push, promote, back", LIVE "promote m@1 --to prod",
          "push ../../models/C m; promote m --to prod --again; rollback m@prod --to 1",
          0),
};
const int n_scenes = (int)(sizeof(scenes) / sizeof(scenes[0]));

/* ---- workers ---- */

void
worker_close(struct worker *w)
{
    scene_end(w);
}

/* ---- running ---- */

enum { WORDS_MAX = 32 };

/* Flips a bit of the object that has the most bytes. */
static int
damage(void)
{
    struct disk d;
    struct disk_node *most = NULL;
    int r = disk_read(&d, "store/objects");

    for (int i = 0; r == 0 && i < d.n; i++)
        if (S_ISREG(d.nodes[i].mode) && (!most || d.nodes[i].n_bytes > most->n_bytes))
            most = &d.nodes[i];
    if (most)
        most->data[most->n_bytes / 2] ^= 1;
    if (r == 0)
        r = disk_write(&d, "store/objects");
    disk_release(&d);
    return r < 0 ? 1 : 0;
}

/* One command line, in this process. */
static jmp_buf at_end;
static int end_status;

void
sluice_exit(int status)
{
    end_status = status;
    longjmp(at_end, 1);
}

static int
run_line(const char *line)
{
    char text[600], *words[WORDS_MAX + 1] = { (char *)"sluice" }, *save = NULL;
    int n = 1;

    snprintf(text, sizeof(text), "%s", line);
    for (char *p = strtok_r(text, " ", &save); p && n < WORDS_MAX;
         p = strtok_r(NULL, " ", &save))
        words[n++] = strcmp(p, "server") == 0 ? getenv("CRASH_SERVER") : p;
    words[n] = NULL;
    if (n == 2 && strcmp(words[1], "damage") == 0)
        return damage();
    return setjmp(at_end) ? end_status : sluice_main(n, words);
}

/* Commands divided by ';', until one fails. */
static int
run_lines(const char *lines, int *n_done)
{
    int status = 0;

    while (*lines && status == 0) {
        char line[600];
        size_t n;

        lines += strspn(lines, "; ");
        n = strcspn(lines, ";");
        if (n == 0)
            break;
        snprintf(line, sizeof(line), "%.*s", (int)n, lines);
        lines += n;
        status = run_line(line);
        if (status == 0)
            ++*n_done;
    }
    return status;
}

/* Runs it with stdout (and stderr) in *out. */
int
scene_heard(const char *line, struct buf *out)
{
    int fd = memfd_create("heard", MFD_CLOEXEC), done = 0, status;
    char chunk[4096];
    ssize_t n;

    dup2(fd, 1);
    dup2(fd, 2);
    status = run_lines(line, &done);
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(out, chunk, (size_t)n);
    close(fd);
    return status;
}

/* Has the libraries set themselves up here, where every child inherits it. */
static int
warm_up(struct worker *w)
{
    const int out = dup(1), err = dup(2), cwd = open(".", O_RDONLY | O_CLOEXEC);
    struct buf said AUTO(buf_release) = BUF_INIT;
    int r = chdir(w->dir) < 0 ? -1 : scene_heard("init --store warm", &said);

    dup2(out, 1);
    dup2(err, 2);
    if (fchdir(cwd) < 0)
        r = -1;
    close(out);
    close(err);
    close(cwd);
    return r;
}

int
worker_open(struct worker *w, const char *base, int i)
{
    memset(w, 0, sizeof(*w));
    snprintf(w->dir, sizeof(w->dir), "%s/w%d", base, i);
    snprintf(w->live, sizeof(w->live), "%s/live", w->dir);
    if (mkdir(w->dir, 0700) < 0)
        return -1;
    w->shim = shim_open((size_t)64 << 20);
    w->said = mmap(NULL, SAID_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                   -1, 0);
    if (!w->shim || w->said == MAP_FAILED)
        return -1;
    return setenv("SLUICE_STORE", "store", 1) < 0 ? -1 : warm_up(w);
}

/* A descriptor that stays open takes this number. */
static int
lowest_free(void)
{
    const int fd = dup(0);

    close(fd);
    return fd;
}

void
scene_run(struct worker *w, const struct scene *s, struct ran *out)
{
    int fd = memfd_create("err", MFD_CLOEXEC), status;
    int *done = (int *)(void *)(w->said + SAID_ROOM);
    char chunk[4096];
    ssize_t n;
    pid_t pid;

    done[0] = done[1] = 0;
    *out = (struct ran){ .err = BUF_INIT };
    pid = fork();
    if (pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC), lowest, ended;

        dup2(nowhere, 1);
        dup2(fd, 2);
        close(nowhere);
        lowest = lowest_free();
        alarm(40); /* a hang is a defect too */
        shim_arm(w->shim);
        ended = chdir(w->live) < 0 ? 99 : run_lines(s->run, done);
        done[1] = lowest_free() != lowest;
        _exit(ended);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        abort();
    out->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    out->n_done = done[0];
    out->leaked = done[1];
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(&out->err, chunk, (size_t)n);
    close(fd);
}

void
scene_look(struct worker *w, struct buf *out)
{
    pid_t pid;
    int status;

    w->said[0] = '\0'; /* before there is a child that writes there */
    pid = fork();
    if (pid == 0) {
        struct buf seen = BUF_INIT;

        if (chdir(w->live) == 0)
            scene_see(&seen, false);
        snprintf(w->said, SAID_ROOM, "%s", buf_str(&seen));
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "looking at %s: wait status %#x\n", w->live, (unsigned)status);
        abort();
    }
    buf_clear(out);
    buf_adds(out, w->said);
}

int
scene_begin(struct worker *w, const struct scene *s)
{
    const struct scene setup = { "setup", "", s->setup, 0, NULL };
    struct err err = ERR_INIT;
    char *latest AUTO(free_ptr) = NULL, *web AUTO(free_ptr) = NULL;
    struct ran ran;
    int bad;

    scene_end(w);
    shim_reset(w->shim);
    if (fs_remove_tree(AT_FDCWD, w->live, &err) < 0 || mkdir(w->live, 0700) < 0)
        return -1;
    scene_run(w, &setup, &ran);
    bad = ran.status;
    if (bad)
        fprintf(stderr, "%s: setup: %d: %s", s->name, ran.status, buf_str(&ran.err));
    buf_release(&ran.err);
    if (bad || disk_read(&w->start, w->live) < 0)
        return -1;
    scene_look(w, &w->before);
    latest = xasprintf("%s/web/m/latest", w->live);
    w->had_latest = access(latest, F_OK) == 0;
    web = xasprintf("%s/web/m", w->live);
    w->shown[0] = scene_highest(web);
    if (disk_write(&w->start, w->live) < 0)
        return -1;
    scene_run(w, s, &ran);
    bad = ran.status;
    if (bad)
        fprintf(stderr, "%s: run: %d: %s", s->name, ran.status, buf_str(&ran.err));
    buf_release(&ran.err);
    w->shown[1] = scene_highest(web);
    scene_look(w, &w->after);
    if (strstr(buf_str(&w->before), "status ") ||
        strstr(buf_str(&w->after), "status ")) {
        fprintf(stderr, "%s: looking: %s%s", s->name, buf_str(&w->before),
                buf_str(&w->after));
        bad = 1;
    }
    return bad ? -1 : 0;
}

void
scene_end(struct worker *w)
{
    disk_release(&w->start);
    buf_release(&w->before);
    buf_release(&w->after);
}
