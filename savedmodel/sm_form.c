/* SPDX-License-Identifier: Apache-2.0 */
/* The three files that a SavedModel may be, and which of them counts. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

/* In TensorFlow's order: of several the first is the model. */
static const struct {
    enum sm_form form;
    const char *name;
} files[] = {
    { SM_FORM_CPB, "saved_model.cpb" },
    { SM_FORM_PB, "saved_model.pb" },
    { SM_FORM_PBTXT, "saved_model.pbtxt" },
};

const char *
sm_form_file(enum sm_form form)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (files[i].form == form)
            return files[i].name;
    }
    return NULL;
}

int
sm_check_lfs(struct str b, const char *path, struct err *err)
{
    static const char lfs[] = "version https://git-lfs";
    if (b.n < sizeof(lfs) - 1 || memcmp(b.p, lfs, sizeof(lfs) - 1) != 0)
        return 0;
    return err_set(
        err, ERR_CORRUPT,
        "%s is a Git LFS pointer, not the model: fetch it with 'git lfs pull'", path);
}

/* Puts the converted bytes in place of the file's. */
static void
replace(struct sm_file *f, struct buf *out)
{
    sm_file_release(f);
    f->bytes = (struct str){ buf_str(out), out->len };
    f->heap = buf_take(out);
    if (f->heap)
        f->bytes.p = f->heap;
}

int
sm_form_convert(struct sm_file *f, enum sm_form form, enum sm_msg type,
                const char *path, struct err *err)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    int rc = sm_check_lfs(f->bytes, path, err);
    if (rc < 0)
        return rc;
    if (form == SM_FORM_PBTXT)
        rc = sm_pbtxt(f->bytes, type, &out, err);
    else if (form == SM_FORM_CPB)
        rc = sm_cpb_merge(f->bytes, &out, err);
    if (rc < 0)
        return err_ctx(err, "%s", path);
    if (form != SM_FORM_PB)
        replace(f, &out);
    return sm_check_file(f, type, path, err);
}

int
sm_form_open(struct sm_file *f, enum sm_form *form, int dirfd, const char *dir,
             struct err *err)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        int rc = sm_file_open(f, dirfd, files[i].name, err);
        if (rc == -ERR_NOTFOUND) {
            err_clear(err);
            continue;
        }
        if (rc < 0)
            return err_ctx(err, "%s", dir);
        char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, files[i].name);
        *form = files[i].form;
        return sm_form_convert(f, *form, SM_M_SavedModel, path, err);
    }
    return err_set(err, ERR_NOTFOUND, "SavedModel file does not exist at: %s", dir);
}
