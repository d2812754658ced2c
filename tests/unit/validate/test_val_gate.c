/* SPDX-License-Identifier: Apache-2.0 */
/* Sets, verdicts, policies and the gate in a real store, with the fake backend. */
#include "tests/unit/validate/fake_backend.h"

#include "validate/val_int.h"

#define EXAM_FORM                                                                      \
    "{\"golden\": 1, \"kind\": \"acceptance\", \"cases\": [{\"name\": \"e\", "         \
    "\"inputs\": "                                                                     \
    "{\"x\": [-3, -2, 2, 3]}, \"labels\": {\"d\": [1, 1, 0, 0]}}], \"metrics\": "      \
    "[{\"metric\": \"accuracy\", \"output\": \"probabilities\", \"labels\": \"d\", "   \
    "%s}]}"
#define LIMITS "\"min\": 0.5, \"max_drop\": 0.1"

static struct repo *
new_store(void)
{
    static const char *const folder = "store";
    struct err err = ERR_INIT;
    const struct db_schema schemas[] = { acc_schema, repo_schema, val_schema };
    struct repo *r = NULL;
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", unit_dir(), folder);
    CHECK_OK(repo_init(path, schemas, 3, &err));
    CHECK_OK(repo_open(&r, path, schemas, 3, &err));
    return r;
}

static struct repo_version
push(struct repo *r, const char *fake)
{
    struct err err = ERR_INIT;
    struct repo_ingest in AUTO(repo_ingest_release) = { .n_new_files = 0 };
    struct repo_version v;
    bool is_new;

    CHECK_OK(repo_ingest_dir(r, fake_text(fake, "fake", fake), &in, &err));
    CHECK_OK(db_begin(r->db, &err));
    CHECK_OK(repo_version_add(r, "digits", &in.manifest, "{}", &v, &is_new, &err));
    CHECK_OK(db_commit(r->db, &err));
    return v;
}

static int
add_set(struct repo *r, const struct repo_version *v, const char *name,
        const char *golden, struct val_set *out, struct err *err)
{
    struct repo_ingest in AUTO(repo_ingest_release) = { .n_new_files = 0 };
    int e = repo_ingest_dir(r, fake_text("exam", "golden.json", golden), &in, err);

    if (e == 0)
        e = db_begin(r->db, err);
    if (e == 0)
        e = val_set_add(r, "digits", v, name, &in, !v, NULL, out, err);
    if (e == 0)
        e = db_commit(r->db, err);
    db_rollback(r->db);
    return e;
}

static struct val_set
exam(struct repo *r, const char *name, const char *limits)
{
    char *text AUTO(free_ptr) = xasprintf(EXAM_FORM, limits);
    struct err err = ERR_INIT;
    struct val_set s;

    CHECK_OK(add_set(r, NULL, name, text, &s, &err));
    return s;
}

static enum val_outcome
validate(struct repo *r, const struct repo_version *v, const struct val_set *s)
{
    struct err err = ERR_INIT;
    struct val_verdict verdict AUTO(val_verdict_release) = { .id = 0 };

    CHECK_OK(val_judge_version(r, v, s, NULL, &fake_backend, &verdict, &err));
    CHECK_OK(db_begin(r->db, &err));
    CHECK_OK(val_verdict_add(r, &verdict, &err));
    CHECK_OK(db_commit(r->db, &err));
    return verdict.outcome;
}

static void
set_policy(struct repo *r, const char *model, const char *policy)
{
    struct err err = ERR_INIT;

    CHECK_OK(db_begin(r->db, &err));
    CHECK_OK(val_policy_set(r, "production", model, policy, &err));
    CHECK_OK(db_commit(r->db, &err));
}

static void
make_live(struct repo *r, const struct repo_version *v)
{
    struct err err = ERR_INIT;

    CHECK_OK(db_begin(r->db, &err));
    CHECK_OK(repo_alias_set(r, v->model_id, "production", v->id, 1, &err));
    CHECK_OK(db_commit(r->db, &err));
}

/* Asks the gate; "" when it says yes, else its message. */
static const char *
ask(struct repo *r, const struct val_gate_args *args)
{
    static struct err err;
    cJSON *report AUTO(json_free) = NULL;
    int e;

    err = (struct err)ERR_INIT;
    e = val_gate(r, args, &report, &err);
    CHECK(e == 0 || e == -ERR_REFUSED);
    CHECK(cJSON_GetArraySize(report) >= 3);
    return err.msg;
}

