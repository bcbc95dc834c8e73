# SPDX-License-Identifier: Apache-2.0
# ATTN_VECTOR: plain loops over metadata become vector code. GCC's -O2
# vectorises only loops whose trip count it knows; clang's needs no flag.
AC_DEFUN([ATTN_VECTOR], [
  ATTN_VECTOR_CFLAGS=
  attn_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS -Werror -ftree-vectorize -fvect-cost-model=dynamic"
  AC_MSG_CHECKING([whether $CC takes -fvect-cost-model=dynamic])
  AC_COMPILE_IFELSE([AC_LANG_SOURCE([int attn_vector(void);
      int attn_vector(void) { return 0; }])],
    [AC_MSG_RESULT([yes])
     ATTN_VECTOR_CFLAGS="-ftree-vectorize -fvect-cost-model=dynamic"],
    [AC_MSG_RESULT([no])])
  CFLAGS=$attn_save_CFLAGS
  AC_SUBST([ATTN_VECTOR_CFLAGS])
])
