# SPDX-License-Identifier: Apache-2.0
# Completion for bash (in zsh after `autoload -U bashcompinit && bashcompinit`). It asks
# sluice for its commands and their flags, so it knows those of the one that is there;
# it asks no store, which would be on record.
_sluice_commands() {
    sluice --help 2>/dev/null | awk '/^global flags/ { exit }
        /^  [a-z]/ { name = substr($0, 3)
                     if (substr(name, 14, 1) == " ") name = substr(name, 1, 13)
                     sub(/ +$/, "", name); print name }'
}

# shellcheck disable=SC2207,SC2001 # words of commands have no blanks or stars in them
_sluice() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} cur="" first="" second="" word skip="" all command=""
    local -a words
    COMPREPLY=()
    read -ra words <<<"$line" # bash itself would cut unix:/run/s in three
    [[ $line == *[[:blank:]] ]] || { cur=${words[${#words[@]} - 1]} && words[${#words[@]} - 1]=""; }
    for word in "${words[@]:1}"; do
        if [[ $skip ]]; then
            skip=""
        elif [[ $word == --store || $word == --server ]]; then
            skip=1
        elif [[ $word && $word != -* ]]; then
            [[ ! $first ]] && first=$word || second=${second:-$word}
        fi
    done
    [[ $skip ]] && return
    all=$(_sluice_commands)
    for word in "$first${second:+ $second}" "$first"; do
        [[ ! $command && $word && $'\n'$all$'\n' == *$'\n'"$word"$'\n'* ]] && command=$word
    done
    if [[ $cur == -* ]]; then
        [[ $cur == --?* ]] && word=${cur:2} && cur=--${word//-/_} # both are alike
        # shellcheck disable=SC2086 # a command may be two words
        word=$(sluice $command --help 2>/dev/null | sed -n 's/^  \(--[a-z_]*\).*/\1/p')
        COMPREPLY=($(compgen -W "$word --store --server --json --help" -- "$cur"))
    elif [[ ! $first ]]; then
        COMPREPLY=($(compgen -W "$(sed 's/ .*//' <<<"$all" | sort -u)" -- "$cur"))
    elif [[ ! $second ]]; then
        COMPREPLY=($(compgen -W "$(sed -n "s/^$first //p" <<<"$all")" -- "$cur"))
    fi
}
complete -o default -F _sluice sluice