static const char *
ask_for(struct repo *r, const struct repo_version *v, const struct repo_version *live)
{
    return ask(r, &(struct val_gate_args){ .version = v,
                                           .alias = "production",
                                           .live_version_id = live ? live->id : 0 });
}

#define STAR "{\"require\": [{\"acceptance\": \"*\"}]}"

TEST(test_val_gate__without_a_policy_a_ready_version_passes)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 1");
    struct repo_version bad = v;
    struct val_gate_args args = { .version = &v, .alias = "production" };

    CHECK_STR(ask(r, &args), "");
    args.marked_bad = true;
    CHECK_STR(
        ask(r, &args),
        "digits@1 may not get traffic of production; 1 of 3 gates said no:\n"
        "  mark: wanted not marked bad on production, or --again; saw marked bad; "
        "sluice promote digits@1 --to production --again");
    args.again = true;
    CHECK_STR(ask(r, &args), "");
    args.frozen_reason = "audit";
    snprintf(bad.state, sizeof(bad.state), "quarantined");
    args.version = &bad;
    CHECK_STR(ask(r, &args),
              "digits@1 may not get traffic of production; 2 of 3 gates said no:\n"
              "  state: wanted ready; saw quarantined; sluice validate, then sluice "
              "accept digits@1\n"
              "  freeze: wanted not frozen; saw frozen: audit; "
              "sluice unfreeze digits@production");
}

TEST(test_val_gate__asks_for_a_verdict_on_every_acceptance_set)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 1");
    struct val_set a, b;

    set_policy(r, NULL, STAR);
    CHECK(strstr(
        ask_for(r, &v, NULL),
        "acceptance *: wanted a passing verdict on every acceptance set, and at least "
        "one; saw no acceptance set; sluice golden add digits DIR --name NAME"));
    a = exam(r, "quality", "\"min\": 0.5");
    b = exam(r, "safety", "\"min\": 0.6");
    CHECK(strstr(ask_for(r, &v, NULL), "2 of 5 gates said no"));
    CHECK(strstr(ask_for(r, &v, NULL),
                 "acceptance quality: wanted a passing verdict on sha256:"));
    CHECK(strstr(ask_for(r, &v, NULL),
                 " (accuracy ≥ 0.5); saw no verdict yet; sluice validate digits@1"));
    CHECK_INT(validate(r, &v, &a), VAL_PASSED);
    CHECK(strstr(ask_for(r, &v, NULL), "1 of 5 gates said no"));
    CHECK_INT(validate(r, &v, &b), VAL_PASSED);
    CHECK_STR(ask_for(r, &v, NULL), "");
}

TEST(test_val_gate__a_failed_or_unsupported_verdict_refuses)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version wrong = push(r, "scale -1"), odd = push(r, "unsupported 0");
    struct val_set s = exam(r, "quality", "\"min\": 0.5");

    set_policy(r, NULL, "{\"require\": [{\"acceptance\": \"quality\"}]}");
    CHECK_INT(validate(r, &wrong, &s), VAL_FAILED);
    CHECK(
        strstr(ask_for(r, &wrong, NULL), "saw failed: accuracy 0 < 0.5 (4 labels); "));
    CHECK_INT(validate(r, &odd, &s), VAL_UNSUPPORTED);
    CHECK(strstr(
        ask_for(r, &odd, NULL),
        "saw unsupported: op DecodeWav (node a, function f) (what cannot be run never "
        "counts as passed); "));
}

/* A long list of ops leaves room for the gates after it; ten gates of that kind for the
 * count of those that have no line. */
TEST(test_val_gate__a_long_list_hides_no_gate)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version many = push(r, "many 0");
    struct val_set s = exam(r, "quality", "\"min\": 0.5");
    struct val_set t = exam(r, "zebra", "\"min\": 0.25");
    const char *said;

    set_policy(r, NULL, STAR);
    CHECK_INT(validate(r, &many, &s), VAL_UNSUPPORTED);
    CHECK_INT(validate(r, &many, &t), VAL_UNSUPPORTED);
    said = ask_for(r, &many, NULL);
    CHECK(strstr(said, "saw unsupported: needs: DecodeOp000 (node n000), "));
    CHECK(strstr(said, "DecodeOp018 (node n018), and 88 more (what cannot be run"));
    CHECK(strstr(said, "\n  acceptance zebra: wanted "));
    CHECK(!strstr(said, "DecodeOp050"));
    for (int i = 0; i < 10; i++) {
        char *name AUTO(free_ptr) = xasprintf("set-%d", i);
        struct val_set more = exam(r, name, "\"min\": 0.5");
        CHECK_INT(validate(r, &many, &more), VAL_UNSUPPORTED);
    }
    said = ask_for(r, &many, NULL);
    CHECK(strstr(said, " more gates (--json has all)"));
    CHECK(strlen(said) < ERR_MSG_BYTES - 1);
}

