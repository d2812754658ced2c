/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/samples.h"

/* Columns: pickle, key, dtype, shape, bytes. */
static void
as_numpy(char **column)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor_list l;
    bool is_dict;
    add_hex(&b, column[0]);
    CHECK(column[2][0] == '-' || sm_is_pickle(str_buf(&b)) ||
          strchr("IKLMGFVXJ", b.data[0]));
    if (sm_pickle_read(str_buf(&b), "f", NULL, &l, &is_dict, &err) < 0) {
        unit_fail(__FILE__, __LINE__, "%.100s: %s", column[0], err.msg);
    } else {
        CHECK(is_dict == (column[1][0] != '-'));
        const struct sm_tensor *t = sm_tensor_list_find(&l, is_dict ? column[1] : "");
        CHECK(t != NULL);
        if (t)
            check_sample(t, column[0], column + 2);
        sm_tensor_list_release(&l);
    }
    /* No cut reads as something else. */
    for (size_t n = 0; n < b.len; n += b.len / 40 + 1) {
        err_clear(&err);
        CHECK(sm_pickle_read((struct str){ b.data, n }, "f", NULL, &l, &is_dict, &err) <
              0);
    }
    buf_release(&b);
}

TEST(test_sm_pickle__values_are_numpys) { each_sample("pickles.tsv", 5, as_numpy); }

static void
refused(struct str bytes, enum err_code code, const char *part)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l;
    bool is_dict;
    int rc = sm_pickle_read(bytes, "f.pkl", NULL, &l, &is_dict, &err);
    if (rc != -(int)code || !strstr(err.msg, part) || !strstr(err.msg, "f.pkl: "))
        unit_fail(__FILE__, __LINE__, "%s: %d %s", part, rc, err.msg);
    CHECK(l.n == 0);
}
#define BYTES(s) ((struct str){ s, sizeof(s) - 1 })

TEST(test_sm_pickle__programs_are_refused)
{
    refused(BYTES("cos\nsystem\n(S'true'\ntR."), ERR_UNSUPPORTED,
            "offset 0: it wants os.system");
    refused(BYTES("\x80\4\x8c\2os\x8c\6system\x93."), ERR_UNSUPPORTED,
            "it wants os.system");
    refused(BYTES("c__builtin__\neval\n."), ERR_UNSUPPORTED, "__builtin__.eval");
    refused(BYTES("cnumpy\nload\n."), ERR_UNSUPPORTED, "numpy.load");
    refused(BYTES("(S'x'\nios\nsystem\n."), ERR_UNSUPPORTED, "opcode INST");
    refused(BYTES("\x80\2)\x81."), ERR_UNSUPPORTED, "opcode NEWOBJ ");
    refused(BYTES("P1\n."), ERR_UNSUPPORTED, "offset 0: opcode PERSID");
    refused(BYTES("\x82\1."), ERR_UNSUPPORTED, "opcode EXT1");
    refused(BYTES("\x97."), ERR_UNSUPPORTED, "opcode NEXT_BUFFER");
    refused(BYTES("cnumpy\nndarray\n)R."), ERR_UNSUPPORTED, "a call that");
    refused(BYTES("c__builtin__\nlist\n(K\1tR."), ERR_UNSUPPORTED, "a call that");
    refused(BYTES("]]b."), ERR_UNSUPPORTED, "BUILD of something");
    refused(BYTES("c_codecs\nencode\n(Va\nVutf-16\ntR."), ERR_UNSUPPORTED, "latin1");
}

TEST(test_sm_pickle__malformed)
{
    refused(BYTES(""), ERR_CORRUPT, "there is no STOP");
    refused(BYTES("."), ERR_CORRUPT, "too few values");
    refused(BYTES("\x80\6."), ERR_UNSUPPORTED, "protocol 6");
    refused(BYTES("\xff."), ERR_CORRUPT, "0xff is no opcode");
    refused(BYTES("(."), ERR_CORRUPT, "too few values");
    refused(BYTES("t."), ERR_CORRUPT, "no mark");
    refused(BYTES("(K\1d."), ERR_CORRUPT, "half an item");
    refused(BYTES("K\1K\2a."), ERR_CORRUPT, "no list");
    refused(BYTES("B\xff\xff\xff\xff."), ERR_CORRUPT, "cut off");
    refused(BYTES("]j\5\0\0\0."), ERR_CORRUPT, "memo entry 5 was never put");
    refused(BYTES("]r\xff\xff\xff\xff."), ERR_LIMIT, "memo entry 4294967295");
    refused(BYTES("]p-1\n."), ERR_CORRUPT, "negative");
    refused(BYTES("N."), ERR_UNSUPPORTED, "no array");
    refused(BYTES("]Na."), ERR_UNSUPPORTED, "holds None");
    refused(BYTES("}K\1K\2s."), ERR_UNSUPPORTED, "no string");
    refused(BYTES("\x8a\x09\0\0\0\0\0\0\0\0\1."), ERR_UNSUPPORTED, "beyond 64 bits");
    refused(BYTES("S'\\q'\n."), ERR_CORRUPT, "malformed string");
    refused(BYTES("V\\uD800\n."), ERR_CORRUPT, "malformed string");
}

/* A list in itself, and a list that doubles twenty times. */
TEST(test_sm_pickle__bombs)
{
    struct buf b = BUF_INIT;
    refused(BYTES("]q\0h\0a."), ERR_LIMIT, "nested more than");
    buf_adds(&b, "]K\1a");
    for (int i = 0; i < 30; i++) {
        buf_addc(&b, 'q');
        buf_addc(&b, (char)i);
        buf_adds(&b, "0](h");
        buf_addc(&b, (char)i);
        buf_addc(&b, 'h');
        buf_addc(&b, (char)i);
        buf_addc(&b, 'e');
    }
    buf_addc(&b, '.');
    refused(str_buf(&b), ERR_LIMIT, "");
    buf_release(&b);
}

/* What nobody asks for may be anything that makes plain values. */
TEST(test_sm_pickle__one_key_of_a_dict)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l;
    bool is_dict;
    struct str mixed = BYTES("(dVx\nI1\nsVy\nNs.");
    CHECK_OK(sm_pickle_read(mixed, "f", "x", &l, &is_dict, &err));
    CHECK(is_dict && l.n == 1 && *(int64_t *)l.v[0].t.data == 1);
    sm_tensor_list_release(&l);
    refused(mixed, ERR_UNSUPPORTED, "key \"y\": it is no array");
}
