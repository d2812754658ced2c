/* SPDX-License-Identifier: Apache-2.0 */
/* What scan says of the files: assets that lie elsewhere, links, programs, Keras
 * layers that are Python byte code. */
#include "base/fs.h"
#include "validate/val_scan_int.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAX_DEPTH 32
#define MAX_METADATA_BYTES ((size_t)256 << 20)

/* ---- assets ---- */

/* Why a path does not stay below assets/; NULL: it does. */
static const char *
path_leaves(struct str path)
{
    if (!path.n)
        return "is empty";
    if (path.p[0] == '/')
        return "is absolute";
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
            return "has a control character";
    if (memmem(path.p, path.n, "://", 3))
        return "is an address";
    if (memchr(path.p, '\\', path.n) || (path.n > 1 && path.p[1] == ':'))
        return "is a path of Windows";
    for (size_t at = 0; at <= path.n;) {
        const char *slash = memchr(path.p + at, '/', path.n - at);
        size_t end = slash ? (size_t)(slash - path.p) : path.n;
        if (end - at == 2 && memcmp(path.p + at, "..", 2) == 0)
            return "leads out with '..'";
        at = end + 1;
    }
    return NULL;
}

void
scan_assets(struct scan *s, const struct sm_meta *meta)
{
    struct str it, def;
    int stage = 0;
    while (scan_next_asset(meta, &stage, &it, &def)) {
        struct str name = sm_pb_bytes(def, 2);
        const char *why = path_leaves(name);
        char *text AUTO(free_ptr) = scan_text(name);
        if (why)
            scan_add_file(s, SCAN_asset, SCAN_ERROR, s->model_file,
                          "the asset file name '%s' %s", text, why);
    }
}

/* ---- Keras metadata ---- */

static bool
has_lambda(const cJSON *j)
{
    if (cJSON_IsObject(j)) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(j, "class_name");
        if (cJSON_IsString(name) && (strcmp(name->valuestring, "Lambda") == 0 ||
                                     strcmp(name->valuestring, "__lambda__") == 0))
            return true;
    }
    for (const cJSON *c = j ? j->child : NULL; c; c = c->next)
        if (has_lambda(c))
            return true;
    return false;
}

/* Is there a Lambda in the metadata of an object? What is no strict JSON (Python writes
 * NaN) is searched as text. */
static bool
is_lambda(struct str text)
{
    static const char needle[] = "\"Lambda\"";
    cJSON *j AUTO(json_free) = NULL;
    if (!text.n || text.p[0] != '{')
        return false;
    j = cJSON_ParseWithLength(text.p, text.n);
    return j ? has_lambda(j)
             : memmem(text.p, text.n, needle, sizeof needle - 1) != NULL;
}

static void
say_lambda(struct scan *s, const char *file, int n_objects)
{
    if (n_objects)
        scan_add_file(
            s, SCAN_process, SCAN_ERROR, file,
            "Keras Lambda layers (in the metadata of %d objects): loading the "
            "model as a Keras model runs Python byte code from this file",
            n_objects);
}

void
scan_keras_metadata(struct scan *s, struct str object_graph)
{
    struct str object;
    struct sm_field f;
    int n = 0;
    while (sm_pb_next_msg(&object_graph, 1, &object) > 0)
        if (sm_pb_get(object, 4, &f) && f.wire == 2)
            n += is_lambda(sm_pb_bytes(f.bytes, 3));
    say_lambda(s, s->model_file, n);
}

/* keras_metadata.pb: SavedMetadata { 1 repeated SavedObject { … 5 metadata } }. */
static int
keras_file(struct scan *s, int dirfd, const char *name, struct err *err)
{
    struct buf bytes AUTO(buf_release) = { .cap_bytes = MAX_METADATA_BYTES };
    if (fs_read(dirfd, name, &bytes, err) < 0)
        return -(int)err->code;
    struct str it = { buf_str(&bytes), bytes.len }, object;
    struct sm_field f;
    int n = 0;
    while (sm_pb_next_msg(&it, 1, &object) > 0)
        while (sm_pb_next(&object, &f) > 0)
            n += f.wire == 2 && is_lambda(f.bytes);
    say_lambda(s, name, n);
    return 0;
}

/* ---- every file ---- */