TEST(test_val_gate__the_newest_verdict_on_the_current_set_counts)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 0.4");
    struct val_set s = exam(r, "quality", "\"min\": 0.7"),
                   again = exam(r, "quality", "\"min\": 0.7");

    set_policy(r, NULL, STAR);
    CHECK_INT(s.id, again.id); /* the same bytes are the same set */
    CHECK_INT(validate(r, &v, &s), VAL_PASSED);
    CHECK_STR(ask_for(r, &v, NULL), "");
    s = exam(r, "quality",
             "\"min\": 0.8"); /* replaced: the old verdict is on another digest */
    CHECK(strstr(ask_for(r, &v, NULL), "saw no verdict yet"));
    CHECK_INT(validate(r, &v, &s), VAL_FAILED);
    CHECK(strstr(ask_for(r, &v, NULL), "saw failed: accuracy 0.75 < 0.8"));
}

TEST(test_val_gate__max_drop_is_asked_of_what_is_live_now)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version good = push(r, "scale 1"), worse = push(r, "scale 0.4");
    struct val_set s = exam(r, "quality", LIMITS);
    struct val_verdict found AUTO(val_verdict_release) = { .id = 0 };
    struct err err = ERR_INIT;

    set_policy(r, NULL, STAR);
    /* nothing is live: noted, not failed */
    CHECK_INT(validate(r, &worse, &s), VAL_PASSED);
    CHECK_INT(val_verdict_newest(r, worse.id, &s.digest, &found, &err), 1);
    CHECK(strstr(found.report_json, "nothing is live on production to compare with"));
    CHECK_STR(ask_for(r, &worse, NULL), "");
    /* live without a verdict: not known, so refused */
    make_live(r, &good);
    CHECK_INT(validate(r, &worse, &s), VAL_PASSED);
    CHECK(strstr(
        ask_for(r, &worse, &good),
        "saw passed, but digits@1, live on production, has no verdict on this set; "
        "sluice validate digits@1"));
    /* live and better: the stored pass no longer holds, nor would a new one be given */
    CHECK_INT(validate(r, &good, &s), VAL_PASSED);
    CHECK(strstr(
        ask_for(r, &worse, &good),
        "(accuracy ≥ 0.5, not worse than production by more than 0.1); saw passed, but "
        "accuracy 0.75 is worse than the 1 of digits@1 (production) by more than 0.1; "
        "push a better version"));
    CHECK_INT(validate(r, &worse, &s), VAL_FAILED);
    CHECK(strstr(ask_for(r, &worse, &good),
                 "saw failed: accuracy 0.75 is worse than the 1 of "));
    /* the live version passes beside itself */
    CHECK_STR(ask_for(r, &good, &good), "");
    CHECK_INT(validate(r, &good, &s), VAL_PASSED);
}

TEST(test_val_gate__a_models_own_policy_replaces_the_general_one)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 1");
    struct err err = ERR_INIT;
    struct buf text AUTO(buf_release) = BUF_INIT;

    CHECK_INT(val_policy_get(r, "production", "digits", &text, &err), 0);
    set_policy(r, NULL, STAR);
    CHECK(ask_for(r, &v, NULL)[0]);
    set_policy(r, "digits", "{\"require\": []}");
    CHECK_STR(ask_for(r, &v, NULL), "");
    set_policy(r, "digits", "{\"require\": [{\"acceptance\": \"gone\"}]}");
    CHECK(strstr(ask_for(r, &v, NULL),
                 "acceptance gone: wanted a passing verdict on this set; "
                 "saw no such set; sluice golden add digits DIR --name gone"));
    CHECK_INT(val_policy_get(r, "production", "digits", &text, &err), 1);
    CHECK_STR(buf_str(&text), "{\"require\": [{\"acceptance\": \"gone\"}]}");
    buf_clear(&text);
    CHECK_INT(val_policy_get(r, "production", "other", &text, &err), 1);
    CHECK_STR(buf_str(&text), STAR);
    buf_clear(&text);
    CHECK_INT(val_policy_get(r, "staging", "digits", &text, &err), 0);
}

