# SPDX-License-Identifier: Apache-2.0
# Stands in for ESP-IDF's build system: what its documentation says of components, and no more. The
# components main and EXTRA_COMPONENT_DIRS are read twice, first as a script that asks for
# requirements; COMPONENTS_OF_IDF are names that may be required.
cmake_policy(SET CMP0057 NEW)
set(stand_in "${CMAKE_CURRENT_LIST_DIR}/../..")

if(CMAKE_SCRIPT_MODE_FILE)
  set(CMAKE_BUILD_EARLY_EXPANSION 1)
  macro(idf_component_register)
    cmake_parse_arguments(_ "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES" ${ARGN})
    file(WRITE "${OUT}" "set(requires ${__REQUIRES} ${__PRIV_REQUIRES})\n")
    return()
  endmacro()
  include("${COMPONENT}/CMakeLists.txt")
  return()
endif()

function(idf_build_get_property variable property)
  if(NOT property STREQUAL PROJECT_DIR)
    message(FATAL_ERROR "the stand-in knows no ${property}")
  endif()
  set(${variable} "${CMAKE_SOURCE_DIR}" PARENT_SCOPE)
endfunction()

function(idf_component_register)
  cmake_parse_arguments(_ "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES" ${ARGN})
  get_filename_component(name "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
  foreach(dir ${__INCLUDE_DIRS} ${__PRIV_INCLUDE_DIRS})
    get_filename_component(dir "${dir}" ABSOLUTE)
    if(NOT IS_DIRECTORY "${dir}")
      message(FATAL_ERROR "Include directory '${dir}' is not a directory.")
    endif()
  endforeach()
  add_library(__idf_${name} STATIC ${__SRCS})
  target_include_directories(__idf_${name}
    PUBLIC ${__INCLUDE_DIRS} PRIVATE ${__PRIV_INCLUDE_DIRS} "${stand_in}/include")
  # the warnings that ESP-IDF compiles components with
  target_compile_options(__idf_${name} PRIVATE
    -ffunction-sections -fdata-sections -Wall -Werror=all -Wno-error=unused-function
    -Wno-error=unused-variable -Wno-error=deprecated-declarations -Wextra -Wno-unused-parameter
    -Wno-sign-compare -std=gnu17)
  foreach(requirement ${__REQUIRES} ${__PRIV_REQUIRES})
    if(NOT requirement IN_LIST COMPONENTS_OF_IDF)
      target_link_libraries(__idf_${name} PUBLIC __idf_${requirement})
    endif()
  endforeach()
  set(COMPONENT_LIB __idf_${name} PARENT_SCOPE)
endfunction()

macro(project name)
  _project(${name} C)
  set(ESP_PLATFORM 1)
  set(dirs ${EXTRA_COMPONENT_DIRS} "${CMAKE_SOURCE_DIR}/main")
  set(known ${COMPONENTS_OF_IDF})
  foreach(dir ${dirs})
    get_filename_component(component "${dir}" NAME)
    list(APPEND known ${component})
  endforeach()
  foreach(dir ${dirs})
    set(out "${CMAKE_BINARY_DIR}/requires.cmake")
    execute_process(
      COMMAND "${CMAKE_COMMAND}" -D ESP_PLATFORM=1 -D "COMPONENT=${dir}" -D "OUT=${out}"
        -P "${stand_in}/tools/cmake/project.cmake"
      RESULT_VARIABLE failed ERROR_VARIABLE error)
    if(failed)
      message(FATAL_ERROR "${dir}, asked for its requirements: ${error}")
    endif()
    include("${out}")
    foreach(requirement ${requires})
      if(NOT requirement IN_LIST known)
        message(FATAL_ERROR "Failed to resolve component '${requirement}'")
      endif()
    endforeach()
  endforeach()
  include("${SDKCONFIG_CMAKE}")
  foreach(dir ${dirs})
    get_filename_component(component "${dir}" NAME)
    add_subdirectory("${dir}" "esp-idf/${component}")
  endforeach()
  if(STAND_IN_RUNS)
    add_executable(${name} "${stand_in}/stand_in.c")
    target_include_directories(${name} PRIVATE "${stand_in}/include")
    # all of it: the entry of the stand-in calls app_main, which nothing else asks for
    target_link_libraries(${name} -Wl,--whole-archive __idf_main -Wl,--no-whole-archive)
  endif()
endmacro()
