/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo_int.h"
#include "repo/tree.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Letters of the C locale, whatever the process's is. */
static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

static bool
all_digits(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s);
}

void
repo_name_encode(const char *name, struct buf *out)
{
    for (; *name; name++)
        if (is_word(*name) || *name == '.' || *name == '-')
            buf_addc(out, *name);
        else
            buf_addf(out, "%%%02X", (uint8_t)*name);
}

/* Bytes of the UTF-8 character at s, and its value; 0: malformed, overlong, a surrogate
 * or above U+10FFFF (RFC 3629). */
static int
utf8_char(const char *s, uint32_t *value)
{
    static const struct {
        uint8_t mask, lead;
        uint32_t least;
    } forms[] = { { 0x80, 0x00, 0 },
                  { 0xe0, 0xc0, 0x80 },
                  { 0xf0, 0xe0, 0x800 },
                  { 0xf8, 0xf0, 0x10000 } };
    const uint8_t *u = (const uint8_t *)s;

    for (int n = 0; n < 4; n++) {
        if ((u[0] & forms[n].mask) != forms[n].lead)
            continue;
        *value = u[0] & (uint8_t)~forms[n].mask;
        for (int i = 1; i <= n; i++) {
            if ((u[i] & 0xc0) != 0x80)
                return 0;
            *value = *value << 6 | (u[i] & 0x3f);
        }
        return *value < forms[n].least || *value > 0x10ffff ||
                       (*value >= 0xd800 && *value < 0xe000)
                   ? 0
                   : n + 1;
    }
    return 0;
}

static bool
is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

int
repo_check_text(const char *text, size_t max_bytes, bool lines, const char *what,
                struct err *err)
{
    const size_t n = strlen(text);

    if (n > max_bytes)
        return err_set(err, ERR_LIMIT, "%s has %zu bytes; at most %zu may be", what, n,
                       max_bytes);
    for (const char *s = text; *s;) {
        uint32_t c = 0;
        int step = utf8_char(s, &c);

        if (step == 0)
            return err_set(err, ERR_INVALID, "%s: byte %td is not UTF-8", what,
                           s - text + 1);
        if (is_control(c) && !(lines && (c == '\n' || c == '\t')))
            return err_set(err, ERR_INVALID,
                           "%s: byte %td is a control character (U+%04X)", what,
                           s - text + 1, (unsigned)c);
        s += step;
    }
    return 0;
}

/* NULL: fine, else the rule that is broken. */
static const char *
model_name_fault(const char *name)
{
    struct buf encoded AUTO(buf_release) = BUF_INIT;

    if (!name[0])
        return "it is empty";
    if (strlen(name) >= REPO_NAME_BYTES)
        return "it is longer than 255 bytes";
    if (name[0] == '-' || name[0] == '.')
        return "it begins with - or .";
    if (strcmp(name, "config") == 0 || strcmp(name, "latest") == 0)
        return "config and latest mean something else in a target";
    for (const char *s = name; *s;) {
        uint32_t c = 0;
        int n = utf8_char(s, &c);

        if (n == 0)
            return "it is not UTF-8";
        if (is_control(c))
            return "it holds a control character";
        if (c == '/' || c == ':' || c == '@')
            return "it holds one of / : @";
        s += n;
    }
    repo_name_encode(name, &encoded);
    if (encoded.len > REPO_ENCODED_NAME_MAX)
        return "as a directory (other bytes than A-Za-z0-9._- as %XX) it is longer "
               "than "
               "200 bytes";
    return NULL;
}

int
repo_check_model_name(const char *name, struct err *err)
{
    const char *fault = model_name_fault(name);

    if (!fault)
        return 0;
    /* what is shown goes to a terminal: bytes that are not safe there are encoded */
    struct buf shown AUTO(buf_release) = BUF_INIT;
    repo_path_encode(name, &shown);
    return err_set(err, ERR_INVALID, "'%.300s' cannot be a model's name: %s",
                   buf_str(&shown), fault);
}

int
repo_check_file_path(const char *path, struct err *err)
{
    const char *fault = NULL;

    for (const char *s = path; *s && !fault;) {
        uint32_t c = 0;
        int n = utf8_char(s, &c);

        if (n == 0)
            fault = "is not UTF-8";
        else if (is_control(c))
            fault = "holds a control character";
        s += n;
    }
    if (!fault)
        return 0;
    struct buf shown AUTO(buf_release) = BUF_INIT;
    repo_path_encode(path, &shown);
    return err_set(err, ERR_INVALID, "%.300s: its name %s: rename it", buf_str(&shown),
                   fault);
}

static const char *
alias_name_fault(const char *name)
{
    if (!name[0])
        return "it is empty";
    if (strlen(name) >= REPO_ALIAS_BYTES)
        return "it is longer than 128 bytes";
    if (!is_word(name[0]))
        return "it begins with something else than a letter, a digit or _";
    for (const char *s = name; *s; s++)
        if (!is_word(*s) && *s != '.' && *s != '-')
            return "it holds something else than letters, digits, _ . -";
    if (all_digits(name))
        return "only digits are a version's number";
    if (strcmp(name, "latest") == 0)
        return "the newest version is meant by the model's name alone";
    if (name[0] == 'v' && all_digits(name + 1))
        return "v and digits look like a version: its number is written without v";
    return NULL;
}