TEST(test_val_policy__refuses_what_nobody_knows)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"require\": {}}",
        "{\"require\": [], \"max\": 1}",
        "{\"require\": [1]}",
        "{\"require\": [{}]}",
        "{\"require\": [{\"approval\": 2}]}",
        "{\"require\": [{\"acceptance\": \"*\", \"approval\": 2}]}",
        "{\"require\": [{\"acceptance\": 1}]}",
        "{\"require\": [{\"acceptance\": \"a b\"}]}",
        "{\"policy\": 2, \"require\": []}",
        "{\"require\": [{\"scan\": \"dirty\"}]}",
        "{\"require\": [{\"earlier\": \"staging\", \"for\": \"soon\"}]}",
        "{\"require\": [{\"earlier\": \"production\"}]}",
        "{\"require\": [{\"approvals\": 1.5}]}",
        "{\"require\": [{\"approvals\": 1, \"role\": \"king\"}]}",
        "{\"require\": [{\"freeze\": \"x\", \"from\": \"2026-01-01\"}]}",
        "{\"require\": [{\"program\": \"../x\"}]}",
        "{\"require\": [{\"signed_by\": \"abcd\"}]}",
        "{\"require\": [{\"http\": \"ftp://x\"}]}",
        "{\"require\": [{\"http\": \"http://a b\"}]}",
        "{\"require\": [{\"baseline\": \"production\", \"max_shift\": \"1\"}]}",
        "{\"require\": [{\"baseline\": \"production\", \"optional\": 1}]}",
        "{\"require\": [{\"budgets\": []}]}",
        "{\"require\": [{\"quality\": \"f1\", \"min\": true}]}",
        "{\"require\": [{\"export\": \"*\"}]}",
    };
    struct repo *r AUTO(repo_close_p) = new_store();
    struct err err = ERR_INIT;

    CHECK_OK(db_begin(r->db, &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(val_policy_set(r, "production", NULL, bad[i], &err), ERR_INVALID);
    CHECK_ERR(val_policy_set(r, "3", NULL, STAR, &err), ERR_INVALID);
    CHECK_ERR(val_policy_set(r, "production", "a/b", STAR, &err), ERR_INVALID);
    CHECK(val_policy_set(r, "production", NULL, bad[7], &err) < 0);
    CHECK(strstr(err.msg, "policy: there is no gate \"approval\"; there is "
                          "\"acceptance\", \"export\"") != NULL);
    db_rollback(r->db);
}

/* ---- sets and verdicts ---------------------------------------------------------- */

struct names {
    char text[256];
};

static int
add_name(void *arg, const struct val_set *s, struct err *err)
{
    struct names *n = arg;
    size_t len = strlen(n->text);

    (void)err;
    snprintf(n->text + len, sizeof(n->text) - len, "%s%s:%s", len ? " " : "",
             s->acceptance ? "acceptance" : "export", s->name);
    return 0;
}

TEST(test_val_set__export_sets_belong_to_versions)
{
    static const char golden[] =
        "{\"golden\": 1, \"cases\": [{\"inputs\": {\"x\": [2]}, "
        "\"expected\": {\"y\": [4]}}]}";
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v1 = push(r, "scale 1"), v2 = push(r, "scale 2");
    struct err err = ERR_INIT;
    struct val_set e1, e2;
    struct names names = { "" };

    exam(r, "quality", "\"min\": 0.5");
    CHECK_OK(add_set(r, &v1, "export", golden, &e1, &err));
    CHECK_OK(add_set(r, &v2, "export", golden, &e2, &err));
    CHECK(digest_eq(&e1.digest, &e2.digest) && e1.id != e2.id);
    CHECK_OK(val_sets(r, "digits", v1.id, add_name, &names, &err));
    CHECK_STR(names.text, "export:export acceptance:quality");
    names.text[0] = '\0';
    CHECK_OK(val_sets(r, "digits", 0, add_name, &names, &err));
    CHECK_STR(names.text, "acceptance:quality");
    CHECK_OK(val_sets(r, "nobody", 0, add_name, &names, &err));
    CHECK_INT(validate(r, &v1, &e1), VAL_PASSED);
    CHECK_INT(validate(r, &v2, &e2), VAL_FAILED);
}

TEST(test_val_set__refuses_the_wrong_kind_and_what_judges_nothing)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 1");
    char *acceptance AUTO(free_ptr) = xasprintf(EXAM_FORM, LIMITS);
    char *no_limit AUTO(free_ptr) = xasprintf(EXAM_FORM, "\"note\": 1");
    struct err err = ERR_INIT;
    struct names names = { "" };
    struct val_set s;

    CHECK_ERR(add_set(r, &v, "export", acceptance, &s, &err), ERR_INVALID);
    CHECK_ERR(add_set(r, NULL, "quality", "{\"golden\": 1, \"cases\": []}", &s, &err),
              ERR_INVALID);
    CHECK_ERR(add_set(r, NULL, "quality", no_limit, &s, &err), ERR_INVALID);
    CHECK_ERR(add_set(r, NULL, "quality", "{", &s, &err), ERR_INVALID);
    CHECK_ERR(add_set(r, NULL, "a/b", acceptance, &s, &err), ERR_INVALID);
    CHECK_OK(val_sets(r, "digits", v.id, add_name, &names, &err));
    CHECK_STR(names.text, "");
}

