/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold after whatever happened to a scene. */
#include "tests/crash/crash.h"

#include "base/db.h"
#include "base/fs.h"
#include "repo/repo.h"
#include "service/service.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Whatever changes state has exactly one event: pairs that count the same. */
static const struct {
    const char *state, *events;
} facts[] = {
    { "SELECT count(*) FROM version",
      "SELECT count(*) FROM event WHERE verb IN ('push', 'import') AND outcome = 'ok' "
      "AND body LIKE '%\"new\": true%'" },
    { "SELECT count(*) FROM release WHERE state IN ('live', 'past')",
      "SELECT count(*) FROM event WHERE verb IN ('promote', 'weights', 'rollback') "
      "AND outcome = 'ok' AND body LIKE '%\"to\": %'" },
    { "SELECT count(*) FROM target",
      "SELECT count(*) FROM event WHERE verb = 'target-add' AND outcome = 'ok'" },
};

/* ---- invariants, all in a child ---- */

static bool
say(struct worker *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(w->said, SAID_ROOM, fmt, ap);
    va_end(ap);
    return false;
}

static bool
must_end(struct worker *w, const char *when, const char *line, int status, int other)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    int got = scene_heard(line, &out);

    return got == status || got == other
               ? true
               : say(w, "%s: %s ended with %d: %s", when, line, got, buf_str(&out));
}

/* ---- looking: one session for several questions, since opening a store is most of the
 * cost of a state ---- */

static cJSON *
ask(struct svc *svc, const char *verb, struct err *err)
{
    cJSON *request AUTO(json_free) = cJSON_CreateObject();
    cJSON *reply = NULL;

    if (strcmp(verb, "fsck") == 0)
        json_put_int(request, "threads", 1);
    if (svc_call(svc, verb, request, &reply, err) < 0) {
        cJSON_Delete(reply);
        return NULL;
    }
    return reply;
}

static void
see(struct svc *svc, struct buf *out, bool loose)
{
    struct err err = ERR_INIT;
    struct buf all AUTO(buf_release) = BUF_INIT;
    cJSON *reply AUTO(json_free) = svc ? ask(svc, "list", &err) : NULL;
    const char *line;

    if (reply)
        json_print(reply, &all, false);
    else
        buf_addf(out, "status %d: %s\n", err.code, err.msg);
    line = buf_str(&all);
    while (*line) {
        size_t n = strcspn(line, "\n");
        char *copy AUTO(free_ptr) = xstrndup(line, n);

        if (!strstr(copy, "\"pushed\"") && !(loose && strstr(copy, "\"number\"")))
            buf_addf(out, "%s\n", copy);
        line += n + (line[n] == '\n');
    }
}

void
scene_see(struct buf *out, bool loose)
{
    struct svc *svc AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT;

    if (access("store/format", F_OK) == 0) {
        if (svc_open(&svc, "store", &err) < 0)
            svc = NULL;
        see(svc, out, loose);
    }
}

static bool
check_facts(struct worker *w, const char *when, struct db *db)
{
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        int64_t a = -1, b = -2;

        if (db_get_int(db, &a, &err, facts[i].state, "") < 0 ||
            db_get_int(db, &b, &err, facts[i].events, "") < 0)
            return say(w, "%s: %s", when, err.msg);
        if (a != b)
            return say(w, "%s: state and log differ: %s is %ld, %s is %ld", when,
                       facts[i].state, (long)a, facts[i].events, (long)b);
    }
    return true;
}

/* A directory is the whole of some version. */
static bool
is_version(struct worker *w, const char *when, struct db *db, const char *path)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct err err = ERR_INIT;
    int64_t one;
    int r = repo_manifest_of_dir(path, &m, &err);

    if (r == 0)
        r = db_get_int(db, &one, &err, "SELECT 1 FROM version WHERE digest = ?", "b",
                       m.digest.b, sizeof(m.digest.b));
    return r == 1 ? true
                  : say(w, "%s: %s is no whole version: %s", when, path,
                        r < 0 ? err.msg : "its digest is unknown");
}

