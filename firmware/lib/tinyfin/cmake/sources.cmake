# SPDX-License-Identifier: Apache-2.0
# What plain CMake, ESP-IDF and Zephyr compile. Reads TINYFIN_GENERATED, the absolute path of a folder
# of `tinyfin codegen --with-monocypher` (empty: the engine alone), and the CONFIG_TINYFIN_... of
# Kconfig; sets tinyfin_sources, tinyfin_include, tinyfin_private_include, tinyfin_defines, and
# tinyfin_kernels for what includes generated headers: a pack that needs others does not compile.
get_filename_component(tinyfin_dir "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
file(GLOB_RECURSE tinyfin_sources CONFIGURE_DEPENDS "${tinyfin_dir}/src/*.c")
set(tinyfin_include "${tinyfin_dir}/include")
set(tinyfin_private_include "")
set(tinyfin_kernels "")

set(tinyfin_defines "")
foreach(name RELEASE NO_ERROR_TEXT OWN_CRYPTO)
  if(CONFIG_TINYFIN_${name})
    list(APPEND tinyfin_defines TFIN_${name})
  endif()
endforeach()
if(CONFIG_TINYFIN_MINIMUM_SECURITY_COUNTER)
  list(APPEND tinyfin_defines "TFIN_MINIMUM_SECURITY_COUNTER=${CONFIG_TINYFIN_MINIMUM_SECURITY_COUNTER}")
endif()

if(TINYFIN_GENERATED)
  file(GLOB headers CONFIGURE_DEPENDS "${TINYFIN_GENERATED}/*_pack.h")
  if(NOT headers)
    message(FATAL_ERROR "tinyfin: there is no ${TINYFIN_GENERATED}/tinyfin_pack.h; write it with "
      "`tinyfin codegen RUN --out ${TINYFIN_GENERATED} --with-monocypher`, or set TINYFIN_GENERATED "
      "to the folder that has it")
  endif()
  file(GLOB generated CONFIGURE_DEPENDS "${TINYFIN_GENERATED}/*.c" "${TINYFIN_GENERATED}/monocypher/*.c")
  list(APPEND tinyfin_sources ${generated})
  list(APPEND tinyfin_include "${TINYFIN_GENERATED}")
  if(IS_DIRECTORY "${TINYFIN_GENERATED}/monocypher")
    set(tinyfin_private_include "${TINYFIN_GENERATED}/monocypher")
  endif()
  set(kernels 0) # those of every pack in the folder
  foreach(header IN LISTS headers)
    file(STRINGS "${header}" of_one REGEX "^#define [A-Za-z0-9_]+_KERNELS [0-9]+u$")
    string(REGEX REPLACE ".* ([0-9]+)u" "\\1" of_one "${of_one}")
    math(EXPR kernels "${kernels} | ${of_one}")
  endforeach()
  set(tinyfin_kernels "TFIN_KERNELS=${kernels}u")
  set_property(SOURCE "${tinyfin_dir}/src/network/net.c"
    APPEND PROPERTY COMPILE_DEFINITIONS "${tinyfin_kernels}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
endif()
