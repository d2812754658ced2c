/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ssh.h"

#include <stdlib.h>
#include <string.h>

void
ssh_url_release(struct ssh_url *u)
{
    free(u->to);
    free(u->port);
    free(u->dir);
    *u = (struct ssh_url){ .to = NULL };
}

/* What ssh could take for a flag, or a shell for something else, is none. */
static bool
is_plain(const char *s, const char *others)
{
    if (!*s || *s == '-')
        return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
              (*s >= '0' && *s <= '9') || strchr(others, *s)))
            return false;
    return true;
}

const char *
ssh_split_port(char **host, char **port)
{
    char *colon = strrchr(*host, ':');

    if (**host == '[') {
        char *end = strchr(*host, ']');

        if (!end || (end[1] && end[1] != ':'))
            return "its address has no ]";
        colon = end[1] ? end + 1 : NULL;
        *end = '\0';
        (*host)++;
    }
    *port = colon ? colon + 1 : NULL;
    if (!colon)
        return NULL;
    *colon = '\0';
    const size_t n = strlen(*port);
    if (n == 0 || n > 5 || strspn(*port, "0123456789") != n)
        return "its port is no number";
    const long number = strtol(*port, NULL, 10);
    return number < 1 || number > 65535 ? "a port is 1 to 65535" : NULL;
}

static const char *
url_fault(char *rest, struct ssh_url *out)
{
    char *slash = strchr(rest, '/'), *at, *host, *port;
    const char *fault;

    if (slash && slash[1])
        out->dir = xstrdup(slash);
    for (const char *p = slash; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return "its directory has control characters";
    if (slash)
        *slash = '\0';
    at = strrchr(rest, '@');
    host = at ? at + 1 : rest;
    if ((fault = ssh_split_port(&host, &port)))
        return fault;
    out->port = port ? xstrdup(port) : NULL;
    if (at)
        *at = '\0';
    if (!is_plain(host, ".-_:%"))
        return "its host is no name or address";
    if (at && !is_plain(rest, ".-_"))
        return "its user is no name";
    out->to = at ? xasprintf("%s@%s", rest, host) : xstrdup(host);
    return NULL;
}

int
ssh_url_parse(const char *text, struct ssh_url *out, struct err *err)
{
    static const char ssh[] = "ssh://";
    const char *fault;

    *out = (struct ssh_url){ .to = NULL };
    if (strncmp(text, ssh, sizeof(ssh) - 1) != 0) {
        fault = "it does not begin with ssh://";
    } else {
        char *rest AUTO(free_ptr) = xstrdup(text + sizeof(ssh) - 1);

        fault = url_fault(rest, out);
    }
    if (!fault)
        return 0;
    ssh_url_release(out);
    return err_set(err, ERR_USAGE, "%.300s: %s: ssh://[user@]host[:port]/directory",
                   text, fault);
}

/* ---- a line of a shell there ---- */

static void
add(struct ssh_words *w, const char *word)
{
    if (w->n == SSH_WORDS_MAX)
        BUG("more than %d words for ssh", SSH_WORDS_MAX);
    w->word[w->n++] = word;
    w->word[w->n] = NULL;
}

void
ssh_words(struct ssh_words *w, const char *program, const struct ssh_url *u,
          const char *line)
{
    static const char *const options[] = { "-T", "-oBatchMode=yes",
                                           "-oConnectTimeout=10",
                                           "-oServerAliveInterval=5",
                                           "-oServerAliveCountMax=3" };
    char *save = NULL;

    *w = (struct ssh_words){ .split = xstrdup(program) };
    for (char *t = strtok_r(w->split, " ", &save); t && w->n < 64;
         t = strtok_r(NULL, " ", &save))
        add(w, t);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        add(w, options[i]);
    if (u->port) {
        add(w, "-p");
        add(w, u->port);
    }
    add(w, u->to);
    add(w, line);
}

void
ssh_words_release(struct ssh_words *w)
{
    free(w->split);
    *w = (struct ssh_words){ .n = 0 };
}

void
ssh_add_quoted(struct buf *line, const char *word)
{
    buf_adds(line, " '");
    for (; *word; word++)
        if (*word == '\'')
            buf_adds(line, "'\\''");
        else
            buf_addc(line, *word);
    buf_addc(line, '\'');
}
