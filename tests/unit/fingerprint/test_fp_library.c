/* SPDX-License-Identifier: Apache-2.0 */
/* Functions by what they do: hand-made libraries. */
#include "tests/unit/fingerprint/tree.h"

/* A function of one argument and one result: nodes are "name op input input; …", where
 * an op that begins with '@' is a StatefulPartitionedCall of that function, "#7" a
 * constant and "$x" a variable handle with that shared name. */
static void
add_node(struct buf *fn, char *text)
{
    struct buf node = BUF_INIT, value = BUF_INIT, tensor = BUF_INIT, func = BUF_INIT;
    char *save = NULL;
    const char *name = strtok_r(text, " ", &save), *op = strtok_r(NULL, " ", &save);
    pb_text(&node, 1, name);
    pb_text(&node, 2,
            op[0] == '@'   ? "StatefulPartitionedCall"
            : op[0] == '#' ? "Const"
            : op[0] == '$' ? "VarHandleOp"
                           : op);
    for (char *in; (in = strtok_r(NULL, " ", &save));)
        pb_text(&node, 3, in);
    if (op[0] == '@') {
        pb_text(&func, 1, op + 1);
        pb_msg(&value, 10, &func);
        pb_entry(&node, 5, "f", &value);
    } else if (op[0] == '#') {
        pb_int(&tensor, 1, SM_INT32);
        pb_int(&tensor, 7, strtol(op + 1, NULL, 10));
        pb_msg(&value, 8, &tensor);
        pb_entry(&node, 5, "value", &value);
    } else if (op[0] == '$') {
        pb_text(&value, 2, op + 1);
        pb_entry(&node, 5, "shared_name", &value);
    }
    pb_msg(fn, 3, &node);
}

static void
add_function(struct buf *lib, const char *name, const char *nodes, const char *result)
{
    struct buf fn = BUF_INIT, def = BUF_INIT, arg = BUF_INIT, out = BUF_INIT;
    struct buf ret = BUF_INIT;
    char *text AUTO(free_ptr) = xstrdup(nodes), *save = NULL;
    pb_text(&def, 1, name);
    pb_text(&arg, 1, "x");
    pb_int(&arg, 3, SM_INT32);
    pb_msg(&def, 2, &arg);
    pb_text(&out, 1, "y");
    pb_int(&out, 3, SM_INT32);
    pb_msg(&def, 3, &out);
    pb_msg(&fn, 1, &def);
    for (char *n; (n = strtok_r(save ? NULL : text, ";", &save));)
        add_node(&fn, n);
    pb_text(&ret, 1, "y");
    pb_text(&ret, 2, result);
    pb_msg(&fn, 4, &ret);
    pb_msg(lib, 1, &fn);
}

/* Digest of a function in a library, which is given up. */
static struct digest
digest_of(struct buf *lib, const char *name)
{
    struct err err = ERR_INIT;
    struct sm_meta meta = { .library = str_buf(lib), .op_list = { "", 0 } };
    struct fp_lib l;
    CHECK_OK(fp_lib_init(&l, &meta, &err));
    int i = fp_names_find(&l.by_name, str_of(name));
    CHECK(i >= 0);
    struct digest d = l.fn[i].digest;
    fp_lib_release(&l);
    buf_release(lib);
    return d;
}

static bool
same(struct digest a, struct digest b)
{
    return digest_eq(&a, &b);
}

static struct digest
even(const char *first, const char *second, int one, int zero, const char *which)
{
    struct buf lib = BUF_INIT;
    char *a AUTO(free_ptr) =
        xasprintf("c #%d;d Sub x c:output:0;r @%s d:z:0", one, second);
    char *b AUTO(free_ptr) =
        xasprintf("c #%d;d AddV2 x c:output:0;r @%s d:z:0", zero, first);
    add_function(&lib, first, a, "r:output:0");
    add_function(&lib, second, b, "r:output:0");
    return digest_of(&lib, which);
}

