/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

static int
say(void *arg, const struct repo_said *s, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s=%s;", s->key, s->text);
    return 0;
}

/* As "key=value;key=value;". */
static const char *
tags(struct fixture *f, const struct repo_version *v, struct buf *out)
{
    struct err err = ERR_INIT;

    buf_clear(out);
    CHECK_OK(repo_tags(f->r, v->id, say, out, &err));
    return buf_str(out);
}

TEST(test_repo_tag__parse)
{
    static const char *const bad[] = { "",   "=",   "=v",     "-a",
                                       ".a", "a b", "a\nb=1", "\xc3\xa4=1" };
    struct err err = ERR_INIT;
    char key[REPO_TAG_KEY_MAX + 1], longest[REPO_TAG_KEY_MAX + 2];
    const char *value;

    CHECK_OK(repo_tag_parse("stage=eval=2", key, &value, &err));
    CHECK_STR(key, "stage");
    CHECK_STR(value, "eval=2");
    CHECK_OK(repo_tag_parse("org.example/key:1-x_y", key, &value, &err));
    CHECK_STR(value, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(repo_tag_parse(bad[i], key, &value, &err), ERR_INVALID);
    CHECK_ERR(repo_tag_parse("a=\xff", key, &value, &err), ERR_INVALID);
    memset(longest, 'k', sizeof(longest));
    longest[REPO_TAG_KEY_MAX + 1] = '\0';
    CHECK_ERR(repo_tag_parse(longest, key, &value, &err), ERR_INVALID);
    CHECK_OK(repo_tag_parse(longest + 1, key, &value, &err));
    CHECK_INT(strlen(key), REPO_TAG_KEY_MAX);
}

TEST(test_repo_tag__set_and_remove)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf all AUTO(buf_release) = BUF_INIT;
    struct repo_version one, two;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    one = push(&f, "one", "m");
    two = push(&f, "two", "m");
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_tag_set(f.r, one.id, "b", "1", &err));
    CHECK_OK(repo_tag_set(f.r, one.id, "a", "", &err));
    CHECK_OK(repo_tag_set(f.r, two.id, "a", "2", &err));
    CHECK_OK(repo_tag_set(f.r, one.id, "b", "3", &err));
    CHECK_STR(tags(&f, &one, &all), "a=;b=3;");
    CHECK_STR(tags(&f, &two, &all), "a=2;");
    CHECK_INT(repo_tag_remove(f.r, one.id, "a", &err), 1);
    CHECK_INT(repo_tag_remove(f.r, one.id, "a", &err), 0);
    CHECK_STR(tags(&f, &one, &all), "b=3;");
    for (int i = 1; i < REPO_TAGS_MAX; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        CHECK_OK(repo_tag_set(f.r, one.id, key, "", &err));
    }
    CHECK_ERR(repo_tag_set(f.r, one.id, "last", "", &err), ERR_LIMIT);
    db_rollback(f.r->db);
    fixture_close(&f);
}

TEST(test_repo_tag__notes_and_pushes_stay_in_order)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf all AUTO(buf_release) = BUF_INIT;
    struct repo_version v;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "m");
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_note_add(f.r, v.id, "first\n\tline", &err));
    CHECK_OK(repo_note_add(f.r, v.id, "second", &err));
    CHECK_ERR(repo_note_add(f.r, v.id, "", &err), ERR_INVALID);
    CHECK_ERR(repo_note_add(f.r, v.id, "bell\a", &err), ERR_INVALID);
    CHECK_OK(repo_push_add(f.r, v.id, "{\"a\":\"1\"}", &err));
    CHECK_OK(repo_notes(f.r, v.id, say, &all, &err));
    CHECK_OK(repo_pushes(f.r, v.id, say, &all, &err));
    CHECK_STR(buf_str(&all), "=first\n\tline;=second;={\"a\":\"1\"};");
    CHECK_OK(db_commit(f.r->db, &err));
    fixture_close(&f);
}

/* ---- attachments ---- */

static int
attach(struct fixture *f, const struct repo_version *v, const char *type,
       const struct repo_blob *b, bool replace, struct err *err)
{
    int r = db_begin(f->r->db, err), e;

    if (r < 0)
        return r;
    r = repo_attach(f->r, v->id, type, "file", b, replace, err);
    e = r < 0 ? r : db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return e < 0 ? e : r;
}

