# SPDX-License-Identifier: Apache-2.0
# Stands in for Zephyr's build system: the functions that its documentation gives a module, the
# modules of ZEPHYR_MODULES ("name:path of its CMakeLists.txt"), and the values of Kconfig in
# CONFIG_CMAKE.
project(Zephyr-Kernel LANGUAGES C)
set(APPLICATION_SOURCE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
get_filename_component(stand_in "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
include("${CONFIG_CMAKE}")

add_library(zephyr_interface INTERFACE)
target_include_directories(zephyr_interface INTERFACE "${stand_in}/include")
target_compile_options(zephyr_interface INTERFACE
  -ffunction-sections -fdata-sections -std=c17 -Wall -Wextra -Werror -Wno-unused-parameter)

function(zephyr_include_directories)
  target_include_directories(zephyr_interface INTERFACE ${ARGV})
endfunction()

function(zephyr_compile_definitions)
  target_compile_definitions(zephyr_interface INTERFACE ${ARGV})
endfunction()

macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name})
  add_library(${name} STATIC "")
  set_property(GLOBAL APPEND PROPERTY ZEPHYR_LIBS ${name})
  target_link_libraries(${name} PUBLIC zephyr_interface)
endmacro()

function(zephyr_library_sources source)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${source} ${ARGN})
endfunction()

function(zephyr_library_include_directories)
  target_include_directories(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()

function(zephyr_library_compile_definitions definition)
  target_compile_definitions(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${definition} ${ARGN})
endfunction()

foreach(module ${ZEPHYR_MODULES})
  string(REPLACE ":" ";" module "${module}")
  list(GET module 0 name)
  list(GET module 1 path)
  add_subdirectory("${path}" "modules/${name}")
endforeach()
get_property(libraries GLOBAL PROPERTY ZEPHYR_LIBS)
zephyr_library_named(app)
if(STAND_IN_RUNS)
  add_executable(zephyr "${stand_in}/stand_in.c")
  target_link_libraries(zephyr app ${libraries})
endif()
