# SPDX-License-Identifier: GPL-2.0-or-later
# Owns the build of the GCC and glibc guests, dynamic and static: `make -f guests/gcc/build.mk [check]`.
#
# GCC proper is needed (clang has no nested functions), with glibc for arm64: Debian's gcc-aarch64-linux-gnu and
# libc6-dev-arm64-cross. Without it the prebuilts are kept. `check` runs them under qemu-user, dynamic ones on $(SYSROOT).
here := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
CC_AARCH64 ?= aarch64-linux-gnu-gcc
QEMU ?= qemu-aarch64-static
SYSROOT ?= $(or $(FETCHSAN_SYSROOT),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fetchsan/sysroot)

programs := nested_functions clear_cache
outputs := $(foreach program,$(programs),$(here)$(program) $(here)$(program)-static)

# The same bytes wherever it is built. The stack of nested_functions must be executable; GCC marks it so by itself, and
# newer linkers warn about it.
flags := -std=gnu11 -O2 -g1 -Wall -Wextra -ffile-prefix-map=$(here:/=)=guests/gcc \
         -Wl,--build-id=none -Wl,-z,max-page-size=65536

.PHONY: gcc-guests check
ifeq ($(shell command -v $(CC_AARCH64)),)
gcc-guests:
	@echo "no $(CC_AARCH64): the prebuilt guests in $(here) are kept"
else
gcc-guests: $(outputs)
endif

$(here)%-static: $(here)%.c
	cd $(here) && $(CC_AARCH64) $(flags) -static -o $(@F) $(<F)

$(here)%: $(here)%.c
	cd $(here) && $(CC_AARCH64) $(flags) -o $(@F) $(<F)

check:
	@for program in $(outputs); do \
	    $(QEMU) -L $(SYSROOT) $$program | diff - $${program%-static}.out && echo "$$(basename $$program): ok" || exit 1; \
	done
