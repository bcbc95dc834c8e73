# SPDX-License-Identifier: Apache-2.0
# ATTN_INIH: the INI reader of the configuration.
AC_DEFUN([ATTN_INIH], [
  PKG_CHECK_MODULES([INIH], [inih], [],
    [AC_MSG_ERROR([inih is missing (Debian: libinih-dev)])])
])