static bool
ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcasecmp(name + n - m, end) == 0;
}

/* What kind of program a file is; NULL: none that is known. */
static const char *
program_kind(const char *name, const unsigned char *head, size_t n)
{
    static const struct {
        const char *end, *kind;
    } ends[] = { { ".py", "Python source" },
                 { ".pyc", "Python byte code" },
                 { ".so", "a shared library" },
                 { ".dll", "a shared library" },
                 { ".dylib", "a shared library" },
                 { ".sh", "a shell script" },
                 { ".pkl", "a pickle, which runs code when it is read" },
                 { ".pickle", "a pickle, which runs code when it is read" },
                 { ".joblib", "a pickle, which runs code when it is read" } };
    if (n >= 4 && memcmp(head, "\177ELF", 4) == 0)
        return "a native program or library";
    if (n >= 2 && memcmp(head, "MZ", 2) == 0 &&
        (ends_with(name, ".exe") || ends_with(name, ".dll")))
        return "a native program or library";
    if (n >= 3 && memcmp(head, "#!/", 3) == 0)
        return "a script";
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, ends[i].end))
            return ends[i].kind;
    return NULL;
}

static int
regular_file(struct scan *s, int dirfd, const char *name, const char *path,
             struct err *err)
{
    int fd AUTO(fs_close) = -1;
    unsigned char head[4];
    if (fs_open(&fd, dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err) < 0)
        return -(int)err->code;
    ssize_t n = pread(fd, head, sizeof head, 0);
    const char *kind = program_kind(name, head, n > 0 ? (size_t)n : 0);
    if (kind)
        scan_add_file(s, SCAN_code, SCAN_WARNING, path, "%s", kind);
    if (strcmp(path, "keras_metadata.pb") == 0)
        return keras_file(s, dirfd, name, err);
    return 0;
}

static int walk(struct scan *s, int fd, const char *prefix, int depth, struct err *err);

static int
entry(struct scan *s, int dirfd, const char *name, const char *path, int depth,
      struct err *err)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (S_ISLNK(st.st_mode)) {
        struct buf to AUTO(buf_release) = BUF_INIT;
        if (fs_readlink(dirfd, name, &to, err) < 0)
            return -(int)err->code;
        char *text AUTO(free_ptr) = scan_text((struct str){ buf_str(&to), to.len });
        scan_add_file(s, SCAN_link, SCAN_ERROR, path, "a symbolic link to '%s'", text);
        return 0;
    }
    if (S_ISREG(st.st_mode))
        return regular_file(s, dirfd, name, path, err);
    if (!S_ISDIR(st.st_mode)) {
        scan_add_file(s, SCAN_link, SCAN_ERROR, path, "a device, pipe or socket");
        return 0;
    }
    if (depth == MAX_DEPTH) {
        scan_add_file(s, SCAN_oversize, SCAN_ERROR, path,
                      "directories nested more than %d deep", MAX_DEPTH);
        return 0;
    }
    int fd AUTO(fs_close) = -1;
    if (fs_open(&fd, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err) < 0)
        return -(int)err->code;
    return walk(s, fd, path, depth + 1, err);
}

static int
walk(struct scan *s, int fd, const char *prefix, int depth, struct err *err)
{
    struct dirent **names;
    int n = scandirat(fd, ".", &names, NULL, alphasort), r = 0;
    if (n < 0)
        return err_sys(err, errno, "read directory %s", prefix);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (r >= 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char *path AUTO(free_ptr) =
                prefix[0] ? xasprintf("%s/%s", prefix, name) : xstrdup(name);
            r = entry(s, fd, name, path, depth, err);
        }
        free_ptr(&names[i]);
    }
    free_ptr(&names);
    return r;
}

int
scan_files(struct scan *s, int dirfd, struct err *err)
{
    static const char *const forms[] = { "saved_model.pb", "saved_model.pbtxt",
                                         "saved_model.cpb" };
    int n = 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        int r = fs_exists(dirfd, forms[i], err);
        if (r < 0)
            return r;
        n += r;
        if (r && n > 1)
            scan_add_file(s, SCAN_structure, SCAN_ERROR, forms[i],
                          "a second form of the model: readers differ in which they "
                          "take");
    }
    return walk(s, dirfd, "", 0, err);
}