int
repo_check_alias_name(const char *name, struct err *err)
{
    const char *fault = alias_name_fault(name);

    if (!fault)
        return 0;
    struct buf shown AUTO(buf_release) = BUF_INIT;
    repo_path_encode(name, &shown);
    return err_set(err, ERR_INVALID, "'%.300s' cannot be a name: %s", buf_str(&shown),
                   fault);
}

/* ---- references ------------------------------------------------------------------ */

static int
parse_number(const char *text, int64_t *out, struct err *err)
{
    int64_t n = 0;

    for (const char *s = text; *s; s++) {
        if (n > (INT64_MAX - 9) / 10)
            return err_set(err, ERR_INVALID, "version %.40s…: no number is that high",
                           text);
        n = n * 10 + (*s - '0');
    }
    if (text[0] == '0')
        return err_set(err, ERR_INVALID,
                       "version %.40s: numbers begin at 1 and have no leading 0", text);
    *out = n;
    return 0;
}

static int
parse_digest(const char *hex, struct repo_ref *out, struct err *err)
{
    const size_t n = strlen(hex);

    if (n < 8 || n > 64 || strspn(hex, "0123456789abcdefABCDEF") != n)
        return err_set(err, ERR_INVALID, "a digest is 8 to 64 hex digits");
    for (size_t i = 0; i < n; i++)
        out->digest_hex[i] =
            hex[i] >= 'A' && hex[i] <= 'F' ? (char)(hex[i] | 0x20) : hex[i];
    return 0;
}

/* `n` bytes at `name`. */
static int
take_model(const char *name, size_t n, struct repo_ref *out, struct err *err)
{
    char *copy AUTO(free_ptr) = xstrndup(name, n);
    int r = repo_check_model_name(copy, err);

    if (r == 0)
        memcpy(out->model, copy, n + 1); /* the check bounds n */
    return r;
}

static int
take_alias(const char *alias, struct repo_ref *out, struct err *err)
{
    int r = repo_check_alias_name(alias, err);

    if (r == 0)
        snprintf(out->alias, sizeof(out->alias), "%s", alias);
    return r;
}

static int
parse(const char *text, struct repo_ref *out, struct err *err)
{
    static const char mlflow[] = "models:/", sha256[] = "sha256:";
    const bool is_mlflow = strncmp(text, mlflow, sizeof(mlflow) - 1) == 0;
    const char *name = is_mlflow ? text + sizeof(mlflow) - 1 : text, *sep;
    int r;

    if (strncmp(text, sha256, sizeof(sha256) - 1) == 0)
        return parse_digest(text + sizeof(sha256) - 1, out, err);
    sep = strpbrk(name, is_mlflow ? "/@" : "@");
    if (!sep && is_mlflow)
        return err_set(err, ERR_INVALID,
                       "this form is models:/NAME/NUMBER or models:/NAME@ALIAS");
    r = take_model(name, sep ? (size_t)(sep - name) : strlen(name), out, err);
    if (r < 0 || !sep)
        return r;
    if (all_digits(sep + 1) && (!is_mlflow || *sep == '/'))
        return parse_number(sep + 1, &out->number, err);
    if (*sep == '/')
        return err_set(err, ERR_INVALID,
                       "a version's number is missing after the last /; an alias is "
                       "written models:/%s@ALIAS",
                       out->model);
    return take_alias(sep + 1, out, err);
}

int
repo_ref_parse(const char *text, struct repo_ref *out, struct err *err)
{
    int r;

    memset(out, 0, sizeof(*out));
    r = parse(text, out, err);
    if (r < 0) {
        struct buf shown AUTO(buf_release) = BUF_INIT;

        memset(out, 0, sizeof(*out));
        repo_path_encode(text, &shown);
        return err_ctx(err, "reference %.300s", buf_str(&shown));
    }
    return 0;
}

/* ---- digests and trees ---- */

void
repo_digest_text(const struct digest *d, char out[REPO_DIGEST_BYTES])
{
    memcpy(out, "sha256:", 7);
    digest_hex(d, out + 7);
}

bool
repo_digest_parse(const char *text, struct digest *out)
{
    return strncmp(text, "sha256:", 7) == 0 && digest_parse(str_of(text + 7), out);
}

int
repo_tree_parse(const char *text, struct digest *out, const char **name,
                struct err *err)
{
    const size_t n = sizeof(REPO_TREE_PREFIX) - 1;
    const char *rest;

    if (strncmp(text, REPO_TREE_PREFIX, n) != 0)
        return 0;
    rest = strlen(text) >= n + 64 ? text + n + 64 : "";
    if (!digest_parse((struct str){ text + n, (size_t)(rest - text) - n }, out) ||
        (*rest && (*rest != '/' || !repo_path_is_clean(rest + 1))))
        return err_set(
            err, ERR_INVALID,
            "'%.200s' is no tree: " REPO_TREE_PREFIX "<64 hex digits>[/NAME]", text);
    *name = *rest ? rest + 1 : rest;
    return 1;
}

void
repo_tree_text(const struct digest *d, const char *name, struct buf *out)
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(d, hex);
    buf_addf(out, REPO_TREE_PREFIX "%s%s%s", hex, name[0] ? "/" : "", name);
}
