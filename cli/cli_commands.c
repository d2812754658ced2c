/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

static const struct cli_command commands[] = {
#define CMD(verb, example_1, example_2) { #verb, cmd_##verb, { example_1, example_2 } },
#include "cli/commands.def"
#undef CMD
};

const struct cli_command *
cli_command(const char *verb)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].verb, verb) == 0)
            return &commands[i];
    BUG("verb %s has no line in cli/commands.def", verb);
}
