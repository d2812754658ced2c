/* SPDX-License-Identifier: Apache-2.0 */
/* version, doctor */
#include "base/proc.h"
#include "runtime/runner/runner.h"
#include "service/svc_int.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

int
svc_do_version(struct svc_call *c, struct err *err)
{
    (void)err;
    json_put_str(c->reply, "version", SLUICE_VERSION);
    if (svc_flag(c, "verbose")) {
        json_put_str(c->reply, "sqlite", sqlite3_libversion());
        json_put_str(c->reply, "cjson", cJSON_Version());
    }
    return 0;
}

/* What the store's file system cannot do; one that is refused does not get here. */
static void
look_at_place(const struct repo *repo, cJSON *list)
{
    static const char *const limits[] = {
        [REPO_FS_LOCAL] = "",
        [REPO_FS_PASSING] = ": what is here goes with the machine or container",
        [REPO_FS_MAYBE] = ": only one machine at a time may have the store open",
    };
    struct statfs fs;
    const char *name;
    if (fstatfs(repo->dirfd, &fs) < 0)
        return;
    enum repo_fs_kind kind = repo_fs_kind((uint32_t)fs.f_type, &name);
    char *saw AUTO(free_ptr) =
        xasprintf("%s%s%s", name, limits[kind],
                  repo->is_read_only ? "; mounted read-only: reads work, and are not "
                                       "recorded (config: unrecorded_reads)"
                                     : "");
    svc_add_finding(list, "file system", !repo->is_read_only, saw,
                    "mount it writable, or leave it to reading");
}

static void
look_at_store(struct svc_call *c, cJSON *list)
{
    struct err err = ERR_INIT;
    struct buf path AUTO(buf_release) = BUF_INIT;
    struct db_schema schemas[SVC_N_SCHEMAS];
    int n = svc_schemas(schemas);
    struct repo *repo AUTO(repo_close_p) = NULL;
    if (repo_default_path(c->s->store_path, &path, &err) < 0 ||
        repo_open(&repo, buf_str(&path), schemas, n, &err) < 0) {
        svc_add_finding(list, "store", false, err.msg,
                        err.code == ERR_NOTFOUND ? "sluice init, or --store DIR"
                                                 : "what it says there");
        return;
    }
    svc_add_finding(list, "store", true, repo->path, NULL);
    struct stat st;
    char mode[64];
    bool private = fstat(repo->dirfd, &st) == 0 && (st.st_mode & 077) == 0;
    snprintf(mode, sizeof mode, "mode %04o", (unsigned)(st.st_mode & 07777));
    svc_add_finding(
        list, "only the owner can enter the store", private, mode,
        "chmod 700 the store's directory: grants are no wall against who can write "
        "files");
    look_at_place(repo, list);
    struct statvfs fs;
    if (fstatvfs(repo->dirfd, &fs) == 0) {
        char space[64];
        double free_mib = (double)fs.f_bavail * (double)fs.f_frsize / (1 << 20);
        snprintf(space, sizeof space, "%.0f MiB free", free_mib);
        svc_add_finding(list, "room for new versions", free_mib > 64, space,
                        "free some space on the store's file system");
    }
    struct acc_verify v = { 0 };
    int r = acc_verify(repo->acc, &v, &err);
    svc_add_finding(
        list, "audit log", r >= 0, r >= 0 ? "chain and signed head agree" : err.msg,
        "sluice audit verify; keep a copy of the store before anything else");
}

static void
look_at_helper(cJSON *list, const char *what, const char *name)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char *way_out AUTO(free_ptr) = xasprintf(
        "make install, or set SLUICE_LIBEXEC to the folder that holds %s", name);
    bool have = proc_helper_path(name, &path, &err) >= 0;
    svc_add_finding(list, what, have, have ? buf_str(&path) : err.msg, way_out);
}

static void
tell_protection(void *arg, const char *what, bool ok, const char *saw, const char *fix)
{
    svc_add_finding(arg, what, ok, saw, fix);
}

int
svc_do_doctor(struct svc_call *c, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(c->reply, "findings");
    look_at_helper(list, "the runtime's process", "sluice-runner");
    runner_protections(tell_protection, list);
    look_at_helper(list, "the reader of archives", "sluice-unpack");
    look_at_store(c, list);
    int n_bad = 0;
    for (const cJSON *f = list->child; f; f = f->next)
        n_bad += !cJSON_IsTrue(cJSON_GetObjectItem(f, "ok"));
    if (n_bad)
        return err_set(err, ERR_FAILED, "doctor: %d finding%s", n_bad,
                       n_bad == 1 ? "" : "s");
    return 0;
}
