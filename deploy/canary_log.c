/* SPDX-License-Identifier: Apache-2.0 */
/* An access log, followed across rotation as `tail -F` does it: what is read comes from
 * the file that had the name; when another has it, the rest of the old one is read
 * first. A file that gets shorter was emptied, and is read from its beginning. */
#include "deploy/canary_int.h"

#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LINE_MAX_BYTES 65536
/* A reading takes no more: what a test knows of the stable version's times comes from
 * the readings before. */
#define PIECE_BYTES 32768

/* ---- a line -------------------------------------------------------------------------
 */

static double
number_of(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    double d = NAN;
    char *end;

    if (cJSON_IsNumber(v))
        return v->valuedouble;
    if (!cJSON_IsString(v) || !v->valuestring[0])
        return NAN;
    d = strtod(v->valuestring, &end);
    return *end ? NAN : d;
}

/* 4, "4", "v4" or "fraud@4" */
static int64_t
version_of(const cJSON *o)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, "version");
    double d = number_of(o, "version");

    if (cJSON_IsString(v)) {
        const char *at = strrchr(v->valuestring, '@');
        const char *from = at ? at + 1 : v->valuestring;
        char *end;
        long long n = strtoll(from + (*from == 'v'), &end, 10);

        return *end || n < 1 ? 0 : n;
    }
    return d >= 1 && d <= 9e15 && floor(d) == d ? (int64_t)d : 0;
}

int
canary_line_parse(struct str line, const char *who, struct canary_line *out)
{
    /* not json_parse: a unit may have any bytes, and nginx writes them as they are */
    cJSON *o AUTO(json_free) = cJSON_ParseWithLength(line.p, line.n);
    const char *alias =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "alias"));
    const char *time =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "time"));
    struct err none = ERR_INIT;
    double status;

    if (!cJSON_IsObject(o))
        return -1;
    if (alias && strcmp(alias, who) != 0)
        return 0;
    status = number_of(o, "status");
    *out = (struct canary_line){ .version = version_of(o),
                                 .seconds = number_of(o, "seconds"),
                                 .score = number_of(o, "score") };
    if (!(status >= 0 && status <= 999))
        return -1;
    out->status = (int)status;
    if (isnan(out->seconds))
        out->seconds = number_of(o, "ms") / 1000;
    if (!(out->seconds >= 0 && out->seconds <= 1e9))
        out->seconds = NAN;
    if (!isfinite(out->score))
        out->score = NAN;
    if (time && clock_parse(time, &out->time_ns, &none) < 0)
        out->time_ns = 0;
    return out->version > 0;
}

/* ---- the file -----------------------------------------------------------------------
 */

struct log {
    char *path;
    char *who;  /* MODEL@ALIAS as config/nginx.conf has it */
    int fd;     /* -1: there is none yet */
    int64_t at; /* read so far */
    ino_t ino;  /* of fd */
    dev_t dev;
    struct buf rest; /* the beginning of a line */
    bool is_long;    /* of a line that is too long: its rest is dropped */
    int64_t since_ns;
};

static void
take_line(struct canary_source *s, struct log *l, struct canary_traffic *t,
          struct str line)
{
    struct canary_line got;
    int e, i = 0;

    while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' '))
        line.n--;
    if (line.n == 0)
        return;
    e = canary_line_parse(line, l->who, &got);
    if (e < 0)
        s->n_bad++;
    /* (a log has whole seconds) */
    if (e <= 0 || (got.time_ns && got.time_ns < l->since_ns))
        return;
    while (i < s->rel.n_members && s->rel.members[i].number != got.version)
        i++;
    if (i == s->rel.n_members) {
        s->n_other++;
        return;
    }
    t[i].n++;
    t[i].errors += (got.status >= 400 && got.status != 499) || got.status == 0;
    t[i].server_errors += got.status >= 500 || got.status == 0;
    if (!isnan(got.seconds))
        t[i].hist[canary_scale_find(&s->scale, got.seconds)]++;
    if (!isnan(got.score))
        canary_scores_add(&s->scores[i], got.score);
}

static void
take_bytes(struct canary_source *s, struct log *l, struct canary_traffic *t,
           const char *p, size_t n)
{
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        const size_t k = end ? (size_t)(end - p) : n;

        if (l->rest.len + k > LINE_MAX_BYTES) {
            s->n_bad += !l->is_long;
            l->is_long = true;
            buf_clear(&l->rest);
        }
        if (end && !l->is_long && l->rest.len == 0) {
            take_line(s, l, t, (struct str){ p, k });
        } else if (!l->is_long) {
            buf_add(&l->rest, p, k);
            if (end)
                take_line(s, l, t, (struct str){ buf_str(&l->rest), l->rest.len });
        }
        if (!end)
            return;
        buf_clear(&l->rest);
        l->is_long = false;
        p = end + 1;
        n -= k + 1;
    }
}

