/* SPDX-License-Identifier: Apache-2.0 */
/* Who may read a model's directory in a target, as the grants say. Files are links to
 * objects: one owner, one mode for all places they show in. So rights are those of the
 * directory above them alone, written as one POSIX ACL, which carries the mode: it
 * changes in one step. An ACL of three entries is a plain mode. */
#include "deploy/deploy_int.h"

#include <endian.h>
#include <errno.h>
#include <grp.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL "system.posix_acl_access"
#define ACL_MAX_BYTES 65536 /* of any extended attribute */
#define NO_ID ((uint32_t)ACL_UNDEFINED_ID)

/* An ACL as the kernel has it, and the group that its own entry is about. */
struct rights {
    struct buf acl;
    gid_t gid;
};

static void
rights_release(struct rights *x)
{
    buf_release(&x->acl);
}

/* ---- what it should be ---- */

static void
add_entry(struct buf *acl, uint16_t tag, uint16_t perm, uint32_t id)
{
    const struct posix_acl_xattr_entry e = { htole16(tag), htole16(perm), htole32(id) };

    buf_add(acl, &e, sizeof(e));
}

static void
begin(struct buf *acl)
{
    const struct posix_acl_xattr_header h = { htole32(POSIX_ACL_XATTR_VERSION) };

    buf_add(acl, &h, sizeof(h));
}

static void
from_mode(struct buf *acl, mode_t mode)
{
    begin(acl);
    add_entry(acl, ACL_USER_OBJ, mode >> 6 & 7, NO_ID);
    add_entry(acl, ACL_GROUP_OBJ, mode >> 3 & 7, NO_ID);
    add_entry(acl, ACL_OTHER, mode & 7, NO_ID);
}

static int
find_group(const char *name, gid_t *out, struct err *err)
{
    char text[16384];
    struct group gr, *found = NULL;

    if (getgrnam_r(name, &gr, text, sizeof(text), &found) != 0 || !found)
        return err_set(err, ERR_USAGE, "there is no group \"%s\" on this machine",
                       name);
    *out = gr.gr_gid;
    return 0;
}

struct uids {
    uid_t *v;
    int n;
    uid_t owner;
};

static int
add_reader(void *arg, uid_t uid, struct err *err)
{
    struct uids *u = arg;

    (void)err;
    for (int i = 0; i < u->n; i++)
        if (u->v[i] == uid)
            return 0;
    if (uid == u->owner)
        return 0;
    u->v = xreallocarray(u->v, (size_t)u->n + 1, sizeof(*u->v));
    u->v[u->n++] = uid;
    return 0;
}

static int
by_number(const void *a, const void *b)
{
    const uid_t x = *(const uid_t *)a, y = *(const uid_t *)b;

    return x < y ? -1 : x > y;
}

static bool
by_grants(const struct site *s)
{
    const char *readers = s->t.option[DEPLOY_READERS];

    return readers && strcmp(readers, "grants") == 0;
}

/* Without a group of its own nobody reads by a group. */
static int
wanted(struct repo *r, const struct site *s, const char *model, struct rights *out,
       struct err *err)
{
    const char *group = s->t.option[DEPLOY_GROUP];
    const uint16_t by_group = group ? ACL_READ | ACL_EXECUTE : 0;
    struct uids u = { .owner = r->owner_uid };
    int e = group ? find_group(group, &out->gid, err) : 0;

    if (e == 0 && by_grants(s))
        e = acc_readers(r->acc, acc_alias(model, s->t.alias), add_reader, &u, err);
    if (e == 0 && u.n == 0) {
        from_mode(&out->acl, by_grants(s) ? (mode_t)(0700 | by_group << 3) : 0755);
    } else if (e == 0) {
        qsort(u.v, (size_t)u.n, sizeof(*u.v), by_number);
        begin(&out->acl);
        add_entry(&out->acl, ACL_USER_OBJ, ACL_READ | ACL_WRITE | ACL_EXECUTE, NO_ID);
        for (int i = 0; i < u.n; i++)
            add_entry(&out->acl, ACL_USER, ACL_READ | ACL_EXECUTE, u.v[i]);
        add_entry(&out->acl, ACL_GROUP_OBJ, by_group, NO_ID);
        add_entry(&out->acl, ACL_MASK, ACL_READ | ACL_EXECUTE, NO_ID);
        add_entry(&out->acl, ACL_OTHER, 0, NO_ID);
    }
    free(u.v);
    return e;
}

/* ---- what it is ---- */

