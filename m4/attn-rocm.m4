# SPDX-License-Identifier: Apache-2.0
# ATTN_ROCM: a compiler for gfx942 (hipcc, or clang >= 17 beside Debian's
# libamdhip64-dev) for the ROCm plugins.  --with-rocm=yes and neither is an
# error, auto and neither a note in the summary.
AC_DEFUN([ATTN_ROCM], [
  AC_ARG_VAR([HIPCC], [HIP compiler: hipcc, or clang 17 or newer])
  AC_ARG_WITH([rocm],
    [AS_HELP_STRING([--with-rocm=auto|yes|no|DIR],
       [build the ROCm plugins @<:@auto@:>@])],
    [], [with_rocm=auto])
  have_rocm=no
  AS_IF([test "$with_rocm" != no], [
    AS_CASE([$with_rocm],
      [auto|yes], [attn_rocm_path="${ROCM_PATH:+$ROCM_PATH/bin:}$PATH:/opt/rocm/bin"],
      [attn_rocm_path="$with_rocm/bin"])
    AC_PATH_PROGS([HIPCC],
      [hipcc clang-21 clang-20 clang-19 clang-18 clang-17], [],
      [$attn_rocm_path])
    AS_CASE([$HIPCC],
      [''], [],
      [*hipcc], [have_rocm=yes],
      [AC_CHECK_HEADER([hip/hip_runtime_api.h], [have_rocm=yes], [],
         [#define __HIP_PLATFORM_AMD__ 1
          #include <stddef.h>])])
    AS_IF([test $have_rocm = yes], [
      AC_MSG_CHECKING([whether $HIPCC compiles for gfx942])
      AS_ECHO(["__attribute__((global)) void k();"]) >conftest.hip
      AS_IF([$HIPCC -x hip --offload-arch=gfx942 -nogpulib -nogpuinc -fPIC \
             -c conftest.hip -o conftest.gpu.o >&AS_MESSAGE_LOG_FD 2>&1],
        [], [have_rocm=no])
      rm -f conftest.hip conftest.gpu.o
      AC_MSG_RESULT([$have_rocm])])
    AS_IF([test $have_rocm = no && test "$with_rocm" != auto],
      [AC_MSG_ERROR([--with-rocm=$with_rocm: no hipcc, and no clang >= 17 with lld, offload bundler and libamdhip64-dev, in $attn_rocm_path])])])
  AM_CONDITIONAL([ROCM], [test $have_rocm = yes])
  AS_CASE([$have_rocm:$with_rocm],
    [yes:*], [attn_rocm_note="yes ($HIPCC)"],
    [no:auto], [attn_rocm_note="no (neither hipcc nor clang >= 17 with lld, offload bundler and libamdhip64-dev)"],
    [attn_rocm_note="no (--with-rocm=no)"])
])
