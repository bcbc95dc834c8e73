# SPDX-License-Identifier: 0BSD
# ATTN_PLUGIN_INIT: for projects that build plugins of libattn. Finds attn
# with pkg-config and substitutes
#   ATTN_CFLAGS     include path of attn/plugin.h
#   attn_plugindir  where plugins are installed
#   ATTN_PLUGIN_LDFLAGS  libtool flags of a module that exports one symbol
AC_DEFUN([ATTN_PLUGIN_INIT], [
  PKG_CHECK_MODULES([ATTN], [attn])
  PKG_CHECK_VAR([attn_plugindir], [attn], [plugindir])
  ATTN_PLUGIN_LDFLAGS='-module -avoid-version -shared -Wl,-z,now'
  ATTN_PLUGIN_LDFLAGS="$ATTN_PLUGIN_LDFLAGS -export-symbols-regex ^attn_plugin_entry\$\$"
  AC_SUBST([ATTN_PLUGIN_LDFLAGS])
])