static int
present(int fd, const char *path, struct rights *out, struct err *err)
{
    struct stat st;
    char *room;
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    out->gid = st.st_gid;
    room = xmalloc(ACL_MAX_BYTES);
    n = fgetxattr(fd, ACL, room, ACL_MAX_BYTES);
    if (n >= 0)
        buf_add(&out->acl, room, (size_t)n);
    free(room);
    if (n >= 0)
        return 0;
    if (errno != ENODATA && errno != EOPNOTSUPP)
        return err_sys(err, errno, "read the ACL of %s", path);
    from_mode(&out->acl, st.st_mode);
    return 0;
}

static bool
same_acl(const struct rights *a, const struct rights *b)
{
    return a->acl.len == b->acl.len &&
           memcmp(buf_str(&a->acl), buf_str(&b->acl), a->acl.len) == 0;
}

/* "u::rwx,u:1000:r-x,g::---,m::r-x,o::---" */
static void
acl_text(const struct buf *acl, struct buf *out)
{
    const size_t head = sizeof(struct posix_acl_xattr_header);
    struct posix_acl_xattr_entry e;

    for (size_t at = head; at + sizeof(e) <= acl->len; at += sizeof(e)) {
        memcpy(&e, buf_str(acl) + at, sizeof(e));
        const unsigned tag = le16toh(e.e_tag), perm = le16toh(e.e_perm);

        buf_addf(out, "%s%c:", at > head ? "," : "",
                 tag == ACL_USER_OBJ || tag == ACL_USER     ? 'u'
                 : tag == ACL_GROUP_OBJ || tag == ACL_GROUP ? 'g'
                 : tag == ACL_MASK                          ? 'm'
                                                            : 'o');
        if (tag == ACL_USER || tag == ACL_GROUP)
            buf_addf(out, "%u", le32toh(e.e_id));
        buf_addf(out, ":%c%c%c", perm & ACL_READ ? 'r' : '-',
                 perm & ACL_WRITE ? 'w' : '-', perm & ACL_EXECUTE ? 'x' : '-');
    }
}

/* ---- making it so ---- */

static int
cannot(struct err *err, int error, const char *path)
{
    if (error == EOPNOTSUPP)
        return err_set(err, ERR_UNSUPPORTED,
                       "the file system of %s has no ACLs, which readers \"grants\" "
                       "needs: mount it with them, or take --readers all",
                       path);
    if (error == ENOSPC || error == E2BIG)
        return err_set(err, ERR_LIMIT,
                       "more users hold grants than an ACL on %s takes: put them into "
                       "one group (--group), and take the grants back",
                       path);
    return err_sys(err, error, "change who may read %s", path);
}

static int
set_acl(int fd, const char *path, const struct buf *acl, struct err *err)
{
    const struct posix_acl_xattr_entry *e =
        (const void *)(buf_str(acl) + sizeof(struct posix_acl_xattr_header));
    const bool is_mode =
        acl->len == sizeof(struct posix_acl_xattr_header) + 3 * sizeof(*e);

    if (fsetxattr(fd, ACL, buf_str(acl), acl->len, 0) == 0)
        return fs_fsync(fd, path, err);
    if (errno != EOPNOTSUPP || !is_mode)
        return cannot(err, errno, path);
    if (fchmod(fd, (mode_t)(le16toh(e[0].e_perm) << 6 | le16toh(e[1].e_perm) << 3 |
                            le16toh(e[2].e_perm))) < 0)
        return err_sys(err, errno, "chmod %s", path);
    return fs_fsync(fd, path, err);
}

bool
site_has_rights(const struct site *s)
{
    return s->t.option[DEPLOY_READERS] || s->t.option[DEPLOY_GROUP];
}

/* The directory of a model, opened: 1, or 0: there is none. */
static int
open_model(const struct site *s, const char *model, struct buf *path, int *fd,
           struct err *err)
{
    site_model_path(s, model, path);
    if (fs_open_dir(fd, s->dirfd, buf_str(path), err) == 0)
        return 1;
    if (err->sys != ENOENT)
        return -(int)err->code;
    err_clear(err);
    return 0;
}

/* The group first: what the ACL gives to a group must never be given to another. */
static int
change(int fd, const char *path, const struct rights *want, const struct rights *now,
       struct err *err)
{
    const struct buf *acl = &want->acl;

    if (want->gid != now->gid && fchown(fd, (uid_t)-1, want->gid) < 0)
        return errno == EPERM ? err_set(err, ERR_DENIED,
                                        "%s: only root, or a member of the group, can "
                                        "give a directory to it",
                                        path)
                              : err_sys(err, errno, "chgrp %s", path);
    return same_acl(want, now) ? 0 : set_acl(fd, path, acl, err);
}

