# SPDX-License-Identifier: Apache-2.0
# ATTN_WARNINGS: the warnings every file is held to, kept out of CFLAGS so
# that the builder's own CFLAGS stay the builder's.
AC_DEFUN([ATTN_WARNINGS], [
  ATTN_WARN_CFLAGS="-Wall -Wextra -Wconversion -Wshadow"
  ATTN_WARN_CFLAGS="$ATTN_WARN_CFLAGS -Wstrict-prototypes -Wmissing-prototypes"
  ATTN_WARN_CXXFLAGS="-Wall -Wextra -Wconversion -Wshadow"
  AC_ARG_ENABLE([werror],
    [AS_HELP_STRING([--enable-werror], [make warnings errors @<:@no@:>@])],
    [], [enable_werror=no])
  AS_IF([test "$enable_werror" = yes], [
    ATTN_WARN_CFLAGS="$ATTN_WARN_CFLAGS -Werror"
    ATTN_WARN_CXXFLAGS="$ATTN_WARN_CXXFLAGS -Werror"])
  AC_SUBST([ATTN_WARN_CFLAGS])
  AC_SUBST([ATTN_WARN_CXXFLAGS])
])
