/* SPDX-License-Identifier: Apache-2.0 */
/* Which rendered files a rollback leads to. The files of a target name every model on
 * its alias, so rendering takes time for each of them. A promotion renders what would
 * undo it; rows of undo_files say under which name, so that a rollback reads no other
 * model:
 *
 *     the files that `config` names now + what one model is to mean -> their name
 *
 * The name is the digest of the files, so whatever else they say stays as it is. Rows
 * are no facts: without one a rollback renders. */
#include "deploy/deploy_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void
undos_release(struct undos *u)
{
    for (int i = 0; i < u->n; i++)
        free(u->u[i].means);
    free(u->u);
    *u = (struct undos){ .n = 0 };
}

static void
add_members(struct buf *out, char sep, const struct deploy_member *m, int n)
{
    for (int i = 0; i < n; i++)
        buf_addf(out, "%c%" PRId64 " %d %d %s", sep, m[i].number, m[i].weight,
                 m[i].mirror, m[i].label);
}

/* All that a layout reads of a release. */
static void
add_meaning(const struct deploy_release *rel, struct buf *out)
{
    buf_addf(out, "%s %" PRId64, rel->model, rel->latest);
    add_members(out, '+', rel->members, rel->n_members);
    add_members(out, '=', rel->kept, rel->n_kept);
}

void
undos_add(struct undos *u, const struct site *s, const char *from,
          const struct deploy_release *rel, const char *to)
{
    struct buf means AUTO(buf_release) = BUF_INIT;
    struct undo *next;

    u->u = xreallocarray(u->u, (size_t)u->n + 1, sizeof(*u->u));
    next = &u->u[u->n++];
    add_meaning(rel, &means);
    *next = (struct undo){ .target_id = s->t.id, .means = buf_take(&means) };
    memcpy(next->from, from, CONFIG_ID_BYTES);
    memcpy(next->to, to, CONFIG_ID_BYTES);
}

int
undos_store(struct repo *r, const struct undos *u, const struct sites *sites,
            struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < sites->n; i++)
        if (sites->s[i].layout->render)
            e = undos_forget(r, sites->s[i].t.id, err);
    for (int i = 0; e == 0 && i < u->n; i++)
        e = db_run(r->db, err,
                   "INSERT INTO undo_files(target_id, was, means, becomes) "
                   "VALUES(?, ?, ?, ?) ON CONFLICT(target_id, was, means) DO NOTHING",
                   "ittt", u->u[i].target_id, u->u[i].from, u->u[i].means, u->u[i].to);
    return e;
}

int
undos_forget(struct repo *r, int64_t target_id, struct err *err)
{
    return db_run(r->db, err, "DELETE FROM undo_files WHERE target_id = ?", "i",
                  target_id);
}

int
undo_find(struct repo *r, struct site *s, const struct deploy_release *rel,
          char id[CONFIG_ID_BYTES], struct err *err)
{
    static const char under[] = LAYOUT_RELEASES "/";
    struct buf means AUTO(buf_release) = BUF_INIT, to AUTO(buf_release) = BUF_INIT;
    char *now AUTO(free_ptr) = NULL;
    int e = flip_read(s, LAYOUT_LINK, LAYOUT_CONFIG_LINK, &now, err);

    id[0] = '\0';
    if (e < 0 || !now || strncmp(now, under, sizeof(under) - 1) != 0)
        return e;
    add_meaning(rel, &means);
    e = db_get_text(r->db, &to, err,
                    "SELECT becomes FROM undo_files WHERE target_id = ? AND was = ? "
                    "AND means = ?",
                    "itt", s->t.id, now + sizeof(under) - 1, buf_str(&means));
    if (e <= 0 || to.len != CONFIG_ID_BYTES - 1)
        return e < 0 ? e : 0;
    memcpy(id, buf_str(&to), CONFIG_ID_BYTES);
    e = site_has_files(s, LAYOUT_RELEASES, id, err);
    if (e != 1)
        id[0] = '\0';
    return e;
}