long
scene_highest(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    long highest = 0;

    while (d && (e = readdir(d)) != NULL) {
        char *end;
        const long n = strtol(e->d_name, &end, 10);

        if (*end == '\0' && n > highest)
            highest = n;
    }
    if (d)
        closedir(d);
    return highest;
}

/* Every version below `dir`, at its name followed by `inside`. */
static bool
check_versions(struct worker *w, const char *when, struct db *db, const char *dir,
               const char *inside, bool *latest)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    bool good = true;

    while (d && good && (e = readdir(d)) != NULL) {
        char path[600];

        snprintf(path, sizeof(path), "%s/%s%s", dir, e->d_name, inside);
        if (strcmp(e->d_name, "latest") == 0) {
            *latest = true;
            good = is_version(w, when, db, path);
        } else if (e->d_name[0] != '.' && strcmp(e->d_name, "config.pbtxt") != 0) {
            good = is_version(w, when, db, path);
        }
    }
    if (d)
        closedir(d);
    return good;
}

static bool
check_trees(struct worker *w, const char *when, struct db *db)
{
    bool latest = false, good;

    good = check_versions(w, when, db, "web/m", "", &latest) &&
           check_versions(w, when, db, "web/models/m", "/model.savedmodel", &latest);
    if (good && !latest && w->had_latest)
        return say(w, "%s: web/m/latest is gone", when);
    if (good && w->shown[1] > 0) {
        const long shown = scene_highest("web/m");

        if (shown != w->shown[0] && shown != w->shown[1])
            return say(w, "%s: %ld is served, not %ld or %ld", when, shown, w->shown[0],
                       w->shown[1]);
    }
    if (good && access("web/config", F_OK) < 0) {
        struct stat st;

        if (lstat("web/config", &st) == 0)
            return say(w, "%s: web/config points nowhere", when);
    }
    if (good && access("out", F_OK) == 0)
        good = is_version(w, when, db, "out");
    return good;
}

/* Nothing half-made may stay. */
static bool
check_leaks(struct worker *w, const char *when, const char *dir, bool killed)
{
    const bool after_retry = strcmp(when, "after the retry") == 0;
    DIR *d = opendir(dir);
    struct dirent *e;
    bool good = true;

    while (d && good && (e = readdir(d)) != NULL) {
        char path[1000];

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        /* what is killed leaves what it had beside its destination, and in a backup */
        if (killed &&
            ((strcmp(dir, ".") == 0 &&
              (strncmp(e->d_name, ".sluice-", 8) == 0 ||
               strstr(e->d_name, ".restoring-") || strstr(e->d_name, ".writing-"))) ||
             (strcmp(dir, "./bak") == 0 && e->d_name[0] == '.')))
            continue;
        if (strncmp(e->d_name, ".tmp-", 5) == 0 ||
            strncmp(e->d_name, ".sluice-", 8) == 0 ||
            strncmp(e->d_name, "replace-", 8) == 0 ||
            strcmp(dir, "./store/stage") == 0 ||
            strcmp(dir, "./web/.sluice/staging") == 0 ||
            (after_retry && strcmp(e->d_name, "format.unfinished") == 0))
            good = say(w, "%s: left behind: %s", when, path);
        else if (e->d_type == DT_DIR)
            good = check_leaks(w, when, path, killed);
    }
    if (d)
        closedir(d);
    return good;
}

static bool
is_allowed(struct worker *w, struct svc *svc, const struct buf *allowed, int n,
           bool loose)
{
    struct buf seen AUTO(buf_release) = BUF_INIT;

    if (svc)
        see(svc, &seen, loose);
    for (int i = 0; i < n; i++) {
        struct buf want AUTO(buf_release) = BUF_INIT;
        const char *line = buf_str(&allowed[i]);

        while (loose && *line) {
            size_t k = strcspn(line, "\n");
            char *copy AUTO(free_ptr) = xstrndup(line, k);

            if (!strstr(copy, "\"number\""))
                buf_addf(&want, "%s\n", copy);
            line += k + (line[k] == '\n');
        }
        if (!loose)
            buf_adds(&want, buf_str(&allowed[i]));
        if (strcmp(buf_str(&want), buf_str(&seen)) == 0)
            return true;
    }
    return say(w, "what is seen is none of the %d states there may be: %sthe last: %s",
               n, buf_str(&seen), buf_str(&allowed[n - 1]));
}

