/* SPDX-License-Identifier: Apache-2.0 */
/* What stands, or does not stand, beside the graph: fingerprint, warm-up requests,
 * assets. */
#include "base/fs.h"
#include "validate/val_lint_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* "a file is absent" as a finding. */
static int
absent(struct lint *l, enum lint_rule rule, const char *file, struct err *err)
{
    struct lint_place at = { .file = str_of(file) };
    int r = fs_exists(l->dirfd, file, err);
    if (r == 0)
        lint_add(l, rule, &at, "the file is not there");
    return r;
}

/* The names of all assets of all MetaGraphs. */
static void
asset_names(struct lint *l, struct scan_index *out)
{
    for (int i = 0; i < sm_n_metas(l->model); i++) {
        struct str it, def;
        int stage = 0;
        while (scan_next_asset(sm_meta(l->model, i), &stage, &it, &def))
            scan_index_add(out, sm_pb_bytes(def, 2), 0);
    }
    scan_index_sort(out);
}

static int assets(struct lint *l, const struct scan_index *known, int fd,
                  const char *prefix, int depth, struct err *err);

static int
entry(struct lint *l, const struct scan_index *known, int dirfd, const char *name,
      const char *path, int depth, struct err *err)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat assets/%s", path);
    if (S_ISDIR(st.st_mode) && depth < 8) {
        int fd AUTO(fs_close) = -1;
        if (fs_open(&fd, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err) < 0)
            return -(int)err->code;
        return assets(l, known, fd, path, depth + 1, err);
    }
    if (S_ISREG(st.st_mode) && scan_index_find(known, str_of(path)) < 0) {
        char *file AUTO(free_ptr) = xasprintf("assets/%s", path);
        struct lint_place at = { .file = str_of(file), .bytes = (double)st.st_size };
        lint_add(l, LINT_unused_asset, &at, "no asset of the model has this name");
    }
    return 0;
}

static int
assets(struct lint *l, const struct scan_index *known, int fd, const char *prefix,
       int depth, struct err *err)
{
    struct dirent **names;
    int n = scandirat(fd, ".", &names, NULL, alphasort), r = 0;
    if (n < 0)
        return err_sys(err, errno, "read directory assets/%s", prefix);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (r >= 0 && name[0] != '.') {
            char *path AUTO(free_ptr) =
                prefix[0] ? xasprintf("%s/%s", prefix, name) : xstrdup(name);
            r = entry(l, known, fd, name, path, depth, err);
        }
        free(names[i]);
    }
    free(names);
    return r;
}

int
lint_files(struct lint *l, struct err *err)
{
    struct scan_index known = { 0 };
    int fd AUTO(fs_close) = -1;
    if (absent(l, LINT_no_fingerprint, "fingerprint.pb", err) < 0 ||
        absent(l, LINT_no_warmup, "assets.extra/tf_serving_warmup_requests", err) < 0)
        return -(int)err->code;
    struct stat st; /* a link is scan's matter */
    if (fstatat(l->dirfd, "assets", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISDIR(st.st_mode))
        return 0;
    if (fs_open(&fd, l->dirfd, "assets", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err) <
        0)
        return -(int)err->code;
    asset_names(l, &known);
    int r = assets(l, &known, fd, "", 0, err);
    scan_index_release(&known);
    return r;
}
