# SPDX-License-Identifier: Apache-2.0
# Autoconf's probes remove a stale core dump named `core'; our sources live in
# a directory of that name.  Drop the word from the macros that would remove
# it (they are Autoconf internals, so tests/build/test-core-dir checks the
# generated configure).  Include after AC_PREREQ and before AC_INIT.
m4_define([_ATTN_DROP_CORE], [m4_ifdef([$1], [m4_define([$1],
  m4_bpatsubst(m4_dquote(m4_defn([$1])), [\(rm -r?f \)core ], [\1]))])])
_ATTN_DROP_CORE([_AC_INIT_PREPARE])
_ATTN_DROP_CORE([_AC_COMPILE_IFELSE])
_ATTN_DROP_CORE([_AC_LINK_IFELSE])
_ATTN_DROP_CORE([_AC_RUN_IFELSE])
_ATTN_DROP_CORE([AC_PROG_CC_C_O])
_ATTN_DROP_CORE([_AM_PROG_CC_C_O])