/* fsck found no more than a link that does not say yet what its row says. */
static bool
is_late(const struct err *err)
{
    return strstr(err->msg, "the first: target web: ") &&
           strstr(err->msg, " points at ");
}

/* The log, every object, the counts, the trees. `scene_flags`: fsck may find something.
 */
static bool
check_store(struct worker *w, struct svc *svc, const char *when, unsigned scene_flags)
{
    const bool damaged = scene_flags & SCENE_DAMAGED;
    static const char *const looks[] = { "audit_verify", "fsck" };
    struct db *db AUTO(db_close_p) = NULL;
    struct err err = ERR_INIT;

    for (size_t i = 0; i < (damaged ? 1 : 2); i++) {
        cJSON *reply AUTO(json_free) = ask(svc, looks[i], &err);

        if (!reply && !(scene_flags & SCENE_LATE && is_late(&err)))
            return say(w, "%s: %s: %s", when, looks[i], err.msg);
        err_clear(&err);
    }
    if (db_open(&db, "store/catalogue.db", 0, &err) < 0)
        return say(w, "%s: %s", when, err.msg);
    return check_facts(w, when, db) && check_trees(w, when, db);
}

/* What commands made beside the store: not there, or whole. */
static bool
check_beside(struct worker *w, const char *when, bool had_backup)
{
    struct err err = ERR_INIT;

    if (had_backup && !must_end(w, when, "backup bak --verify", 0, 0))
        return false;
    if (access("bundle", F_OK) == 0 &&
        !must_end(w, when, "init --store probe; import bundle --as m --store probe", 0,
                  0))
        return false;
    if (fs_remove_tree(AT_FDCWD, "probe", &err) < 0)
        return say(w, "%s: %s", when, err.msg);
    return access("other/format", F_OK) < 0 ||
           must_end(w, when, "fsck --store other", 0, 0);
}

static bool
check_first(struct worker *w, const struct scene *s, const struct buf *allowed,
            int n_allowed, unsigned flags)
{
    struct svc *svc AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT;

    /* between the old catalogue and the new one there may be none: docs/store.md */
    if (strcmp(s->run, "fsck --rebuild") == 0 &&
        access("store/catalogue.db", F_OK) < 0 &&
        !must_end(w, "recovery", "fsck --rebuild", 0, 0))
        return false;
    if (access("store/format", F_OK) == 0) {
        if (svc_open(&svc, "store", &err) < 0)
            return say(w, "recovery: %s", err.msg);
        if (!check_store(w, svc, "recovery", s->flags))
            return false;
    }
    return is_allowed(w, svc, allowed, n_allowed, flags & CHECK_LOOSE) &&
           check_beside(w, "recovery", strstr(s->setup, "backup bak") != NULL);
}

/* The same key: the same answer, and nothing happens twice. */
static bool
check_key(struct worker *w, const struct scene *s, const struct buf *first)
{
    struct svc *svc AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT;
    struct buf again AUTO(buf_release) = BUF_INIT;
    /* in brackets, that it was answered before */
    const size_t n = strcspn(buf_str(first), "(\n");
    int status = scene_heard(s->run, &again);

    if (status != 0 || strncmp(buf_str(&again), buf_str(first), n) != 0)
        return say(w, "the same key: %d and %s, not %s", status, buf_str(&again),
                   buf_str(first));
    if (svc_open(&svc, "store", &err) < 0)
        return say(w, "after the same key: %s", err.msg);
    return is_allowed(w, svc, &w->after, 1, true);
}