static int
count_verdict(void *arg, const struct val_verdict *v, struct err *err)
{
    (void)err;
    if (*(int *)arg == 0)
        CHECK_STR(val_outcome_text(v->outcome), "failed"); /* newest first */
    CHECK_STR(v->backend, "fake");
    ++*(int *)arg;
    return 0;
}

TEST(test_val_verdict__all_stay_on_record)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 0.4");
    struct val_set loose = exam(r, "a", "\"min\": 0.5"),
                   strict = exam(r, "b", "\"min\": 0.9");
    struct err err = ERR_INIT;
    struct val_verdict found AUTO(val_verdict_release) = { .id = 0 };
    int n = 0;

    CHECK_INT(val_verdict_newest(r, v.id, &loose.digest, &found, &err), 0);
    CHECK_INT(validate(r, &v, &loose), VAL_PASSED);
    CHECK_INT(validate(r, &v, &strict), VAL_FAILED);
    CHECK_OK(val_verdicts(r, v.id, count_verdict, &n, &err));
    CHECK_INT(n, 2);
    CHECK_INT(val_verdict_newest(r, v.id, &loose.digest, &found, &err), 1);
    CHECK(digest_eq(&found.version_digest, &v.digest));
    CHECK_STR(found.set_name, "a");
    CHECK(found.acceptance && found.outcome == VAL_PASSED && found.created_ns > 0);
    CHECK_STR(found.made_by, acc_actor(r->acc));
}

/* A verdict's age: too old, and one that nobody knows. */
TEST(test_val_gate__evidence_must_be_fresh)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 1");
    struct val_set s = exam(r, "quality", LIMITS);
    struct err err = ERR_INIT;

    set_policy(r, NULL,
               "{\"require\": [{\"acceptance\": \"*\", \"max_age\": \"1h\"}]}");
    validate(r, &v, &s);
    CHECK_STR(ask_for(r, &v, NULL), "");
    CHECK_OK(db_run(r->db, &err, "UPDATE store_age SET age_ns = age_ns + 3700000000000",
                    ""));
    CHECK(strstr(ask_for(r, &v, NULL), "too long ago") != NULL);
    CHECK_OK(db_run(r->db, &err, "UPDATE store_age SET age_ns = 0", ""));
    CHECK_OK(db_run(r->db, &err, "DROP TRIGGER guard_verdict_age_u", ""));
    CHECK_OK(db_run(r->db, &err, "UPDATE verdict_age SET age_ns = 99000000000000", ""));
    CHECK(strstr(ask_for(r, &v, NULL), "nobody knows how long ago") != NULL);
}

/* ---- what is no answer ----------------------------------------------------------- */

