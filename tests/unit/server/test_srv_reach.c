/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_reach.h"

#include "base/fs.h"
#include "tests/unit/unit.h"

#include <stdio.h>

/* A store of the test's own, and a session with it. */
static struct svc *
store(struct repo **repo)
{
    struct svc *s;
    struct err err = ERR_INIT;
    cJSON *request AUTO(json_free) = cJSON_CreateObject(),
                   *reply AUTO(json_free) = NULL;
    char *path AUTO(free_ptr) = xasprintf("%s/store", unit_dir());
    json_put_str(request, "path", path);
    CHECK_OK(svc_open(&s, path, &err));
    CHECK_OK(svc_call(s, "init", request, &reply, &err));
    CHECK_OK(svc_store(s, repo, &err));
    return s;
}

/* Whoever adds a path to a verb says what it is to who is elsewhere. */
TEST(test_srv_reach__each_path_is_a_tree_or_has_a_rule)
{
    for (int i = 0; i < svc_n_verbs(); i++) {
        const struct svc_verb *v = svc_verb_at(i);
        for (int k = 0; k < v->n_fields && !srv_reach_here(v); k++) {
            const struct svc_field *f = &v->fields[k];
            if ((f->type == SVC_PATH || f->type == SVC_ANY) &&
                !(f->flags & (SVC_IN | SVC_OUT)) && !srv_reach_rule(v, f))
                unit_fail(__FILE__, __LINE__, "%s: %s has no line in server/reach.def",
                          v->name, f->name);
        }
    }
}

TEST(test_srv_reach__the_table_names_what_there_is)
{
    static const char *const all[][2] = {
#define HERE(verb, why) { #verb, NULL },
#define READS(verb) { #verb, NULL },
#define WRITES(verb) { #verb, NULL },
#define REACH(verb, field, rule) { #verb, #field },
#include "server/reach.def"
#undef HERE
#undef READS
#undef WRITES
#undef REACH
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct svc_verb *v = svc_find(all[i][0]);
        bool found = all[i][1] == NULL;
        if (!v)
            unit_fail(__FILE__, __LINE__, "no verb %s", all[i][0]);
        for (int k = 0; k < v->n_fields && all[i][1]; k++)
            found |= strcmp(v->fields[k].name, all[i][1]) == 0;
        if (!found)
            unit_fail(__FILE__, __LINE__, "%s has no field %s", all[i][0], all[i][1]);
    }
}

/* What a verb writes becomes a tree, and the tree a path of another. */
TEST(test_srv_reach__trees_go_out_and_come_in)
{
    struct repo *r;
    struct svc *s AUTO(svc_close_p) = store(&r);
    struct err err = ERR_INIT;
    struct srv_reached out AUTO(srv_reached_end) = SRV_REACHED_INIT;
    struct srv_reached in AUTO(srv_reached_end) = SRV_REACHED_INIT;
    cJSON *ask AUTO(json_free) = cJSON_CreateObject(), *reply AUTO(json_free) = NULL;
    cJSON *next AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    json_put_str(ask, "ref", "fraud@3");
    json_put_str(ask, "outdir", "tree:");
    CHECK_OK(srv_reach_in(&out, r, svc_find("run"), ask, &err));
    const char *path = cJSON_GetStringValue(cJSON_GetObjectItem(out.request, "outdir"));
    char *file AUTO(free_ptr) = xasprintf("%s/a.npy", path);
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0700, &err));
    CHECK_OK(fs_create(AT_FDCWD, file, "bytes", 5, 0600, &err));
    reply = cJSON_CreateObject();
    CHECK_OK(srv_reach_out(&out, r, reply, &err));
    const char *tree = cJSON_GetStringValue(
        cJSON_GetObjectItem(cJSON_GetObjectItem(reply, "trees"), "outdir"));
    CHECK(tree && strncmp(tree, "tree:sha256:", 12) == 0);
    char *inputs AUTO(free_ptr) = xasprintf("x=%s/a.npy;y=%s/a.npy[k]", tree, tree);
    json_put_str(next, "inputs", inputs);
    CHECK_OK(srv_reach_in(&in, r, svc_find("run"), next, &err));
    char here[512];
    CHECK(sscanf(cJSON_GetStringValue(cJSON_GetObjectItem(in.request, "inputs")),
                 "x=%511[^;]", here) == 1);
    CHECK_OK(fs_read(AT_FDCWD, here, &text, &err));
    CHECK_STR(buf_str(&text), "bytes");
}

TEST(test_srv_reach__what_is_no_tree_is_refused)
{
    struct repo *r;
    struct svc *s AUTO(svc_close_p) = store(&r);
    static const struct {
        const char *verb, *field, *value;
        enum err_code code;
    } all[] = { { "show", "dir", "/etc", ERR_INVALID },
                { "show", "dir", "tree:sha256:00", ERR_INVALID },
                { "show", "dir",
                  "tree:sha256:"
                  "000000000000000000000000000000000000000000000000000000000000000"
                  "0",
                  ERR_NOTFOUND },
                { "show", "dir",
                  "tree:sha256:"
                  "000000000000000000000000000000000000000000000000000000000000000"
                  "0/../../etc",
                  ERR_INVALID },
                { "run", "outdir", "/tmp/x", ERR_INVALID },
                { "run", "outdir", "tree:x", ERR_INVALID },
                { "run", "inputs", "x=/etc/passwd", ERR_INVALID },
                { "diff", "a", "./here", ERR_INVALID },
                { "validate", "backend", "exec:true", ERR_INVALID },
                { "pull", "dest", "/tmp/x", ERR_INVALID },
                { "init", "path", "/tmp/x", ERR_UNSUPPORTED } };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct srv_reached x AUTO(srv_reached_end) = SRV_REACHED_INIT;
        cJSON *ask AUTO(json_free) = cJSON_CreateObject();
        struct err err = ERR_INIT;
        json_put_str(ask, all[i].field, all[i].value);
        if (srv_reach_in(&x, r, svc_find(all[i].verb), ask, &err) != -(int)all[i].code)
            unit_fail(__FILE__, __LINE__, "%s --%s %s: %s", all[i].verb, all[i].field,
                      all[i].value, err.msg);
    }
}
