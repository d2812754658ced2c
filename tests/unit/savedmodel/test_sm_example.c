/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/samples.h"

/* Columns: text, the Examples in hex with blanks between, "-" for an empty one. */
static void
as_tensorflow(char **column)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    char *next = column[1];
    CHECK_OK(sm_examples_of(column[0], &t, &err));
    CHECK_INT(t.rank, 1);
    for (int64_t i = 0; i < t.n_elems; i++) {
        struct buf want = BUF_INIT;
        size_t n = strcspn(next, " ");
        char *hex = xstrndup(next, *next == '-' ? 0 : n);
        add_hex(&want, hex);
        if (!str_eq(str_buf(&want), sm_tensor_str(&t)[i]))
            unit_fail(__FILE__, __LINE__, "%s: example %lld differs", column[0],
                      (long long)i);
        next += n + (next[n] == ' ');
        free(hex);
        buf_release(&want);
    }
    CHECK(*next == '\0');
    sm_tensor_release(&t);
}

TEST(test_sm_example__bytes_are_tensorflows)
{
    each_sample("examples.tsv", 2, as_tensorflow);
}

static void
refused(const char *text, const char *part)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    if (sm_examples_of(text, &t, &err) != -(int)ERR_INVALID || !strstr(err.msg, part))
        unit_fail(__FILE__, __LINE__, "%s: %s", text, err.msg);
    CHECK(t.owned == NULL);
}

TEST(test_sm_example__refuses)
{
    refused("{\"x\":[3.0]}", "must be a list of dictionaries, but is {");
    refused("[3]", "example 0: tf.Example input must be a list of dictionaries");
    refused("[{'x':3.0}]", "\"x\": feature value must be a list, but is 3.0");
    refused("[{'a':[1]},{'x':[]}]", "example 1: \"x\": a feature without values");
    refused("[{'x':[[1]]}]", "lists themselves");
    refused("[{'x':[1, 2.5]}]", "a later one is of another");
    refused("[{'x':[1.5, 'a']}]", "mixed");
    refused("[{'x':[18446744073709551615]}]", "no DT_INT64");
    refused("[{3:[1]}]", "is no name of a feature");
    refused("[{'x'}]", "is no \"name\": [values]");
    refused("[{'x':[None]}]", "not a Python literal");
    refused("[{'x':[1]},,]", "a comma with nothing before it");
    refused("[{'x':[1]}", "must be a list of dictionaries");
}

static struct sm_tensor
column(const char *file, const char *name)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_records r;
    struct sm_tensor t;
    sample_file(file, &b);
    CHECK_OK(sm_tfrecord_read(str_buf(&b), file, &r, &err));
    CHECK_OK(sm_examples_column(&r, str_of(name), &t, &err));
    sm_records_release(&r);
    buf_release(&b);
    return t;
}

static void
check_text(struct sm_tensor t, int dtype, const char *want)
{
    struct buf b = BUF_INIT;
    CHECK_INT(t.dtype, dtype);
    sm_tensor_text(&t, &b);
    CHECK_STR(buf_str(&b), want);
    buf_release(&b);
    sm_tensor_release(&t);
}

TEST(test_sm_example__columns)
{
    check_text(column("rows.tfrecord", "age"), SM_INT64, "[[22]\n [23]\n [24]]");
    check_text(column("rows.tfrecord", "w"), SM_FLOAT,
               "[[0.  1.5]\n [0.5 1.5]\n [1.  1.5]]");
    check_text(column("sequence.tfrecord", "age"), SM_INT64, "[[22]\n [22]]");
    struct sm_tensor t = column("sequence.tfrecord", "steps");
    CHECK(t.rank == 3 && t.dims[0] == 2 && t.dims[1] == 4 && t.dims[2] == 2);
    CHECK_INT(((int64_t *)t.data)[15], 13);
    sm_tensor_release(&t);
}

static void
column_refused(const struct str *v, const char *name, enum err_code code,
               const char *part)
{
    struct err err = ERR_INIT;
    struct str two[] = { v[0], v[1] };
    struct sm_records r = { .v = two, .n = 2 };
    struct sm_tensor t;
    CHECK_INT(sm_examples_column(&r, str_of(name), &t, &err), -(int)code);
    if (!strstr(err.msg, part))
        unit_fail(__FILE__, __LINE__, "%s", err.msg);
}

TEST(test_sm_example__columns_refused)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_OK(
        sm_examples_of("[{'a':[1]},{'a':[1,2]},{'b':[1.5]},{'a':[1.5]}]", &t, &err));
    const struct str *v = sm_tensor_str(&t);
    column_refused(v, "a", ERR_INVALID, "record 1: has 2 values of feature \"a\"");
    column_refused(v, "c", ERR_NOTFOUND,
                   "record 0: has no feature \"c\"; there are: \"a\"");
    column_refused(v + 1, "a", ERR_NOTFOUND, "record 1: has no feature \"a\"");
    column_refused((struct str[]){ v[0], v[3] }, "a", ERR_CORRUPT, "of two kinds");
    column_refused((struct str[]){ v[0], { "\x0a\x05", 2 } }, "a", ERR_CORRUPT,
                   "record 1: is no tf.Example");
    sm_tensor_release(&t);
}
