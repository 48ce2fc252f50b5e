# make demo    set up, build, and watch the daemon learn from real pictures (DATA=/path/to/photos: from yours)
# make test    the tests, from a clean clone in under 25 minutes on 2 cores
# make build   target/release/curiod, and curiod-engine beside it
# make bench   the measurements of docs/BENCHMARKS.md
# make soak    the long tests (700 deaths, 300 disk faults, every file damaged), arrivals for SOAK_MINUTES=30, service-test
# make fuzz    every decoder and parser on made-up bytes, FUZZ_SECONDS=60 each
# make deny    licences, bans, sources and known faults of every crate that curiod is built of
# make install PREFIX=/usr/local: binary, libtorch, example configuration, man pages, completions
# make deb     target/debian/curiod_*.deb, for Debian 12 and later
# make service-test  as root: the package and its service on a Debian 12 of its own, through kills, upgrade and purge

PREFIX ?= /usr/local
MINUTES ?= 3
SOAK_MINUTES ?= 30
CARGO ?= cargo
BINARY = $(or $(CARGO_TARGET_DIR),target)/release/curiod

.PHONY: build demo test bench soak fuzz deny install deb service-test libtorch

build: libtorch
	$(CARGO) build --release --bins

libtorch:
	@scripts/libtorch.sh

demo: build
	@pictures="$(DATA)"; [ -n "$$pictures" ] || pictures=$$(scripts/demo-pictures.sh) || exit 1; \
	$(BINARY) demo --pictures "$$pictures" --minutes $(MINUTES) $(if $(KEEP),--keep)

test: libtorch
	$(CARGO) test --release --lib --test daemon
	$(CARGO) test --release --doc

bench: build
	scripts/bench.sh

soak: build
	$(CARGO) test --release --lib -- --ignored --nocapture learn:: gate::
	PROPTEST_CASES=500 $(CARGO) test --release --lib -- --nocapture replay::tests::model
	$(CARGO) test --release --test daemon -- --ignored --nocapture --test-threads=1
	$(CARGO) bench --bench daemon -- --soak $(SOAK_MINUTES)
	scripts/service-test.sh

fuzz: libtorch
	scripts/fuzz.sh

deny:
	scripts/deny.sh

install: build
	DESTDIR="$(DESTDIR)" scripts/install.sh "$(BINARY)" "$(PREFIX)"

deb: build
	scripts/deb.sh

service-test: build
	scripts/service-test.sh
