/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RUNNER_RUNNER_H
#define RUNTIME_RUNNER_RUNNER_H

#include <stdbool.h>

/* What this kernel gives to lock the runner down with (runner_sandbox.c), each told
 * once; `ok` false: models cannot be run safely here. */
void runner_protections(void (*tell)(void *arg, const char *what, bool ok,
                                     const char *saw, const char *fix),
                        void *arg);

#endif
