# SPDX-License-Identifier: Apache-2.0
# ATTN_CUDA: nvcc for the CUDA plugins.  --with-cuda=yes and no nvcc is an
# error, auto and no nvcc a note in the summary.  core never sees CUDA; the
# plugins link the static runtime, so that a machine needs only a driver.
AC_DEFUN([ATTN_CUDA], [
  AC_ARG_VAR([NVCC], [CUDA compiler])
  AC_ARG_WITH([cuda],
    [AS_HELP_STRING([--with-cuda=auto|yes|no|DIR],
       [build the CUDA plugins @<:@auto@:>@])],
    [], [with_cuda=auto])
  have_cuda=no
  CUDA_DIR=
  AS_IF([test "$with_cuda" != no], [
    AS_CASE([$with_cuda],
      [auto|yes], [attn_cuda_path="${CUDA_HOME:+$CUDA_HOME/bin:}$PATH:/usr/local/cuda/bin"],
      [attn_cuda_path="$with_cuda/bin"])
    AC_PATH_PROG([NVCC], [nvcc], [], [$attn_cuda_path])
    AS_IF([test -n "$NVCC"], [
      attn_nvcc_bin=`dirname "$NVCC"`
      CUDA_DIR=`dirname "$attn_nvcc_bin"`
      attn_cuda_version=`"$NVCC" --version | \
        $SED -n 's/.*release \(@<:@0-9.@:>@*\).*/\1/p'`
      AS_IF([test -n "$attn_cuda_version"], [have_cuda=yes])])
    AS_IF([test $have_cuda = no && test "$with_cuda" != auto],
      [AC_MSG_ERROR([--with-cuda=$with_cuda: no nvcc in $attn_cuda_path])])])
  AC_SUBST([CUDA_DIR])
  AM_CONDITIONAL([CUDA], [test $have_cuda = yes])
  AS_CASE([$have_cuda:$with_cuda],
    [yes:*], [attn_cuda_note="yes ($NVCC, $attn_cuda_version)"],
    [no:auto], [attn_cuda_note="no (nvcc not found)"],
    [attn_cuda_note="no (--with-cuda=no)"])
])
