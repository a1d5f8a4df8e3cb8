# SPDX-License-Identifier: Apache-2.0
# The library as an ESP-IDF component. ESP-IDF includes it twice; the first time it only asks for the
# components that this one needs, which are none, and there is no configuration yet.
if(CMAKE_BUILD_EARLY_EXPANSION)
  idf_component_register()
else()
  set(TINYFIN_GENERATED "${CONFIG_TINYFIN_GENERATED}")
  if(TINYFIN_GENERATED)
    idf_build_get_property(project PROJECT_DIR)
    get_filename_component(TINYFIN_GENERATED "${TINYFIN_GENERATED}" ABSOLUTE BASE_DIR "${project}")
  endif()
  include("${CMAKE_CURRENT_LIST_DIR}/sources.cmake")
  idf_component_register(
    SRCS ${tinyfin_sources}
    INCLUDE_DIRS ${tinyfin_include}
    PRIV_INCLUDE_DIRS ${tinyfin_private_include})
  target_compile_definitions(${COMPONENT_LIB} PUBLIC ${tinyfin_defines} PRIVATE BLAKE2_NO_UNROLLING
    INTERFACE ${tinyfin_kernels})
endif()