TEST(test_fp_library__circles)
{
    struct digest d = even("even", "odd", 1, 2, "even");
    CHECK(same(d, even("f_17", "g_4", 1, 2, "f_17")));
    CHECK(same(d, even("z", "a", 1, 2, "z")));
    CHECK(!same(d, even("even", "odd", 1, 2, "odd")));
    CHECK(!same(d, even("even", "odd", 1, 3, "even")));
    CHECK(!same(d, even("even", "odd", 3, 2, "even")));
}

/* A ring of functions, one of which differs, from where it is seen. */
static struct digest
ring(int n, int odd_one, int from)
{
    struct buf lib = BUF_INIT;
    char name[32];
    for (int i = 0; i < n; i++) {
        char *body AUTO(free_ptr) = xasprintf("c #%d;d Sub x c:output:0;r @f%d d:z:0",
                                              i == odd_one ? 9 : 1, (i + 1) % n);
        snprintf(name, sizeof(name), "f%d", i);
        add_function(&lib, name, body, "r:output:0");
    }
    snprintf(name, sizeof(name), "f%d", from);
    return digest_of(&lib, name);
}

TEST(test_fp_library__long_circles)
{
    struct digest d = ring(30, 20, 0);
    CHECK(same(d, ring(30, 21, 1)));
    CHECK(!same(d, ring(30, 21, 0)));
    CHECK(!same(d, ring(30, -1, 0)));
    CHECK(!same(ring(100, 90, 0), ring(100, -1, 0)));
    CHECK(same(ring(100, 90, 3), ring(100, 87, 0)));
    CHECK(same(ring(1, -1, 0), ring(1, -1, 0)));
    CHECK(!same(ring(1, -1, 0), ring(1, 0, 0)));
}

static struct digest
chain(const char *inner, int value)
{
    struct buf lib = BUF_INIT;
    char *calls AUTO(free_ptr) =
        xasprintf("a @%s x;b %s x;r AddV2 a:output:0 b:y:0", inner, inner);
    char *body AUTO(free_ptr) = xasprintf("c #%d;r Mul x c:output:0", value);
    add_function(&lib, "outer", calls, "r:z:0");
    add_function(&lib, inner, body, "r:z:0");
    return digest_of(&lib, "outer");
}

/* As an attribute's value and as an op. */
TEST(test_fp_library__callee)
{
    struct digest d = chain("inner", 1);
    CHECK(same(d, chain("another_12", 1)));
    CHECK(!same(d, chain("inner", 2)));
}

static struct digest
with_gradient(const char *name, int value)
{
    struct buf lib = BUF_INIT, def = BUF_INIT;
    char *body AUTO(free_ptr) = xasprintf("c #%d;r Mul x c:output:0", value);
    add_function(&lib, "f", "r Neg x", "r:y:0");
    add_function(&lib, name ? name : "unused", body, "r:z:0");
    if (name) {
        pb_text(&def, 1, "f");
        pb_text(&def, 2, name);
        pb_msg(&lib, 2, &def);
    }
    return digest_of(&lib, "f");
}

TEST(test_fp_library__gradient)
{
    struct digest d = with_gradient("g_1", 1);
    CHECK(same(d, with_gradient("g_2", 1)));
    CHECK(!same(d, with_gradient("g_1", 2)));
    CHECK(!same(d, with_gradient(NULL, 1)));
}

static struct digest
handles(const char *a, const char *b, const char *c)
{
    struct buf lib = BUF_INIT;
    char *f AUTO(free_ptr) = xasprintf("h $%s;r Read h:resource:0", a);
    char *g AUTO(free_ptr) = xasprintf("h $%s;r Read h:resource:0", b);
    char *top AUTO(free_ptr) =
        xasprintf("h $%s;p @f x;q @g x;s AddN p:output:0 q:output:0 h:resource:0", c);
    add_function(&lib, "f", f, "r:value:0");
    add_function(&lib, "g", g, "r:value:0");
    add_function(&lib, "top", top, "s:sum:0");
    return digest_of(&lib, "top");
}

/* What a resource is called does not count; which ones are one does, across functions.
 */
