# SPDX-License-Identifier: Apache-2.0
# ATTN_SUMMARY: what was found and what will be built, after AC_OUTPUT.
AC_DEFUN([ATTN_SUMMARY], [
  AS_ECHO(["
  $PACKAGE_NAME $PACKAGE_VERSION, plugin ABI $ATTN_ABI

    compilers      $CC, $CXX
    prefix         $prefix
    CUDA plugins   $attn_cuda_note
    ROCm plugins   $attn_rocm_note
    unit tests     $enable_unit_tests
    sanitizers     $enable_sanitizers
    fuzz targets   $enable_fuzz
    werror         $enable_werror
"])
])
