# SPDX-License-Identifier: Apache-2.0
# ATTN_SANITIZERS: --enable-sanitizers=LIST builds everything, plugins
# included, with -fsanitize=LIST.  Undefined behaviour ends the program, so
# that a test cannot pass over it.
AC_DEFUN([ATTN_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers=LIST],
       [build with -fsanitize=LIST: address,undefined or thread @<:@no@:>@])],
    [], [enable_sanitizers=no])
  AS_CASE([$enable_sanitizers],
    [no], [ATTN_SAN_FLAGS=],
    [yes], [enable_sanitizers=address,undefined], [])
  AS_IF([test "$enable_sanitizers" != no], [
    ATTN_SAN_FLAGS="-fsanitize=$enable_sanitizers -fno-omit-frame-pointer"
    AS_CASE([$enable_sanitizers], [*undefined*],
      [ATTN_SAN_FLAGS="$ATTN_SAN_FLAGS -fno-sanitize-recover=undefined"])
    attn_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $ATTN_SAN_FLAGS"
    AC_MSG_CHECKING([whether $CC links with $ATTN_SAN_FLAGS])
    AC_LINK_IFELSE([AC_LANG_PROGRAM()],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR([$CC cannot build with -fsanitize=$enable_sanitizers])])
    CFLAGS=$attn_save_CFLAGS])
  AC_SUBST([ATTN_SAN_FLAGS])
  AM_CONDITIONAL([SANITIZED], [test "$enable_sanitizers" != no])
])