TEST(test_repo_attach__bytes_are_objects)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct repo_version v;
    struct repo_blob a, b;
    struct stat st;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "m");
    put_text(&f, "report", "fine");
    CHECK_OK(repo_blob_put(f.r, below(&f, "report", path), 4, &a, &err));
    CHECK(a.is_new);
    CHECK_INT(a.size_bytes, 4);
    CHECK_INT(attach(&f, &v, "report", &a, false, &err), 1);
    CHECK_INT(attach(&f, &v, "report", &a, false, &err), 0);
    CHECK_INT(check_clean(&f).n_objects, 5);
    put_text(&f, "report", "finer");
    CHECK_ERR(repo_blob_put(f.r, path, 4, &b, &err), ERR_LIMIT);
    CHECK_OK(repo_blob_put(f.r, path, 5, &b, &err));
    CHECK_ERR(attach(&f, &v, "report", &b, false, &err), ERR_CONFLICT);
    CHECK_INT(attach(&f, &v, "report", &b, true, &err), 1);
    CHECK_ERR(attach(&f, &v, "Report", &b, true, &err), ERR_INVALID);
    CHECK_OK(repo_blob_copy(f.r, &b.digest, AT_FDCWD, below(&f, "copy", path), &err));
    CHECK(stat(path, &st) == 0 && st.st_size == 5);
    CHECK_ERR(repo_blob_copy(f.r, &b.digest, AT_FDCWD, path, &err), ERR_CONFLICT);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_INT(repo_detach(f.r, v.id, "report", "file", &err), 1);
    CHECK_INT(repo_detach(f.r, v.id, "report", "file", &err), 0);
    CHECK_OK(db_commit(f.r->db, &err));
    fixture_close(&f);
}

TEST(test_repo_attach__what_is_not_recorded_goes_again)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct repo_version v;
    struct repo_blob b, again;
    char path[1024], file[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "m");
    put_text(&f, "report", "fine");
    CHECK_OK(repo_blob_put(f.r, below(&f, "report", path), 100, &b, &err));
    CHECK(access(object_file(&f, &b.digest, file), F_OK) == 0);
    repo_blob_drop(f.r, &b);
    CHECK(access(file, F_OK) < 0);
    CHECK_ERR(attach(&f, &v, "report", &b, false, &err), ERR_BUSY);
    CHECK_OK(repo_blob_put(f.r, path, 100, &b, &err));
    CHECK_INT(attach(&f, &v, "report", &b, false, &err), 1);
    repo_blob_drop(f.r, &b); /* has a row by now */
    CHECK(access(file, F_OK) == 0);
    CHECK_OK(repo_blob_put(f.r, path, 100, &again, &err));
    CHECK(!again.is_new);
    CHECK_ERR(repo_blob_put(f.r, f.dir, 100, &b, &err), ERR_INVALID);
    fixture_close(&f);
}

TEST(test_repo_attach__a_damaged_one_is_not_given_out)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct repo_version v;
    struct repo_blob b;
    char path[1024], file[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "m");
    put_text(&f, "report", "fine");
    CHECK_OK(repo_blob_put(f.r, below(&f, "report", path), 100, &b, &err));
    CHECK_INT(attach(&f, &v, "report", &b, false, &err), 1);
    overwrite(object_file(&f, &b.digest, file), 0, "bad!", 4);
    CHECK_ERR(repo_blob_copy(f.r, &b.digest, AT_FDCWD, below(&f, "copy", path), &err),
              ERR_CORRUPT);
    CHECK(access(path, F_OK) < 0);
    fixture_close(&f);
}

/* ---- settings ---- */

TEST(test_repo_setting__values_are_checked)
{
    static const char *const bad[] = { "",      "allo", "allowed", "refuse|allow",
                                       "Allow", "|" };
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf value AUTO(buf_release) = BUF_INIT;
    int64_t n;

    fixture_new(&f);
    CHECK_INT(repo_setting_get(f.r, "unrecorded_reads", &value, &err), 0);
    CHECK_STR(buf_str(&value), "refuse");
    CHECK_OK(db_begin(f.r->db, &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(repo_setting_set(f.r, "unrecorded_reads", bad[i], &err), ERR_INVALID);
    CHECK_OK(repo_setting_set(f.r, "unrecorded_reads", "allow", &err));
    CHECK_INT(repo_setting_is(f.r, "unrecorded_reads", "allow", &err), 1);
    CHECK_ERR(repo_setting_set(f.r, "idempotency_days", "3651", &err), ERR_INVALID);
    CHECK_ERR(repo_setting_set(f.r, "idempotency_days", " 3", &err), ERR_INVALID);
    CHECK_OK(repo_setting_set(f.r, "idempotency_days", "3650", &err));
    CHECK_OK(repo_setting_int(f.r, "idempotency_days", &n, &err));
    CHECK_INT(n, 3650);
    CHECK_OK(repo_setting_set(f.r, "idempotency_days", NULL, &err));
    CHECK_OK(repo_setting_int(f.r, "idempotency_days", &n, &err));
    CHECK_INT(n, 7);
    CHECK_ERR(repo_setting_set(f.r, "colour", "red", &err), ERR_NOTFOUND);
    CHECK_OK(db_commit(f.r->db, &err));
    fixture_close(&f);
}

TEST(test_repo_setting__defaults_are_values)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(db_begin(f.r->db, &err));
    for (int i = 0; i < repo_n_settings(); i++)
        CHECK_OK(repo_setting_set(f.r, repo_setting_at(i)->key,
                                  repo_setting_at(i)->standard, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    fixture_close(&f);
}
