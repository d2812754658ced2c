/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/samples.h"

/* Columns: expression, dtype, shape, SHA-256 of NumPy's bytes. */
static void
as_numpy(char **column)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    struct buf bytes = BUF_INIT;
    struct digest d;
    char hex[DIGEST_HEX_BYTES];
    if (sm_expr_read(column[0], &t, &err) < 0) {
        unit_fail(__FILE__, __LINE__, "%s: %s", column[0], err.msg);
        return;
    }
    check_form(&t, column[0], column + 1);
    sample_bytes(&t, &bytes);
    sha256_of(bytes.data, bytes.len, &d);
    digest_hex(&d, hex);
    if (strcmp(hex, column[3]) != 0) {
        struct buf text = BUF_INIT;
        sm_tensor_text(&t, &text);
        unit_fail(__FILE__, __LINE__, "%s: other values: %.300s", column[0],
                  buf_str(&text));
        buf_release(&text);
    }
    buf_release(&bytes);
    sm_tensor_release(&t);
}

TEST(test_sm_expr__values_are_numpys) { each_sample("expressions.tsv", 4, as_numpy); }

TEST(test_sm_expr__refuses_by_name)
{
    static const struct {
        const char *text, *part;
        enum err_code code;
    } cases[] = {
        { "np.frob(2)", "'frob' is not one of the calls that are read", ERR_INVALID },
        { "np.ones(2) * 3", "'* 3' behind the call is not read", ERR_INVALID },
        { "np.ones(2).tolist()", "'.tolist()' behind the call", ERR_INVALID },
        { "np.ones(2", "')' is missing", ERR_INVALID },
        { "np.ones", "'(' is missing", ERR_INVALID },
        { "np.ones()", "the shape is missing", ERR_INVALID },
        { "np.ones(2, 3)", "'3' is no dtype", ERR_INVALID },
        { "np.ones(2, float, 3)", "too many arguments", ERR_INVALID },
        { "np.ones(2, shape=3)", "argument 1 is given twice", ERR_INVALID },
        { "np.ones(2, order='C')", "argument 'order' is not understood", ERR_INVALID },
        { "np.ones(,2)", "an argument is empty", ERR_INVALID },
        { "np.ones(-1)", "a dimension of -1", ERR_INVALID },
        { "np.ones((1 << 3))", "column", ERR_INVALID },
        { "np.ones((9999999, 9999999))", "elements (limit", ERR_LIMIT },
        { "np.ones((9223372036854775807, 9))", "", ERR_LIMIT },
        { "np.full((99999, 99), 'abcdefghijkl').astype(float)", "do not become",
          ERR_INVALID },
        { "np.arange(1e300)", "elements (limit", ERR_LIMIT },
        { "np.arange(0, 1, 0)", "a step of zero", ERR_INVALID },
        { "np.arange(np.nan)", "no number", ERR_INVALID },
        { "np.arange(np.ones(2))", "no plain number", ERR_INVALID },
        { "np.arange(250, 260, dtype=np.int8)", "no DT_INT8", ERR_INVALID },
        { "np.array([300], dtype=np.uint8)", "300, which is no DT_UINT8", ERR_INVALID },
        { "np.array([1e30]).astype(np.int32)", "no DT_INT32", ERR_INVALID },
        { "np.array([1], dtype=np.float128)", "is no dtype", ERR_INVALID },
        { "np.linspace(0, 1, -1)", "-1 samples", ERR_INVALID },
        { "np.linspace(0, 1, 3, endpoint=0)", "True or False", ERR_INVALID },
        { "np.arange(6).reshape(4, -1)", "6 elements do not fit", ERR_INVALID },
        { "np.arange(6).reshape(-1, -1)", "malformed shape", ERR_INVALID },
        { "np.random.rand(2)", "np.random.rand: of np.random only RandomState",
          ERR_INVALID },
        { "np.random.RandomState()", "the seed is missing", ERR_INVALID },
        { "np.random.RandomState(-1).rand()", "between 0 and 2^32", ERR_INVALID },
        { "np.random.RandomState(0)", ".rand(2, 3) follows", ERR_INVALID },
        { "np.random.RandomState(0).bytes(3)", "'bytes' is not one of", ERR_INVALID },
        { "np.random.RandomState(0).randint(3, 3)", "no integers", ERR_INVALID },
        { "np.random.RandomState(0).randint(0, 300, dtype='u1')", "no integers",
          ERR_INVALID },
        { "np.random.RandomState(0).normal(0, -1)", "below zero", ERR_INVALID },
        { "__import__('os').system('true')", "not a Python literal", ERR_INVALID },
        { "np.load('x.npy')", "'load' is not one of", ERR_INVALID },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = ERR_INIT;
        struct sm_tensor t;
        int rc = sm_expr_read(cases[i].text, &t, &err);
        if (rc != -(int)cases[i].code || !strstr(err.msg, cases[i].part))
            unit_fail(__FILE__, __LINE__, "%s: %d %s", cases[i].text, rc, err.msg);
        CHECK(t.owned == NULL);
        sm_tensor_release(&t);
    }
}

TEST(test_sm_expr__nests_so_deep)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    for (int i = 0; i < 18; i++)
        buf_adds(&b, "np.array(");
    buf_addc(&b, '1');
    for (int i = 0; i < 18; i++)
        buf_addc(&b, ')');
    CHECK_ERR(sm_expr_read(buf_str(&b), &t, &err), ERR_LIMIT);
    buf_release(&b);
}
