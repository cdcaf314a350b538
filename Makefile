# bracket: build, test, measure. Everything built goes to build/.
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
CC ?= cc
ifeq ($(origin CC),default)
CC := cc
endif
PREFIX ?= /usr/local
PKG_CONFIG ?= pkg-config
LUA_PC := $(firstword $(foreach p,lua5.4 lua-5.4 lua54 lua,$(shell $(PKG_CONFIG) --atleast-version=5.4 $(p) 2>/dev/null && echo $(p))))
B := build
VERSION := $(shell sed -n 's/^\#define BK_VERSION "\(.*\)"/\1/p' src/bracket.h)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes
OPT ?= -O2 -g
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) -fPIC -fvisibility=hidden -pthread -MMD -MP $(LUA_CFLAGS) $(CFLAGS)
