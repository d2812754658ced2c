/* SPDX-License-Identifier: Apache-2.0 */
/* One line on a terminal that says how far a long verb is. */
#include "cli/cli.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define STEP_NS (SECOND_NS / 10)
#define BIG_BYTES 64e6 /* a smaller one is over before a line is read */
enum { BAR_CELLS = 24, LINE_CELLS = 79 };

bool
cli_progress_wanted(bool json)
{
    const char *term = getenv("TERM");
    return !json && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void
add_time(double s, struct buf *out)
{
    if (s < 60)
        buf_addf(out, "%.0f s left", s);
    else if (s < 3600)
        buf_addf(out, "%.0f min %02d s left", s / 60 - 0.5, (int)s % 60);
    else
        buf_addf(out, "%.1f h left", s / 3600);
}

/* "pushing [#####.....] 50 % 1.5 GB of 3.0 GB, 1.2 GB/s, 1 s left" */
void
cli_progress_text(const char *what, double done, double total, double seconds,
                  struct buf *out)
{
    const double rate = seconds > 0 ? done / seconds : 0;
    buf_adds(out, what);
    if (total > 0) {
        const double part = done < total ? done / total : 1;
        buf_adds(out, " [");
        for (int i = 0; i < BAR_CELLS; i++)
            buf_addc(out, i < (int)(part * BAR_CELLS) ? '#' : '.');
        buf_addf(out, "] %.0f %%", part * 100);
    }
    buf_addc(out, ' ');
    cli_size(done, out);
    if (total > 0) {
        buf_adds(out, " of ");
        cli_size(total, out);
    }
    if (rate > 0) {
        buf_adds(out, ", ");
        cli_size(rate, out);
        buf_adds(out, "/s");
    }
    if (rate > 0 && total > done) {
        buf_adds(out, ", ");
        add_time((total - done) / rate, out);
    }
}

void
cli_progress(void *arg, const char *what, int64_t done_bytes, int64_t total_bytes)
{
    struct cli_progress *p = arg;
    struct buf line AUTO(buf_release) = BUF_INIT;
    int64_t now_ns = clock_mono_ns();
    if (done_bytes < 0) { /* nothing that has a size */
        buf_addf(&line, "\r%.*s\033[K", LINE_CELLS, what);
        fwrite(buf_str(&line), 1, line.len, stderr);
        fflush(stderr);
        p->is_shown = true;
        return;
    }
    if (!p->what || strcmp(p->what, what) != 0)
        *p = (struct cli_progress){ .what = what,
                                    .begun_ns = now_ns,
                                    .is_shown = p->is_shown };
    if (now_ns - p->drawn_ns < STEP_NS ||
        (double)(total_bytes ? total_bytes : done_bytes) < BIG_BYTES)
        return;
    p->drawn_ns = now_ns;
    p->is_shown = true;
    buf_addc(&line, '\r');
    cli_progress_text(what, (double)done_bytes, (double)total_bytes,
                      (double)(now_ns - p->begun_ns) / SECOND_NS, &line);
    buf_adds(&line, "\033[K");
    fwrite(buf_str(&line), 1, line.len, stderr);
    fflush(stderr);
}

void
cli_progress_end(struct cli_progress *p)
{
    if (p->is_shown)
        fputs("\r\033[K", stderr);
    p->is_shown = false;
}
