# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of attnctl: how to run it and what to expect of it.
set -u
attnctl=$top_builddir/attnctl
golden=$top_srcdir/tests/cli/golden
work=$(mktemp -d "${TMPDIR:-/tmp}/attn-cli.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
plugins=$top_builddir/.libs
export XDG_CACHE_HOME=$work/cache
unset ATTN_CONFIG ATTN_PLUGIN_PATH ATTN_LOG ATTN_DUMP_DIR
bad=0

complain() { echo "not ok: $*"; bad=$((bad + 1)); }

# run CODE[,CODE] ARG...: the exit status must be one of these; output in $work/out and err.
run() {
    want=$1
    shift
    "$attnctl" "$@" >"$work/out" 2>"$work/err" </dev/null
    rc=$?
    case ,$want, in
    *,$rc,*) return 0 ;;
    esac
    complain "attnctl $*: exit $rc, not $want"
    sed 's/^/    | /' "$work/err" | head -n 5
    return 1
}

# says TEXT: standard error has it, and standard output is empty.
says() {
    grep -qF -- "$1" "$work/err" ||
        { complain "no '$1' in:"; sed 's/^/    | /' "$work/err"; }
    [ ! -s "$work/out" ] || complain "output beside an error: $1"
}

# shows TEXT: standard output has it.
shows() {
    grep -qF -- "$1" "$work/out" ||
        { complain "no '$1' in:"; head -n 20 "$work/out" | sed 's/^/    | /'; }
}

# json COMMAND [PATH...]: standard output is that command's object.
json() {
    "$top_builddir/tests/cli/json_check" "$@" <"$work/out" ||
        complain "attnctl $1 --json"
}

# What differs from machine to machine, out of the way.
normal() {
    sed -e "s|$plugins|PLUGINS|g" -e "s|$work|WORK|g" \
        -e "s|$top_builddir|BUILD|g" -e "s|$top_srcdir|SRC|g" \
        -e "s|attnctl [0-9][0-9.]*|attnctl VERSION|" -e 's/   */  /g'
}

# same NAME: the output equals golden/NAME; GOLDEN_UPDATE=1 writes it.
same() {
    normal <"$work/out" >"$work/normal"
    [ -z "${GOLDEN_UPDATE:-}" ] || cp "$work/normal" "$golden/$1"
    diff -u "$golden/$1" "$work/normal" >"$work/diff" ||
        { complain "differs from golden/$1"; cat "$work/diff"; }
}

# alike NAME: the same but for every number and what the processor is.
alike() {
    sed -E -e "s|$shared_dir|SHARED|g" -e "s|$work|WORK|g" -e 's/amx|avx512vbmi|avx512bf16|avx512|avx2|generic/ISA/g' \
        -e 's/[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?/N/g' "$work/out" >"$work/numberless"
    mv "$work/numberless" "$work/out"
    same "$1"
}

# A configuration of the mock plugins.
mock_config() {
    mkdir -p "$work/plugins"
    cat >"$work/attn.ini" <<END
[attn]
plugin_path = $work/plugins
trust = off

[plugin zero]
library = $top_builddir/tests/cli/.libs/mock_zero.so
priority = 50
option.splits = 8

[plugin hello]
library = $plugins/attn_hello.so

[plugin old]
library = $top_builddir/tests/cli/.libs/mock_old.so

[plugin absent]
library = $top_builddir/tests/cli/.libs/mock_absent.so

[plugin off]
library = $top_builddir/tests/cli/.libs/mock_zero.so
enabled = no

[select]
flash.decode = mock.zero
END
    export ATTN_CONFIG=$work/attn.ini
}

finish() {
    [ "$bad" -eq 0 ] || { echo "$bad complaints"; exit 1; }
    exit 0
}
