# SPDX-License-Identifier: Apache-2.0
# ATTN_JANSSON: JSON for attnctl and the recorded cases.
AC_DEFUN([ATTN_JANSSON], [
  PKG_CHECK_MODULES([JANSSON], [jansson >= 2.13], [],
    [AC_MSG_ERROR([jansson is missing (Debian: libjansson-dev)])])
])
