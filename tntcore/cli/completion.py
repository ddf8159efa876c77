"""Shell completion: a script that asks the command line itself for the words that could follow.

The script also defines `tnt`, which runs the command line from any folder.
"""

from __future__ import annotations

import re
import shlex

COMMAND = "tnt"
VARIABLE = "_TNT_COMPLETE"

_BASH = r"""
@NAME@() { PYTHONPATH=@PATH@ @PYTHON@ -m tntcore "$@"; }
_@NAME@_complete() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD @VARIABLE@=bash_complete @NAME@ 2>/dev/null)
}
complete -o nosort -F _@NAME@_complete @NAME@
"""

_ZSH = r"""
@NAME@() { PYTHONPATH=@PATH@ @PYTHON@ -m tntcore "$@" }
_@NAME@_complete() {
    local kind value about
    local -a described plain
    while IFS= read -r kind && IFS= read -r value && IFS= read -r about; do
        case $kind in
            plain) if [[ $about == _ ]]; then plain+=("$value"); else described+=("$value:$about"); fi ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) @VARIABLE@=zsh_complete @NAME@ 2>/dev/null)
    (( $#described )) && _describe -V values described
    (( $#plain )) && compadd -V values -a plain
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }
compdef _@NAME@_complete @NAME@
"""

_FISH = r"""
function @NAME@
    PYTHONPATH=@PATH@ @PYTHON@ -m tntcore $argv
end
function _@NAME@_complete
    set -l words (commandline -cp)
    set -l word (commandline -ct)
    for line in (COMP_WORDS="$words" COMP_CWORD="$word" @VARIABLE@=fish_complete @NAME@ 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                echo $parts[2]
            case file
                __fish_complete_path $word
            case dir
                __fish_complete_directories $word
        end
    end
end
complete -c @NAME@ -f -a '(_@NAME@_complete)'
"""

SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str, python: str, path: str, name: str = COMMAND) -> str:
    """Returns the completion script. Args: python: the interpreter. path: the folder that contains the package."""
    values = {"NAME": name, "PATH": shlex.quote(path), "PYTHON": shlex.quote(python), "VARIABLE": VARIABLE}
    return re.sub("@([A-Z]+)@", lambda found: values[found[1]], SHELLS[shell]).lstrip()
