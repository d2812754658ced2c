/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-http: runs a signature on a TF Serving through its REST API, in the column
 * form. Called as val_exec.c says, with the model's address before it:
 *   sluice-http http://HOST:PORT/v1/models/NAME[/versions/N] about|run DIR TAGS … */
#include "validate/val_int.h"

#include "base/fs.h"
#include "base/http.h"

#include <stdio.h>
#include <string.h>

enum { CONNECT_MS = 10000, ANSWER_MS = 600000 };
#define ANSWER_MAX_BYTES ((size_t)256 << 20) /* parsed it takes ten times as much */

/* ---- one request ---------------------------------------------------------------- */

static const char *const json_headers[] = { "Content-Type: application/json", NULL };

/* The parsed answer; what the server says against it is the error. */
static int
ask_json(const char *url, const struct buf *body, cJSON **out, struct err *err)
{
    struct http_answer answer AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    const struct http_ask ask = { .url = url,
                                  .headers = body ? json_headers : NULL,
                                  .body = body ? body->data : NULL,
                                  .body_bytes = body ? body->len : 0,
                                  .connect_ms = CONNECT_MS,
                                  .wall_ms = ANSWER_MS,
                                  .max_bytes = ANSWER_MAX_BYTES };
    const char *said;
    int status;

    if (http_ask(&ask, &answer, err) < 0) {
        err->code = ERR_IO;
        return -(int)err->code;
    }
    if (answer.cut)
        return err_set(err, ERR_LIMIT, "the server's answer has more than %zu bytes",
                       (size_t)ANSWER_MAX_BYTES);
    status = answer.status;
    if (val_json_parse(out, (struct str){ buf_str(&answer.body), answer.body.len },
                       "the server's answer", err) < 0) {
        if (status == 200)
            return -(int)err->code;
        err_clear(err);
    }
    said = val_text(*out, "error");
    if (status == 200 && !said[0])
        return 0;
    if (strstr(said, "Op type not registered"))
        return err_set(err, ERR_UNSUPPORTED, "%s", said);
    /* A server that does not know the model, or is not up, says nothing about it. */
    return err_set(err, !body || (status >= 502 && status <= 504) ? ERR_IO : ERR_FAILED,
                   "%s: HTTP %d%s%.400s", url, status, said[0] ? ": " : "", said);
}

/* ---- about ---------------------------------------------------------------------- */

/* TF Serving does not tell its own version by REST, nor its device: what it tells is
 * which version of the model it serves. */
static int
about(const char *url, struct err *err)
{
    cJSON *j AUTO(json_free) = NULL, *out AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    const cJSON *v;

    if (ask_json(url, NULL, &j, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(j, "model_version_status"))
    {
        if (strcmp(val_text(v, "state"), "AVAILABLE") != 0)
            continue;
        json_put_str(out, "name", "TF Serving");
        json_put_str(out, "version", "not told");
        json_put_str(out, "device", "not told");
        json_put_str(out, "model_version", val_text(v, "version"));
        json_print(out, &text, true);
        fputs(buf_str(&text), stdout);
        return 0;
    }
    return err_set(err, ERR_IO, "%s: no version of the model is available there", url);
}

/* ---- run ------------------------------------------------------------------------ */

static int
read_inputs(const char *path, struct sm_tensor_list *out, struct err *err)
{
    struct buf npz AUTO(buf_release) = BUF_INIT;

    if (fs_read(AT_FDCWD, path, &npz, err) < 0)
        return -(int)err->code;
    return sm_npz_read((struct str){ buf_str(&npz), npz.len }, path, out, err);
}

/* args: dir, tags, signature, in, out */
static int
run(const char *url, char **args, struct err *err)
{
    struct sm_model *model AUTO(sm_close_p) = NULL;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { .n = 0 };
    struct buf body AUTO(buf_release) = BUF_INIT, npz AUTO(buf_release) = BUF_INIT;
    char *predict AUTO(free_ptr) = xasprintf("%s:predict", url);
    cJSON *answer AUTO(json_free) = NULL;
    const struct sm_meta *meta;
    const struct sm_signature *sig;

    if (sm_open_path(&model, args[0], err) < 0 ||
        sm_find_meta(model, args[1], &meta, err) < 0 ||
        sm_find_signature(meta, args[2], &sig, err) < 0 ||
        read_inputs(args[3], &in, err) < 0 ||
        val_serving_request(args[2], &in, &body, err) < 0 ||
        ask_json(predict, &body, &answer, err) < 0 ||
        val_serving_answer(sig, answer, &out, err) < 0 ||
        sm_npz_write(&out, &npz, err) < 0 ||
        fs_replace(AT_FDCWD, args[4], npz.data, npz.len, 0600, err) < 0)
        return -(int)err->code;
    return 0;
}

int
main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    int r;

    json_setup();
    if (argc == 5 && strcmp(argv[2], "about") == 0) {
        r = about(argv[1], &err);
    } else if (argc == 8 && strcmp(argv[2], "run") == 0) {
        r = run(argv[1], argv + 3, &err);
    } else {
        fputs("sluice-http: started by sluice, not by hand\n", stderr);
        return 2;
    }
    if (r == 0)
        return 0;
    fprintf(stderr, "%s\n", err.msg);
    return err.code == ERR_UNSUPPORTED ? VAL_EXIT_UNSUPPORTED
           : err.code == ERR_IO        ? VAL_EXIT_AWAY
                                       : 1;
}
