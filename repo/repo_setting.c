/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo_int.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct repo_setting known[] = {
#define SETTING(key, standard, values, help) { #key, standard, values, help },
#include "repo/settings.def"
#undef SETTING
};
#define N_KNOWN ((int)(sizeof(known) / sizeof(known[0])))

int
repo_n_settings(void)
{
    return N_KNOWN;
}

const struct repo_setting *
repo_setting_at(int i)
{
    return &known[i];
}

int
repo_setting_find(const char *key, const struct repo_setting **out, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < N_KNOWN; i++) {
        if (strcmp(known[i].key, key) == 0) {
            *out = &known[i];
            return 0;
        }
        buf_addf(&all, "%s%s", i > 0 ? ", " : "", known[i].key);
    }
    return err_set(err, ERR_NOTFOUND, "there is no setting '%s'; there are %s", key,
                   buf_str(&all));
}

static bool
is_whole(const char *text, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && strchr("-0123456789", *text);
}

static int
check_value(const struct repo_setting *s, const char *value, struct err *err)
{
    const char *dots = strstr(s->values, "..");
    const size_t n = strlen(value);
    int64_t v, least, most;

    if (dots) {
        char *low AUTO(free_ptr) = xstrndup(s->values, (size_t)(dots - s->values));

        if (is_whole(low, &least) && is_whole(dots + 2, &most) && is_whole(value, &v) &&
            v >= least && v <= most)
            return 0;
    }
    for (const char *word = s->values; !dots && n > 0 && !strchr(value, '|'); word++) {
        if (strncmp(word, value, n) == 0 && (word[n] == '|' || word[n] == '\0'))
            return 0;
        word = strchr(word, '|');
        if (!word)
            break;
    }
    return err_set(err, ERR_INVALID, "%s is %s, not '%s'", s->key, s->values, value);
}

int
repo_setting_get(struct repo *r, const char *key, struct buf *out, struct err *err)
{
    const struct repo_setting *s;
    int rc = repo_setting_find(key, &s, err);

    if (rc == 0)
        rc = db_get_text(r->db, out, err, "SELECT value FROM setting WHERE key = ?",
                         "t", key);
    if (rc == 0)
        buf_adds(out, s->standard);
    return rc;
}

int
repo_setting_int(struct repo *r, const char *key, int64_t *out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    int rc = repo_setting_get(r, key, &text, err);

    if (rc >= 0 && !is_whole(buf_str(&text), out))
        return err_set(err, ERR_CORRUPT, "the setting %s is '%s', which is no number",
                       key, buf_str(&text));
    return rc < 0 ? rc : 0;
}

int
repo_setting_is(struct repo *r, const char *key, const char *value, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    int rc = repo_setting_get(r, key, &text, err);

    return rc < 0 ? rc : strcmp(buf_str(&text), value) == 0;
}

int
repo_setting_set(struct repo *r, const char *key, const char *value_or_null,
                 struct err *err)
{
    const struct repo_setting *s;
    int rc = repo_setting_find(key, &s, err);

    if (rc == 0 && !value_or_null)
        return db_run(r->db, err, "DELETE FROM setting WHERE key = ?", "t", key);
    if (rc == 0)
        rc = check_value(s, value_or_null, err);
    if (rc == 0)
        rc = db_run(r->db, err,
                    "INSERT INTO setting(key, value, time_ns, set_by) "
                    "VALUES(?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET "
                    "value = excluded.value, time_ns = excluded.time_ns, "
                    "set_by = excluded.set_by",
                    "ttit", key, value_or_null, clock_now_ns(), acc_actor(r->acc));
    return rc;
}