/* A piece of the file that is open; 1: there is more. */
static int
drain(struct canary_source *s, struct log *l, struct canary_traffic *t, struct err *err)
{
    char *piece AUTO(free_ptr) = xmalloc(PIECE_BYTES);
    struct stat st;
    int64_t n;

    if (fstat(l->fd, &st) < 0)
        return err_sys(err, errno, "look at %s", l->path);
    if (st.st_size < l->at) {
        l->at = 0;
        buf_clear(&l->rest);
        l->is_long = false;
    }
    n = fs_read_at(l->fd, piece, PIECE_BYTES, l->at, l->path, err);
    if (n < 0)
        return (int)n;
    take_bytes(s, l, t, piece, (size_t)n);
    l->at += n;
    return n == PIECE_BYTES;
}

/* 1: another file has the name now: it is opened, and what is left of the one before
 * is read. */
static int
reopen(struct canary_source *s, struct log *l, struct canary_traffic *t,
       struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct stat st;

    if (stat(l->path, &st) < 0) {
        if (errno == ENOENT && l->fd >= 0)
            return 0; /* moved away, and nothing in its place yet */
        return err_sys(err, errno, "look at %s", l->path);
    }
    if (l->fd >= 0 && st.st_ino == l->ino && st.st_dev == l->dev)
        return 0;
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is no regular file: a log is one",
                       l->path);
    if (fs_open(&fd, AT_FDCWD, l->path, O_RDONLY | O_CLOEXEC, 0, err) < 0)
        return -(int)err->code;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "look at %s", l->path);
    for (int e = l->fd >= 0; e > 0;)
        if ((e = drain(s, l, t, err)) < 0)
            return e;
    fs_close(&l->fd);
    l->fd = fd;
    fd = -1;
    l->at = 0;
    l->ino = st.st_ino;
    l->dev = st.st_dev;
    buf_clear(&l->rest);
    l->is_long = false;
    return 1;
}

static void
drain_events(int fd)
{
    char events[4096];

    while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
        ;
}

static int
log_read(struct canary_source *s, struct canary_traffic *t, struct err *err)
{
    struct log *l = s->state;
    int e = 0;

    drain_events(s->fd);
    if (l->fd >= 0)
        e = drain(s, l, t, err);
    if (e == 0)
        e = reopen(s, l, t, err);
    s->more = e == 1;
    return e < 0 ? e : 0;
}

/* Its directory is watched, so that a file that comes later is seen. Where that does
 * not work the file is looked at now and then. */
static int
watch(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir AUTO(free_ptr) = slash == path ? xstrdup("/")
                               : slash       ? xstrndup(path, (size_t)(slash - path))
                                             : xstrdup(".");
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (fd >= 0 && inotify_add_watch(
                       fd, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
        fs_close(&fd);
    return fd;
}

static int
log_open(struct canary_source *s, const char *rest, const cJSON *options,
         struct err *err)
{
    struct log *l = xcalloc(1, sizeof(*l));
    struct stat st;
    bool from_now;

    s->state = l;
    l->fd = -1;
    l->path = xstrdup(rest);
    l->who = canary_who(&s->rel);
    /* what the live release did so far counts, from its first whole second: a log has
     * no others */
    l->since_ns = (s->rel.intended_ns + 999999999) / 1000000000 * 1000000000;
    s->follows = true;
    canary_scale_fine(&s->scale);
    s->scores = xcalloc((size_t)s->rel.n_members, sizeof(s->scores[0]));
    if (json_bool(options, "from_now", false, &from_now, "options", err) < 0)
        return -(int)err->code;
    if (stat(rest, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is no regular file: a log is one", rest);
    s->fd = watch(rest);
    if (reopen(s, l, NULL, err) < 0) {
        if (err->sys != ENOENT)
            return -(int)err->code;
        err_clear(err); /* it may come; until then each look says so */
    }
    if (from_now && l->fd >= 0) {
        off_t end = lseek(l->fd, 0, SEEK_END);

        l->at = end > 0 ? end : 0;
        l->is_long = l->at > 0; /* a line that has begun is not ours */
        if (l->at > 0) {
            char last = '\n';

            if (fs_read_at(l->fd, &last, 1, l->at - 1, l->path, err) < 0)
                return -(int)err->code;
            l->is_long = last != '\n';
        }
    }
    return 0;
}

static void
log_close(struct canary_source *s)
{
    struct log *l = s->state;

    if (!l)
        return;
    fs_close(&l->fd);
    buf_release(&l->rest);
    free(l->path);
    free(l->who);
    free(l);
    s->state = NULL;
}

const struct canary_source_ops canary_log_ops = {
    .scheme = "log", .open = log_open, .read = log_read, .close = log_close
};
