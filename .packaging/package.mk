# package.mk - releases: the archive, the comparison of interfaces, packages of Debian and of LuaRocks. README.md beside
# this says how a release is made.
#   make dist           build/bracket-VERSION.tar.gz of the last commit, the same bytes whoever makes it
#   make reproducible   two builds in two folders: every artifact must be the same bytes
#   make abi            the C interface against the last release's (abidiff)
#   make rock-test      the rockspec, into a tree of its own
#   make deb            build/deb/*.deb (debhelper)
#   make deb-test       those, installed in a bare Debian (debootstrap, as root): program, host in C, module
PACKED := bracket-$(VERSION)
.PHONY: dist reproducible abi rock-test deb deb-test

dist:
	@mkdir -p build
	@git diff --quiet HEAD -- || echo 'dist: what is not committed is left out' >&2
	@git archive --format=tar --prefix=$(PACKED)/ HEAD | gzip -n9 > build/$(PACKED).tar.gz
	@echo build/$(PACKED).tar.gz

# Anew from the archive, in folders of different names, in different time zones, one after the other.
reproducible: dist
	@rm -rf build/twice && mkdir -p build/twice/a build/twice/another
	@for d in a another; do tar -xzf build/$(PACKED).tar.gz -C build/twice/$$d && (cd build/twice/$$d/$(PACKED) && TZ=$$d-7 \
	  $(MAKE) -s all && sha256sum $(ARTIFACTS:$(B)/%=build/%)) > build/twice/$$d.log || { cat build/twice/$$d.log; exit 1; }; done
	@for d in a another; do grep -E '^[0-9a-f]{64} ' build/twice/$$d.log > build/twice/$$d.sums; done
	@cmp build/twice/a.sums build/twice/another.sums && cat build/twice/a.sums && rm -rf build/twice

abi: $(B)/bracket
	@CC='$(CC)' $(B)/bracket .packaging/abi.lua .packaging/released/libbracket.so.$(SOMAJOR) src $(B)/abi

rock-test: all
	@rm -rf build/rock
	@luarocks --lua-version=5.4 --tree=build/rock make --deps-mode=none .packaging/$(PACKED)-1.rockspec
	@LUA_CPATH='build/rock/lib/lua/5.4/?.so' lua5.4 -e 'local bk = require "bracket" assert(bk.version == "$(VERSION)") print(bk.ones{3}:sum())'

deb: dist
	@command -v dh >/dev/null || { echo 'deb: needs debhelper (Debian: apt-get install debhelper)' >&2; exit 1; }
	@rm -rf build/deb && mkdir -p build/deb && tar -xzf build/$(PACKED).tar.gz -C build/deb
	@cp build/$(PACKED).tar.gz build/deb/bracket_$(VERSION).orig.tar.gz
	@cp -R build/deb/$(PACKED)/.packaging/debian build/deb/$(PACKED)/debian
	@cd build/deb/$(PACKED) && env -u MAKEFLAGS -u MFLAGS DEB_BUILD_OPTIONS='nocheck parallel=$(JOBS)' dpkg-buildpackage -us -uc -b > ../log 2>&1 || { tail -n 40 ../log; exit 1; }
	@ls build/deb/*.deb

MIRROR ?= http://deb.debian.org/debian
BARE := build/bare
deb-test: deb
	@command -v debootstrap >/dev/null || { echo 'deb-test: needs debootstrap' >&2; exit 1; }
	@rm -rf $(BARE) && mkdir -p $(BARE)
	$(SUDO) debootstrap --variant=minbase bookworm $(BARE) $(MIRROR) > build/bare.log
	@mkdir $(BARE)/in && cp $$(ls build/deb/*.deb | grep -v dbgsym) .packaging/bare_test tests/embed/own_data.c $(BARE)/in/
	@cp -f /etc/resolv.conf $(BARE)/etc/resolv.conf
	$(SUDO) chroot $(BARE) sh /in/bare_test $(VERSION)
	@rm -rf $(BARE)
