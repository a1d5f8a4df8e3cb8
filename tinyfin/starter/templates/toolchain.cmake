<# SPDX-License-Identifier: Apache-2.0 #>
# << title >>
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR << arch >>)
set(CMAKE_C_COMPILER << prefix >>gcc)
set(CMAKE_ASM_COMPILER << prefix >>gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "<< cpu_flags >> -ffreestanding -fbuiltin -fno-common")
set(CMAKE_ASM_FLAGS_INIT "<< cpu_flags >>")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-nostdlib -nostartfiles -Wl,--gc-sections -Wl,--no-warn-rwx-segments")
