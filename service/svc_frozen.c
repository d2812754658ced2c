/* SPDX-License-Identifier: Apache-2.0 */
/* A frozen graph as a model directory: a scratch directory with the saved_model.pb that
 * stands for it, so that everything that takes a directory takes a GraphDef too, the
 * runner with its view of one directory included. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The keys of "key=value;key=value", with commas. */
static void
add_keys(const char *items, struct buf *out)
{
    for (const char *p = items; p && *p;) {
        size_t n = strcspn(p, ";"), n_key = strcspn(p, "=;");
        buf_addf(out, "%s%.*s", out->len ? "," : "", (int)n_key, p);
        p += n + (p[n] == ';');
    }
}

static int
write_model(const struct sm_frozen *f, const char *dir, struct err *err)
{
    int dirfd AUTO(fs_close) = -1, fd AUTO(fs_close) = -1;
    const char *name = sm_form_file(SM_FORM_PB);
    if (fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0 ||
        fs_open(&fd, dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0600, err) < 0 ||
        fs_write_all(fd, f->head.data, f->head.len, name, err) < 0 ||
        fs_write_all(fd, f->graph.p, f->graph.n, name, err) < 0 ||
        fs_write_all(fd, f->tail.data, f->tail.len, name, err) < 0)
        return err_ctx(err, "%s", dir);
    return 0;
}

int
svc_frozen_open(struct svc_call *c, struct svc_dir *out, struct err *err)
{
    struct sm_frozen f AUTO(sm_frozen_release) = { .file = NULL };
    struct buf feeds AUTO(buf_release) = BUF_INIT;
    const char *tmp = getenv("TMPDIR");
    add_keys(svc_str(c, "inputs"), &feeds);
    add_keys(svc_str(c, "input_exprs"), &feeds);
    if (sm_frozen_open(&f, svc_str(c, "graph_def"), svc_str(c, "outputs"),
                       buf_str(&feeds), err) < 0)
        return -(int)err->code;
    char *dir = xasprintf("%s/sluice-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        int r = err_sys(err, errno, "make a scratch directory %s", dir);
        free(dir);
        return r;
    }
    out->path = out->scratch = dir;
    return write_model(&f, dir, err);
}
