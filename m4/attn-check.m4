# SPDX-License-Identifier: Apache-2.0
# ATTN_CHECK: libcheck for the unit tests; without it they are not built, and
# the summary says so.
AC_DEFUN([ATTN_CHECK], [
  AC_ARG_ENABLE([unit-tests],
    [AS_HELP_STRING([--disable-unit-tests],
       [do without libcheck and the unit tests])],
    [], [enable_unit_tests=yes])
  AS_IF([test "$enable_unit_tests" != no],
    [PKG_CHECK_MODULES([CHECK], [check >= 0.15], [],
       [AC_MSG_ERROR([check is missing (Debian: check; or give --disable-unit-tests)])])])
  AM_CONDITIONAL([UNIT_TESTS], [test "$enable_unit_tests" != no])
])
