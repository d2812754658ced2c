/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest is the canonical list of a version's files; its SHA-256 is the version's
 * digest. UTF-8 (in fact ASCII), every line ends in LF:
 *
 *   sluice-manifest 1
 *   <64 hex, lower case> <size> <path>        one line a file
 *
 *  1. one list has one text: sizes in decimal without leading zeros; in a path the
 * bytes outside [!-~] and '%' are %XX in upper case, all others stand for themselves;
 *  2. lines are in strictly ascending byte order of the raw paths;
 *  3. a path is relative, at most REPO_PATH_MAX bytes, '/'-separated, without empty,
 * "." or
 *     ".." parts, and no file's path is the directory of another's;
 *  4. at least one file; modes and empty directories are not part of a model. */
#include "repo/repo_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char first_line[] = "sluice-manifest 1\n";

void
repo_path_encode(const char *path, struct buf *out)
{
    for (; *path; path++)
        if (*path > ' ' && *path <= '~' && *path != '%')
            buf_addc(out, *path);
        else
            buf_addf(out, "%%%02X", (uint8_t)*path);
}

void
repo_manifest_release(struct repo_manifest *m)
{
    for (int i = 0; i < m->n_files; i++)
        free(m->files[i].path);
    free(m->files);
    *m = (struct repo_manifest){ .files = NULL };
}

void
repo_manifest_begin(struct buf *out)
{
    buf_adds(out, first_line);
}

void
repo_manifest_format(const struct repo_manifest *m, struct buf *out)
{
    char hex[DIGEST_HEX_BYTES];

    repo_manifest_begin(out);
    for (int i = 0; i < m->n_files; i++) {
        const struct repo_file *f = &m->files[i];

        digest_hex(&f->digest, hex);
        buf_addf(out, "%s %" PRId64 " ", hex, f->size_bytes);
        repo_path_encode(f->path, out);
        buf_addc(out, '\n');
    }
}

/* ---- parsing: each function takes what it reads from the front of *it --------------
 */

static bool
take_digest(struct str *it, struct digest *out)
{
    char again[DIGEST_HEX_BYTES];

    if (it->n < 65 || it->p[64] != ' ' || !digest_parse((struct str){ it->p, 64 }, out))
        return false;
    digest_hex(out, again);
    if (memcmp(again, it->p, 64) != 0) /* upper case */
        return false;
    it->p += 65;
    it->n -= 65;
    return true;
}

static bool
take_size(struct str *it, int64_t *out)
{
    size_t n = 0;

    *out = 0;
    for (; n < it->n && it->p[n] >= '0' && it->p[n] <= '9'; n++) {
        if (*out > (INT64_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (it->p[n] - '0');
    }
    if (n == 0 || (n > 1 && it->p[0] == '0') || n == it->n || it->p[n] != ' ')
        return false;
    it->p += n + 1;
    it->n -= n + 1;
    return true;
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *
repo_path_decode(struct str text)
{
    struct buf raw AUTO(buf_release) = { .cap_bytes = REPO_PATH_MAX };

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (c == '%') {
            int hi = text.n - i > 2 ? hex_digit(text.p[i + 1]) : -1;
            int lo = hi >= 0 ? hex_digit(text.p[i + 2]) : -1;

            if (lo < 0)
                return NULL;
            c = (char)(hi << 4 | lo);
            if (c == '\0' || (c > ' ' && c <= '~' && c != '%'))
                return NULL;
            i += 2;
        } else if (c <= ' ' || c > '~') {
            return NULL;
        }
        buf_addc(&raw, c);
    }
    return raw.len > 0 && !raw.over ? buf_take(&raw) : NULL;
}

bool
repo_path_is_clean(const char *path)
{
    for (const char *part = path;; part++) {
        size_t n = strcspn(part, "/");

        if (n == 0 || (n == 1 && part[0] == '.') ||
            (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += n;
        if (!*part)
            return true;
    }
}

/* NULL: taken as the next file; else the rule that the line breaks. */
static const char *
take_line(struct repo_manifest *m, size_t *n_alloc, struct str line)
{
    struct repo_file f = { .path = NULL };
    const char *last = m->n_files > 0 ? m->files[m->n_files - 1].path : NULL;

    if (m->n_files == REPO_FILES_MAX)
        return "too many files";
    if (!take_digest(&line, &f.digest))
        return "it does not begin with 64 lower-case hex digits and a blank";
    if (!take_size(&line, &f.size_bytes) || f.size_bytes > INT64_MAX - m->size_bytes)
        return "its size is no decimal number";
    f.path = repo_path_decode(line);
    if (!f.path)
        return "its path is not written as it has to be";
    if (!repo_path_is_clean(f.path) || (last && strcmp(last, f.path) >= 0)) {
        free(f.path);
        return "its path is absolute, holds an empty, . or .. part, or is out of order";
    }
    if ((size_t)m->n_files == *n_alloc) {
        *n_alloc = *n_alloc ? *n_alloc * 2 : 16;
        m->files = xreallocarray(m->files, *n_alloc, sizeof(*m->files));
    }
    m->files[m->n_files++] = f;
    m->size_bytes += f.size_bytes;
    return NULL;
}

static int
compare_path(const void *key, const void *file)
{
    return strcmp(key, ((const struct repo_file *)file)->path);
}

/* A file whose path is a directory of another one; NULL: none. */
static const char *
file_as_directory(const struct repo_manifest *m)
{
    for (int i = 0; i < m->n_files; i++) {
        const char *path = m->files[i].path;

        for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
            char *parent AUTO(free_ptr) = xstrndup(path, (size_t)(slash - path));
            const struct repo_file *f = bsearch(parent, m->files, (size_t)m->n_files,
                                                sizeof(*m->files), compare_path);

            if (f)
                return f->path;
        }
    }
    return NULL;
}

static int
parse(struct repo_manifest *m, struct str text, const char *what, struct err *err)
{
    const struct str first = STR_LIT(first_line);
    struct str it = text;
    size_t n_alloc = 0;
    const char *fault;

    if (it.n < first.n || memcmp(it.p, first.p, first.n) != 0)
        return err_set(err, ERR_CORRUPT, "%s: no manifest: line 1 is not '%.*s'", what,
                       (int)first.n - 1, first.p);
    it.p += first.n;
    it.n -= first.n;
    while (it.n > 0) {
        const char *lf = memchr(it.p, '\n', it.n);
        const struct str line = { it.p, lf ? (size_t)(lf - it.p) : it.n };

        fault = lf ? take_line(m, &n_alloc, line) : "it is cut off";
        if (fault)
            return err_set(err, ERR_CORRUPT, "%s: manifest, line %d: %s", what,
                           m->n_files + 2, fault);
        it.p += line.n + 1;
        it.n -= line.n + 1;
    }
    if (m->n_files == 0)
        return err_set(err, ERR_CORRUPT, "%s: manifest without a file", what);
    fault = file_as_directory(m);
    if (fault)
        return err_set(err, ERR_CORRUPT,
                       "%s: manifest: '%s' is a file and the directory of another",
                       what, fault);
    sha256_of(text.p, text.n, &m->digest);
    return 0;
}

int
repo_manifest_parse(struct repo_manifest *out, struct str text, const char *what,
                    struct err *err)
{
    int r;

    *out = (struct repo_manifest){ .files = NULL };
    r = parse(out, text, what, err);
    if (r < 0)
        repo_manifest_release(out);
    return r;
}