TEST(test_fp_library__resources)
{
    struct digest all = handles("v", "v", "v"), none = handles("u", "v", "w");
    struct digest inner = handles("v", "v", "w"), left = handles("v", "w", "v");
    CHECK(same(all, handles("x", "x", "x")));
    CHECK(same(none, handles("z", "y", "x")));
    CHECK(same(inner, handles("1", "1", "0")));
    CHECK(!same(all, none) && !same(all, inner) && !same(all, left));
    CHECK(!same(none, inner) && !same(none, left) && !same(inner, left));
    CHECK(!same(left, handles("w", "v", "v")));
}

/* Order and names of nodes, and of control inputs. */
TEST(test_fp_library__body)
{
    static const char *const alike[] = {
        "a #1;b #2;p Print a:output:0;q Print b:output:0;r Add x a:output:0 ^p ^q",
        "b #2;q Print b:output:0;p Print a:output:0;r Add x a:output:0 ^q ^p;a #1",
        "k #1;m #2;n Print k:output:0;o Print m:output:0;s Add x k:output:0 ^o ^n",
    };
    static const char *const unlike[] = {
        "a #1;b #2;p Print a:output:0;q Print b:output:0;r Add a:output:0 x ^p ^q",
        "a #1;b #2;p Print a:output:0;q Print b:output:0;r Add x b:output:0 ^p ^q",
        "a #1;b #2;p Print a:output:0;q Print b:output:0 ^p;r Add x a:output:0 ^q",
        "a #1;b #2;p Print a:output:0;q Print b:output:1;r Add x a:output:0 ^p ^q",
        "a #1;b #2;p Print a:output:0;q Print b:output:0;r Add x missing:output:0 ^p "
        "^q",
    };
    struct buf lib = BUF_INIT;
    add_function(&lib, "f", alike[0], "r:z:0");
    struct digest d = digest_of(&lib, "f");
    for (int i = 1; i < 3; i++) {
        add_function(&lib, "f", alike[i], i == 2 ? "s:z:0" : "r:z:0");
        CHECK(same(d, digest_of(&lib, "f")));
    }
    for (size_t i = 0; i < sizeof(unlike) / sizeof(unlike[0]); i++) {
        add_function(&lib, "f", unlike[i], "r:z:0");
        CHECK(!same(d, digest_of(&lib, "f")));
    }
}

/* TF1 loops, and loops that no valid graph has, come to an end. */
TEST(test_fp_library__loops)
{
    static const char *const bodies[] = {
        "e Enter x;m Merge e:0 n:0;c LoopCond m:0;s Switch m:0 c:0;n NextIteration s:1;"
        "r Exit s:0",
        "a Add b:0 x;b Add a:0 x;r Add a:0 b:0",
        "r Add r:0 r:0 ^r",
    };
    struct digest d[3];
    struct buf lib = BUF_INIT;
    for (int i = 0; i < 3; i++) {
        add_function(&lib, "f", bodies[i], "r:0");
        d[i] = digest_of(&lib, "f");
    }
    CHECK(!same(d[0], d[1]) && !same(d[0], d[2]) && !same(d[1], d[2]));
    add_function(&lib, "f",
                 "nn NextIteration ss:1;ss Switch mm:0 cc:0;cc LoopCond mm:0;"
                 "mm Merge ee:0 nn:0;rr Exit ss:0;ee Enter x",
                 "rr:0");
    CHECK(same(d[0], digest_of(&lib, "f")));
}

/* A hundred thousand nodes in a row need no deep stack. */
TEST(test_fp_library__long_chain)
{
    struct buf lib = BUF_INIT, body = BUF_INIT;
    buf_adds(&body, "n0 Neg x");
    for (int i = 1; i < 100000; i++)
        buf_addf(&body, ";n%d Neg n%d:0 ^n%d", i, i - 1, i / 2);
    add_function(&lib, "f", buf_str(&body), "n99999:0");
    struct digest d = digest_of(&lib, "f");
    add_function(&lib, "g", buf_str(&body), "n99999:0");
    CHECK(same(d, digest_of(&lib, "g")));
    buf_release(&body);
}
