# SPDX-License-Identifier: Apache-2.0
# The engine in your own makefile:
#
#   TINYFIN_GENERATED := generated        # from `tinyfin codegen --with-monocypher`
#   include ../tinyfin/firmware/lib/tinyfin/tinyfin.mk
#
# gives TINYFIN_SOURCES to compile, and TINYFIN_CFLAGS for them and for what includes tinyfin.h; the
# kernels that the packs of the folder need are linked alone. TINYFIN_CORE: a core of the list below,
# where your own flags do not name it. Macros of the list in tinyfin.h: add -D... to your own flags.
TINYFIN_DIR := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
TINYFIN_SOURCES := $(sort $(wildcard $(TINYFIN_DIR)/src/*.c $(TINYFIN_DIR)/src/*/*.c))
TINYFIN_CFLAGS := -I$(TINYFIN_DIR)/include -ffunction-sections -fdata-sections

ifneq ($(TINYFIN_GENERATED),)
TINYFIN_SOURCES += $(sort $(wildcard $(TINYFIN_GENERATED)/*.c $(TINYFIN_GENERATED)/monocypher/*.c))
TINYFIN_CFLAGS += -I$(TINYFIN_GENERATED) -I$(TINYFIN_GENERATED)/monocypher -DBLAKE2_NO_UNROLLING
TINYFIN_CFLAGS += -DTFIN_KERNELS=$(shell all=0; \
  for one in $$(sed -n 's/^.define [A-Za-z0-9_]*_KERNELS \([0-9]*\)u$$/\1/p' $(TINYFIN_GENERATED)/*_pack.h); \
  do all=$$((all | one)); done; echo $${all}u)
endif

TINYFIN_FLAGS_cortex-m0 := -mthumb -mcpu=cortex-m0 -mfloat-abi=soft
TINYFIN_FLAGS_cortex-m3 := -mthumb -mcpu=cortex-m3 -mfloat-abi=soft
TINYFIN_FLAGS_cortex-m4 := -mthumb -mcpu=cortex-m4 -mfloat-abi=soft
TINYFIN_FLAGS_cortex-m7 := -mthumb -mcpu=cortex-m7 -mfloat-abi=soft
TINYFIN_FLAGS_cortex-m33 := -mthumb -mcpu=cortex-m33 -mfloat-abi=soft
TINYFIN_FLAGS_cortex-m55 := -mthumb -mcpu=cortex-m55 -mfloat-abi=hard
TINYFIN_FLAGS_rv32imc := -march=rv32imc -misa-spec=2.2 -mabi=ilp32 -mcmodel=medany
TINYFIN_FLAGS_xtensa-lx106 := -mlongcalls
ifneq ($(TINYFIN_CORE),)
ifeq ($(TINYFIN_FLAGS_$(TINYFIN_CORE)),)
$(error TINYFIN_CORE = $(TINYFIN_CORE): not a core of tinyfin.mk; leave it out and give the compiler the core's flags)
endif
TINYFIN_CFLAGS += $(TINYFIN_FLAGS_$(TINYFIN_CORE))
endif
