/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/incoming.h"

#include "repo/repo_int.h"
#include "tests/unit/repo/repo_fixture.h"

struct pair {
    struct fixture f;
    struct repo_version v; /* of another store */
    struct repo_manifest m;
    struct buf text;
    struct repo *to;
    struct repo_incoming in;
};

/* The bytes that the other store sends of file i, into a file; their number. */
static int64_t
sent(struct pair *p, int i, int64_t offset_bytes, char *out, size_t room)
{
    const char *paths[] = { p->m.files[i].path };
    struct err err = ERR_INIT;
    FILE *file = tmpfile();
    ssize_t n;

    CHECK(file != NULL);
    CHECK_OK(
        repo_send(p->f.r, &p->v.digest, paths, 1, offset_bytes, fileno(file), &err));
    n = pread(fileno(file), out, room, 0);
    fclose(file);
    return n;
}

static void
pair_open(struct pair *p)
{
    const struct db_schema schemas[] = { acc_schema, repo_schema };
    char path[1024];
    struct err err = ERR_INIT;

    *p = (struct pair){ .in = REPO_INCOMING_INIT };
    fixture_new(&p->f);
    put_model(&p->f, "one", "1");
    p->v = push(&p->f, "one", "a");
    CHECK_OK(repo_manifest_get(p->f.r, &p->v.digest, &p->m, &err));
    repo_manifest_format(&p->m, &p->text);
    CHECK_OK(repo_init(below(&p->f, "other", path), schemas, 2, &err));
    CHECK_OK(repo_open(&p->to, path, schemas, 2, &err));
    CHECK_OK(repo_incoming_open(&p->in, p->to, &err));
}

static void
pair_close(struct pair *p)
{
    repo_incoming_close(&p->in);
    repo_manifest_release(&p->m);
    buf_release(&p->text);
    repo_close(p->to);
    fixture_close(&p->f);
}

static int
take_list(struct pair *p, struct err *err)
{
    return repo_incoming_manifest(
        &p->in, (struct str){ buf_str(&p->text), p->text.len }, &p->v.digest, err);
}

static void
take_all(struct pair *p)
{
    char bytes[4096];
    struct err err = ERR_INIT;

    for (int i = 0; i < p->m.n_files; i++) {
        int64_t n;
        int e = repo_incoming_file(&p->in, i, &err);

        CHECK_OK(e);
        if (e == 0)
            continue;
        n = sent(p, i, p->in.at_bytes, bytes, sizeof(bytes));
        CHECK_OK(repo_incoming_write(&p->in, i, bytes, (size_t)n, &err));
        CHECK_INT(repo_incoming_file(&p->in, i, &err), 0);
    }
    CHECK_OK(repo_incoming_sync(&p->in, &err));
}

static int
add(struct pair *p, int64_t number, struct repo_version *v, bool *is_new,
    struct err *err)
{
    int e = db_begin(p->to->db, err);

    if (e == 0)
        e = repo_incoming_add(&p->in, "a", number, "{}", v, is_new, err);
    if (e == 0)
        e = db_commit(p->to->db, err);
    db_rollback(p->to->db);
    return e;
}

TEST(test_repo_incoming__numbers_stay_also_below_others)
{
    struct pair p;
    struct repo_version v;
    struct err err = ERR_INIT;
    bool is_new;

    pair_open(&p);
    CHECK_OK(take_list(&p, &err));
    take_all(&p);
    CHECK_OK(add(&p, 7, &v, &is_new, &err));
    CHECK(is_new && digest_eq(&v.digest, &p.v.digest));
    CHECK_INT(v.number, 7);
    CHECK_OK(add(&p, 7, &v, &is_new, &err));
    CHECK(!is_new);
    CHECK_OK(add(&p, 3, &v, &is_new, &err)); /* there they were pushed again */
    CHECK(is_new);
    CHECK_INT(v.number, 3);

    put_model(&p.f, "two", "2"); /* other bytes under a number that is known */
    p.v = push(&p.f, "two", "a");
    repo_manifest_release(&p.m);
    buf_clear(&p.text);
    CHECK_OK(repo_manifest_get(p.f.r, &p.v.digest, &p.m, &err));
    repo_manifest_format(&p.m, &p.text);
    CHECK_OK(take_list(&p, &err));
    take_all(&p);
    CHECK_ERR(add(&p, 7, &v, &is_new, &err), ERR_CONFLICT);
    CHECK_OK(add(&p, 5, &v, &is_new, &err));
    pair_close(&p);
}

TEST(test_repo_incoming__what_came_is_gone_on_with_and_not_believed)
{
    struct pair p;
    char bytes[4096];
    int64_t n;
    struct err err = ERR_INIT;

    pair_open(&p);
    CHECK_OK(take_list(&p, &err));
    n = sent(&p, 0, 0, bytes, sizeof(bytes));
    CHECK_INT(n, p.m.files[0].size_bytes);
    CHECK_INT(repo_incoming_file(&p.in, 0, &err), 1);
    CHECK_OK(repo_incoming_write(&p.in, 0, bytes, 3, &err));
    CHECK_INT(repo_incoming_file(&p.in, 0, &err), 1);
    CHECK_INT(p.in.at_bytes, 3);
    bytes[3] ^= 1;
    CHECK_OK(repo_incoming_write(&p.in, 0, bytes + 3, (size_t)n - 3, &err));
    CHECK_ERR(repo_incoming_write(&p.in, 0, "x", 1, &err), ERR_CORRUPT);
    CHECK_ERR(repo_incoming_file(&p.in, 0, &err), ERR_CORRUPT);
    CHECK_INT(repo_incoming_file(&p.in, 0, &err), 1);
    CHECK_INT(p.in.at_bytes, 0);
    buf_addc(&p.text, '\n');
    CHECK_ERR(take_list(&p, &err), ERR_CORRUPT);
    pair_close(&p);
}

TEST(test_repo_incoming__one_at_a_time)
{
    struct pair p;
    struct repo_incoming second;
    struct err err = ERR_INIT;

    pair_open(&p);
    CHECK_ERR(repo_incoming_open(&second, p.to, &err), ERR_BUSY);
    pair_close(&p);
}

TEST(test_repo_incoming__a_number_whose_row_was_lost_is_taken_by_the_same_bytes)
{
    struct pair p;
    struct repo_version v;
    struct err err = ERR_INIT;
    bool is_new;

    pair_open(&p);
    CHECK_OK(take_list(&p, &err));
    take_all(&p);
    CHECK_OK(db_begin(p.to->db, &err));
    CHECK_OK(repo_incoming_add(&p.in, "a", 7, "{}", &v, &is_new, &err));
    db_rollback(p.to->db); /* its file is there */
    take_all(&p);
    CHECK_OK(add(&p, 7, &v, &is_new, &err));
    CHECK_INT(v.number, 7);
    pair_close(&p);
}
