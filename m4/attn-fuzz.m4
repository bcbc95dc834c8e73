# SPDX-License-Identifier: Apache-2.0
# ATTN_FUZZ: --enable-fuzz builds tests/fuzz/* with clang's libFuzzer.
AC_DEFUN([ATTN_FUZZ], [
  AC_ARG_ENABLE([fuzz],
    [AS_HELP_STRING([--enable-fuzz],
       [build the fuzz targets (needs CC=clang) @<:@no@:>@])],
    [], [enable_fuzz=no])
  ATTN_FUZZ_CFLAGS=
  ATTN_FUZZ_LDFLAGS=
  AS_IF([test "$enable_fuzz" = yes], [
    attn_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -fsanitize=fuzzer"
    AC_MSG_CHECKING([whether $CC has libFuzzer])
    AC_LINK_IFELSE([AC_LANG_SOURCE([
        int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n);
        int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n)
        { (void)d; (void)n; return 0; }])],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR([--enable-fuzz needs CC=clang and libclang-rt-dev])])
    CFLAGS=$attn_save_CFLAGS
    ATTN_FUZZ_CFLAGS="-fsanitize=fuzzer-no-link"
    ATTN_FUZZ_LDFLAGS="-fsanitize=fuzzer"])
  AC_SUBST([ATTN_FUZZ_CFLAGS])
  AC_SUBST([ATTN_FUZZ_LDFLAGS])
  AM_CONDITIONAL([FUZZ], [test "$enable_fuzz" = yes])
])