TEST(test_val_gate__the_policy_says_what_no_answer_means)
{
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version odd = push(r, "unsupported 0"), v = push(r, "scale 1");
    struct val_set s = exam(r, "quality", LIMITS);
    struct val_verdict unsure AUTO(val_verdict_release) = { .id = 0 };
    struct err err = ERR_INIT;

    CHECK_INT(validate(r, &odd, &s), VAL_UNSUPPORTED);
    CHECK_OK(val_judge_version(r, &v, &s, NULL, &fake_backend, &unsure, &err));
    unsure.outcome = VAL_INCONCLUSIVE;
    CHECK_OK(db_begin(r->db, &err));
    CHECK_OK(val_verdict_add(r, &unsure, &err));
    CHECK_OK(db_commit(r->db, &err));
    set_policy(r, NULL,
               "{\"require\": [{\"acceptance\": \"*\", \"unsupported\": \"allow\"}]}");
    CHECK_STR(ask_for(r, &odd, NULL), "");
    CHECK(strstr(ask_for(r, &v, NULL), "saw inconclusive: "));
    set_policy(r, NULL,
               "{\"require\": [{\"acceptance\": \"*\", \"inconclusive\": \"allow\", "
               "\"unsupported\": \"refuse\"}]}");
    CHECK_STR(ask_for(r, &v, NULL), "");
    CHECK(strstr(ask_for(r, &odd, NULL), "saw unsupported: "));
}

TEST(test_val_gate__budgets_look_at_what_was_measured)
{
    static const struct {
        const char *budget;
        bool beside, ok, ok_when_allowed;
        const char *saw;
    } rows[] = {
        { "p99_ms=5", true, true, true, "p99_ms 4 ± 0.5, limit 5: kept" },
        { "p99_ms=3", true, false, false, "p99_ms 4 ± 0.5, limit 3: missed" },
        { "p99_ms=4.2", true, false, true, "the limit lies inside the noise" },
        { "p99_ms=+150%", true, true, true, "p99_ms 4 ± 0.5, limit 5: kept" },
        { "p99_ms=+10%", true, false, false, "limit 2.2: missed" },
        { "p99_ms=+10%", false, true, true, "" }, /* optional, and there is none */
        { "load_ms=5", true, false, false, "this backend cannot say" },
        { "throughput=100", true, false, false,
          "throughput 80 ± 1, limit 100: missed" },
    };
    cJSON *times AUTO(json_free) = cJSON_Parse(
        "{\"measured\": {\"p99_ms\": {\"value\": 4, \"noise\": 0.5}, "
        "\"throughput\": {\"value\": 80, \"noise\": 1}}, "
        "\"measured_baseline\": {\"p99_ms\": {\"value\": 2, \"noise\": 0.1}}}");
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int allow = 0; allow < 2; allow++) {
            struct val_answer a AUTO(val_answer_release) = { .ok = false };
            cJSON *list AUTO(json_free) = cJSON_CreateArray();

            json_put_str(list, NULL, rows[i].budget);
            CHECK_OK(val_budgets_look(list, times, rows[i].beside, allow, &a, &err));
            CHECK_INT(a.ok, allow ? rows[i].ok_when_allowed : rows[i].ok);
            CHECK(strstr(buf_str(&a.saw), rows[i].saw));
        }
}

/* What a set allows itself, and what the policy caps it at. */
TEST(test_val_gate__caps_bound_what_a_set_allows_itself)
{
    static const char golden[] =
        "{\"golden\": 1, \"kind\": \"acceptance\", \"cases\": [{\"inputs\": {\"x\": "
        "[2]}, \"expected\": {\"y\": [4]}, \"tolerance\": {\"abs\": 0.5}}]}";
    struct repo *r AUTO(repo_close_p) = new_store();
    struct repo_version v = push(r, "scale 1");
    struct err err = ERR_INIT;
    struct val_set s;

    CHECK_OK(add_set(r, NULL, "answers", golden, &s, &err));
    CHECK_INT(validate(r, &v, &s), VAL_PASSED);
    set_policy(r, NULL,
               "{\"require\": [{\"acceptance\": \"*\", \"caps\": {\"abs\": 0.5}}]}");
    CHECK_STR(ask_for(r, &v, NULL), "");
    set_policy(r, NULL,
               "{\"require\": [{\"acceptance\": \"*\", \"caps\": {\"abs\": 0.1}}]}");
    CHECK(strstr(ask_for(r, &v, NULL),
                 "output 'y': the set allows itself abs 0.5; the policy wants abs 0.1 "
                 "or exact at most; a set with tighter tolerances: sluice golden add "
                 "digits DIR --name answers"));
}
