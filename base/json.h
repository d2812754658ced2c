/* SPDX-License-Identifier: Apache-2.0 */
/* cJSON, and the few lines everybody would write around it. Numbers are doubles:
 * a 64-bit hash is written as a string. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

#include <cjson/cJSON.h>

/* For main: out of memory, cJSON ends the program as xmalloc does; left alone it drops
 * what it cannot hold, and an event would lose facts without a word. */
void json_setup(void);
void json_free(cJSON **j); /* for AUTO */
/* ERR_INVALID with line and column; `what` names the document. Stricter than cJSON:
 * the text is UTF-8 throughout, has no U+0000, no number that a double cannot hold,
 * and nothing after the document. */
int json_parse(cJSON **out, struct str text, const char *what,
               struct err *err) MUST_CHECK;
/* ERR_INVALID when an object in it has two members of one name: a reader takes the
 * first, another the last, so what decides over something must not have them. */
int json_check_names(const cJSON *j, const char *what, struct err *err) MUST_CHECK;
/* A member's value (a string is lent); null counts as absent. ERR_INVALID: absent
 * without a fallback (NULL, NaN mean none), or of another type; `what` names the
 * document. */
int json_str(const cJSON *obj, const char *key, const char *fallback, const char **out,
             const char *what, struct err *err) MUST_CHECK;
int json_num(const cJSON *obj, const char *key, double fallback, double *out,
             const char *what, struct err *err) MUST_CHECK;
int json_bool(const cJSON *obj, const char *key, bool fallback, bool *out,
              const char *what, struct err *err) MUST_CHECK;
bool json_has(const cJSON *obj, const char *key);
/* In all strings that are values, `to` for each `from`. */
void json_replace(cJSON *j, const char *from, const char *to);
/* One document: indented by two spaces, with a final newline; or on one line, without.
 */
void json_print(const cJSON *j, struct buf *out, bool one_line);
/* Appends the one text of a value: members sorted by the bytes of their names, no
 * blanks, numbers with the fewest digits that read back alike. */
void json_canonical(const cJSON *j, struct buf *out);
/* Appends s as a JSON string with quotes; bytes that are no UTF-8 become U+FFFD. */
void json_add_quoted(struct buf *out, struct str s);
/* Each puts a member into an object, or with a NULL key an element into an array. A
 * string may hold any bytes (json_print makes them UTF-8); an integer keeps all its
 * digits when it is printed. */
void json_put_str(cJSON *obj, const char *key, const char *s); /* NULL: JSON null */
void json_put_int(cJSON *obj, const char *key, int64_t v);
void json_put_real(cJSON *obj, const char *key, double v); /* NaN, inf: strings */
void json_put_bool(cJSON *obj, const char *key, bool v);

#endif
