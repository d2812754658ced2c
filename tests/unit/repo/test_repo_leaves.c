/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/cold_fixture.h"

#define MB ((int64_t)1 << 20)

/* RFC 6962, section 2.1, as it stands there. */
static struct digest
root_of(const struct leaf *v, size_t n)
{
    struct sha256 hash;
    struct digest out;
    size_t k = 1;

    sha256_init(&hash);
    if (n == 1) {
        sha256_add(&hash, "\0", 1);
        sha256_add(&hash, v->digest.b, sizeof(v->digest.b));
    } else if (n > 1) {
        struct digest left, right;

        while (2 * k < n)
            k *= 2;
        left = root_of(v, k);
        right = root_of(v + k, n - k);
        sha256_add(&hash, "\1", 1);
        sha256_add(&hash, left.b, sizeof(left.b));
        sha256_add(&hash, right.b, sizeof(right.b));
    }
    sha256_end(&hash, &out);
    return out;
}

/* The list of a file of `size` bytes, each of which tells its place. */
static void
make_list(struct leaf_list *out, int64_t size, struct sm_hint *hints, size_t n)
{
    char *path AUTO(free_ptr) = xasprintf("%s/file", unit_dir());
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    uint32_t *p AUTO(free_ptr) = xmalloc((size_t)size + 4);
    struct err err = ERR_INIT;

    for (int64_t i = 0; 4 * i < size; i++)
        p[i] = (uint32_t)i * 2654435761u;
    CHECK_OK(fs_replace(AT_FDCWD, path, p, (size_t)size, 0644, &err));
    CHECK_OK(fs_open(&rd.whole_fd, AT_FDCWD, path, O_RDONLY, 0, &err));
    rd.size_bytes = rd.whole_bytes = size;
    CHECK_OK(leaf_list_make(out, &rd, hints, n, &err));
    /* whatever the hints were: all bytes once, in order, each leaf its own digest */
    int64_t at = 0;
    for (size_t i = 0; i < out->n; i++) {
        struct digest d;

        CHECK_INT(out->v[i].at, at);
        CHECK(out->v[i].length > 0 && out->v[i].length <= COLD_LEAF_BYTES);
        sha256_of((char *)p + at, out->v[i].length, &d);
        CHECK(digest_eq(&d, &out->v[i].digest));
        at += out->v[i].length;
    }
    CHECK_INT(at, size);
    struct digest root = root_of(out->v, out->n);
    CHECK(digest_eq(&root, &out->root));
}

TEST(test_repo_leaves__tensors_start_leaves)
{
    struct sm_hint hints[] = { { 5 * MB, 6 * MB, 7 }, { 0, 5 * MB, 9 } };
    struct leaf_list l;

    make_list(&l, 12 * MB, hints, 2);
    CHECK_INT(l.n, 5);
    CHECK_INT(l.v[1].at, 4 * MB);
    CHECK_INT(l.v[2].at, 5 * MB);
    CHECK_INT(l.v[3].at, 9 * MB);
    CHECK_INT(l.v[4].at, 11 * MB);
    CHECK(l.v[4].tag == 0 && l.v[2].tag != 0 && l.v[2].tag != l.v[3].tag);
    leaf_list_release(&l);
    make_list(&l, 0, NULL, 0);
    CHECK_INT(l.n, 0);
    leaf_list_release(&l);
}

TEST(test_repo_leaves__small_tensors_share)
{
    struct sm_hint hints[100];
    struct leaf_list l;

    for (int i = 0; i < 100; i++)
        hints[i] = (struct sm_hint){ 100 * i, 100, (uint64_t)i + 1 };
    hints[50].size_bytes = 0; /* an empty one, and with it a gap */
    make_list(&l, 20000, hints, 100);
    CHECK_INT(l.n, 4);
    leaf_list_release(&l);
}

TEST(test_repo_leaves__hints_are_not_trusted)
{
    static const struct sm_hint wrong[] = {
        { -1, 10, 1 },        { 0, INT64_MAX, 2 },   { INT64_MAX, 10, 3 },
        { INT64_MIN, 1, 4 },  { 5000, -7, 5 },       { 9 * MB, 1, 6 },
        { 4096, 8 * MB, 7 },  { 4096, 5000, 8 },     { 4096, 5000, 8 },
        { 6000, 2 * MB, 9 },  { 9 * MB - 1, 2, 10 }, { INT64_MAX, INT64_MAX, 11 },
        { 9 * MB - 1, 1, 0 },
    };
    enum { N = sizeof(wrong) / sizeof(wrong[0]) };
    struct sm_hint hints[N];
    struct leaf_list l;

    memcpy(hints, wrong, sizeof(wrong));
    make_list(&l, 9 * MB, hints, N);
    leaf_list_release(&l);
    for (int i = 0; i < N; i++) { /* and each alone */
        hints[0] = wrong[i];
        make_list(&l, 9 * MB, hints, 1);
        leaf_list_release(&l);
    }
}

TEST(test_repo_leaves__roots)
{
    struct sm_hint hints[70];

    for (int n = 1; n <= 70; n++) {
        struct leaf_list l;

        for (int i = 0; i < n; i++)
            hints[i] = (struct sm_hint){ 4096 * i, 4096, 1 };
        make_list(&l, 4096 * n, hints, (size_t)n);
        CHECK_INT(l.n, n);
        leaf_list_release(&l);
    }
}

TEST(test_repo_leaves__as_stored)
{
    struct sm_hint hints[] = { { 0, 5000, 7 }, { 5000, 5000, 9 } };
    struct leaf_list l, again;
    struct buf text = BUF_INIT;

    make_list(&l, 12000, hints, 2);
    leaf_list_format(&l, &text);
    CHECK_INT(text.len, 3 * 44);
    CHECK(leaf_list_parse(&again, (struct str){ text.data, text.len }, 12000));
    CHECK(again.n == 3 && digest_eq(&again.root, &l.root));
    CHECK_INT(again.v[1].at, 5000);
    CHECK(again.v[1].tag == l.v[1].tag);
    leaf_list_release(&again);
    CHECK(!leaf_list_parse(&again, (struct str){ text.data, text.len }, 12001));
    CHECK(!leaf_list_parse(&again, (struct str){ text.data, text.len }, 11999));
    CHECK(!leaf_list_parse(&again, (struct str){ text.data, text.len - 1 }, 12000));
    memset(text.data, 0xff, 4);
    CHECK(!leaf_list_parse(&again, (struct str){ text.data, text.len }, 12000));
    memset(text.data, 0, 4);
    CHECK(!leaf_list_parse(&again, (struct str){ text.data, text.len }, 12000));
    buf_release(&text);
    leaf_list_release(&l);
}