/* What is younger than a minute nobody sweeps. */
static void
age_stage(void)
{
    const struct timespec old[2] = { { .tv_sec = time(NULL) - 3600 },
                                     { .tv_sec = time(NULL) - 3600 } };
    DIR *d = opendir("store/stage");
    struct dirent *e;

    while (d && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            (void)utimensat(dirfd(d), e->d_name, old, AT_SYMLINK_NOFOLLOW);
    if (d)
        closedir(d);
}

static bool
check_all(struct worker *w, const struct scene *s, const struct buf *allowed,
          int n_allowed, unsigned flags)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct svc *svc AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT;
    int status;

    if (!check_first(w, s, allowed, n_allowed, flags))
        return false;
    if (!(flags & CHECK_KILLED) && !check_leaks(w, "after the failure", ".", false))
        return false;
    if (flags & CHECK_KILLED)
        age_stage();
    status = scene_heard(s->run, &out);
    if (status != 0 && !((status == 3 || status == 7) && s->flags & SCENE_ONCE))
        return say(w, "the retry ended with %d: %s", status, buf_str(&out));
    if (s->flags & SCENE_KEYED && !check_key(w, s, &out))
        return false;
    if (!(flags & CHECK_SHORT) || s->flags & (SCENE_DAMAGED | SCENE_LATE)) {
        if (svc_open(&svc, "store", &err) < 0)
            return say(w, "after the retry: %s", err.msg);
        if (!check_store(w, svc, "after the retry", 0) ||
            !check_beside(w, "after the retry", strstr(s->run, "backup bak") != NULL))
            return false;
    }
    return check_leaks(w, "after the retry", ".", flags & CHECK_KILLED);
}

bool
scene_check(struct worker *w, const struct scene *s, const struct buf *allowed,
            int n_allowed, unsigned flags)
{
    pid_t pid;
    int status;

    w->said[0] = '\0';
    pid = fork();
    if (pid == 0) {
        alarm(60);
        if (chdir(w->live) < 0)
            _exit(2);
        _exit(!check_all(w, s, allowed, n_allowed, flags));
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        abort();
    if (status != 0 && !w->said[0])
        snprintf(w->said, SAID_ROOM, "the check died: wait status %#x",
                 (unsigned)status);
    return status == 0;
}

static bool
ends_well(const char *line)
{
    struct buf out AUTO(buf_release) = BUF_INIT;

    return scene_heard(line, &out) == 0;
}

/* A version that was given out is what was pushed. */
static bool
gives(struct worker *w, const char *line, const char *dir)
{
    struct db *db AUTO(db_close_p) = NULL;
    struct err err = ERR_INIT;

    if (!must_end(w, "then", line, 0, 0))
        return false;
    if (db_open(&db, "store/catalogue.db", 0, &err) < 0)
        return say(w, "then: %s", err.msg);
    return is_version(w, "then", db, dir);
}

static bool
store_is_safe(struct worker *w)
{
    struct svc *svc AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT;

    if (!ends_well("fsck --threads 1") || !ends_well("audit verify"))
        return true;
    if (svc_open(&svc, "store", &err) < 0)
        return say(w, "fsck finds nothing, but: %s", err.msg);
    return is_allowed(w, svc, &w->after, 1, false) && gives(w, "pull m@1 one", "one") &&
           gives(w, "pull m@2 two", "two") && check_store(w, svc, "then", 0);
}

/* Either whoever looks finds it, or what comes out is as it was. */
static bool
bit_is_safe(struct worker *w, const char *path)
{
    if (strncmp(path, "bak/", 4) == 0)
        return !ends_well("backup bak --verify") ||
               !ends_well("restore bak --to other") ||
               (must_end(w, "restored", "fsck --store other", 0, 0) &&
                gives(w, "pull m@1 one --store other", "one"));
    if (strcmp(path, "bundle") == 0)
        return !ends_well("import bundle --as other") ||
               gives(w, "pull other@1 one", "one");
    return store_is_safe(w);
}

bool
scene_bit_is_safe(struct worker *w, const char *path)
{
    pid_t pid;
    int status;

    w->said[0] = '\0';
    pid = fork();
    if (pid == 0) {
        alarm(60);
        _exit(chdir(w->live) < 0 || !bit_is_safe(w, path));
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        abort();
    if (status != 0 && !w->said[0])
        snprintf(w->said, SAID_ROOM, "the check died: wait status %#x",
                 (unsigned)status);
    return status == 0;
}