int
site_rights(struct repo *r, struct site *s, const char *model, struct err *err)
{
    struct rights want AUTO(rights_release) = { .acl = BUF_INIT };
    struct rights now AUTO(rights_release) = { .acl = BUF_INIT };
    struct buf path AUTO(buf_release) = BUF_INIT;
    int fd AUTO(fs_close) = -1;
    int e = open_model(s, model, &path, &fd, err);

    if (e <= 0)
        return e;
    e = present(fd, buf_str(&path), &now, err);
    want.gid = now.gid;
    if (e == 0)
        e = wanted(r, s, model, &want, err);
    if (e == 0)
        e = change(fd, buf_str(&path), &want, &now, err);
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 0;
}

int
site_rights_all(struct repo *r, struct site *s, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err, "SELECT name FROM model", "");

    while (e >= 0 && (e = db_step(st, err)) == 1)
        e = site_rights(r, s, db_text(st, 0), err);
    return e;
}

int
site_rights_check(struct site *s, struct err *err)
{
    const char *group = s->t.option[DEPLOY_GROUP];
    gid_t gid, mine[1024];
    bool member = geteuid() == 0;
    int n, e = group ? find_group(group, &gid, err) : 0;

    if (e < 0)
        return e;
    if (by_grants(s) && fgetxattr(s->dirfd, ACL, NULL, 0) < 0 && errno == EOPNOTSUPP)
        return cannot(err, EOPNOTSUPP, s->t.dir);
    if (!group || member || gid == getegid())
        return 0;
    n = getgroups(sizeof(mine) / sizeof(mine[0]), mine);
    for (int i = 0; i < n; i++)
        member |= mine[i] == gid;
    return member
               ? 0
               : err_set(err, ERR_DENIED,
                         "you are no member of group %s: only root, or a member, can "
                         "give directories to it",
                         group);
}

int
site_rights_differ(struct repo *r, struct site *s, const char *model,
                   void (*fn)(void *arg, const char *kind, const char *wanted,
                              const char *saw),
                   void *arg, struct err *err)
{
    struct rights want AUTO(rights_release) = { .acl = BUF_INIT };
    struct rights now AUTO(rights_release) = { .acl = BUF_INIT };
    struct buf path AUTO(buf_release) = BUF_INIT;
    struct buf text AUTO(buf_release) = BUF_INIT, saw AUTO(buf_release) = BUF_INIT;
    int fd AUTO(fs_close) = -1;
    int e = site_has_rights(s) ? open_model(s, model, &path, &fd, err) : 0;

    if (e <= 0)
        return e;
    e = present(fd, buf_str(&path), &now, err);
    want.gid = now.gid;
    if (e == 0)
        e = wanted(r, s, model, &want, err);
    if (e < 0)
        return e;
    if (want.gid != now.gid) {
        buf_addf(&text, "group %u", (unsigned)want.gid);
        buf_addf(&saw, "group %u", (unsigned)now.gid);
        fn(arg, "group", buf_str(&text), buf_str(&saw));
    }
    if (!same_acl(&want, &now)) {
        buf_clear(&text);
        buf_clear(&saw);
        acl_text(&want.acl, &text);
        acl_text(&now.acl, &saw);
        fn(arg, "acl", buf_str(&text), buf_str(&saw));
    }
    return 0;
}

/* ---- after a grant ---- */

static int
apply(struct repo *r, struct sites *one, const char *model, struct err *err)
{
    int e = sites_lock(one, DEPLOY_LOCK_MS, err);

    if (e < 0)
        return e;
    return strcmp(model, "*") == 0 ? site_rights_all(r, one->s, err)
                                   : site_rights(r, one->s, model, err);
}

int
deploy_rights_apply(struct repo *r, const char *model, cJSON *out, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    int e = sites_load(r, NULL, &all, err);

    for (int i = 0; e == 0 && i < all.n; i++) {
        struct sites one = { .s = &all.s[i], .n = 1 };
        struct err why = ERR_INIT;
        cJSON *o;

        if (!by_grants(&all.s[i]))
            continue;
        o = cJSON_CreateObject();
        json_put_str(o, "target", all.s[i].t.name);
        json_put_bool(o, "shown", apply(r, &one, model, &why) == 0);
        json_put_str(o, "why_not", why.code == ERR_OK ? NULL : why.msg);
        cJSON_AddItemToArray(out, o);
        sites_unlock(&one);
    }
    return e;
}
